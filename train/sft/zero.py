"""ZeRO (arXiv 1910.02054) by DeepSpeed: each process holds its share of optimizer and gradients, and with
stage 3 of the weights.

DeepSpeed is called as it is: accelerate's plugin leaves it out where there is no GPU, and tests run on a CPU.
"""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from configs.errors import UserError
from train.sft.config import SftRecipe
from train.sft.split import Split
from train.sft.spread import Copies, MakeOptimizer, trained
from train.state_files import spoilt

SHARDS = "shards"
OURS = (
    "train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping",
    "optimizer", "scheduler", "bf16", "fp16",
)  # fmt: skip


class Zero(Copies):
    """DeepSpeed's engine; `strategy` is zero2 or zero3."""

    fixed = True  # a share of the optimizer is of no use to another number of processes

    def __init__(self, accelerator: Accelerator, strategy: str, config: dict[str, Any]) -> None:
        from transformers.integrations import HfDeepSpeedConfig

        super().__init__(accelerator)
        self.strategy, self.together, self.config = strategy, strategy == "zero3", config
        self.scale *= config["gradient_accumulation_steps"]  # the engine divides by them
        self._last = True
        # While it lives, transformers gives each process its share of the weights as they are read.
        self._reading = HfDeepSpeedConfig(config) if self.together else None

    def prepare(self, learner: nn.Module, make: MakeOptimizer) -> Any:
        """As `Copies.prepare`; the weights of stage 3 are empty outside the engine's own passes."""
        import deepspeed

        self.weights = trained(learner)
        learner.register_state_dict_post_hook(_without_frozen)
        self.learner, self.optimizer, *_ = deepspeed.initialize(
            model=learner, optimizer=make(self.weights.values()), config=self.config
        )
        self._reading = None
        return self.learner

    def micro_batch(self, last: bool) -> AbstractContextManager[Any]:
        """Gradients travel with every micro-batch, since no process holds all of them."""
        self._last = last
        return nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        """Add gradients."""
        self.learner.set_gradient_accumulation_boundary(is_boundary=self._last)
        self.learner.backward(loss)

    def update(self, clip: float) -> float:  # noqa: ARG002  # the engine was told when it was made
        """As `Copies.update`, the engine's way."""
        self.learner.step()
        return float(self.learner.get_global_grad_norm() or 0.0)

    def save(self, folder: Path) -> None:
        """Each process writes its share; frozen weights are read again from where they came."""
        self.learner.save_checkpoint(str(folder), tag=SHARDS, exclude_frozen_parameters=True)

    def load(self, folder: Path) -> None:
        """Each process reads its share."""
        try:
            self.learner.load_checkpoint(str(folder), tag=SHARDS, load_module_strict=False)
        except (OSError, RuntimeError, ValueError, EOFError, AssertionError) as fault:
            raise spoilt(folder / SHARDS, fault) from None

    def whole(self, named: Mapping[str, nn.Parameter]) -> dict[str, torch.Tensor]:
        """Whole weights on the first process, gathered one after the other, on the CPU."""
        if not self.together:
            return super().whole(named)
        import deepspeed

        found: dict[str, torch.Tensor] = {}
        for name, weight in named.items():
            with deepspeed.zero.GatheredParameters([weight]):
                if self.accelerator.is_main_process:
                    found[name] = weight.detach().cpu().clone()
        return found


def zero_config(path: Path, recipe: SftRecipe, split: Split, precision: str) -> dict[str, Any]:
    """What a DeepSpeed json says, completed by the recipe; `precision` is bf16 or no.

    Raises UserError where the file is no JSON object, or sets what the recipe says.
    """
    try:
        config = dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as fault:
        raise UserError(f"launch.deepspeed={path}: cannot be read ({fault}); give a JSON object") from None
    if taken := [name for name in OURS if name in config]:
        raise UserError(f"launch.deepspeed={path}: {', '.join(taken)}: the recipe says it; leave it out")
    return config | {
        "train_micro_batch_size_per_gpu": min(recipe.micro_batch, split.batch // split.ranks),
        "gradient_accumulation_steps": split.fewest,
        "gradient_clipping": recipe.clip,
        "bf16": {"enabled": precision == "bf16"},
        "steps_per_print": None,
    }


def _without_frozen(module: nn.Module, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
    """Leave frozen weights out of a state, tied ones (which DeepSpeed keeps) by each of their names."""
    for name, weight in module.named_parameters(remove_duplicate=False):
        if not weight.requires_grad:
            state.pop(prefix + name, None)
