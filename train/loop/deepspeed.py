"""ZeRO (arXiv 1910.02054) by DeepSpeed: gradients and optimizer states are sharded over the processes, and
with stage 3 the parameters too.

DeepSpeed is called directly. Accelerate's DeepSpeed plugin does nothing without a GPU, and the tests run on
a CPU.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import nn

from configs.errors import UserError
from train.loop.state_files import damaged
from train.loop.strategies import MakeOptimizer, Strategy, trainable_parameters

SHARDS = "shards"
RECIPE_KEYS = (
    "train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping",
    "optimizer", "scheduler", "bf16", "fp16",
)  # fmt: skip
"""Keys of a DeepSpeed JSON that follow from the recipe."""


class StepSettings(Protocol):
    """The settings of a recipe that a DeepSpeed JSON repeats."""

    @property
    def batch(self) -> int:
        """Samples of an optimizer step, over all processes."""
        ...

    @property
    def micro_batch(self) -> int:
        """Samples that one process takes through a forward pass at most."""
        ...

    @property
    def max_grad_norm(self) -> float:
        """Largest norm of the gradient."""
        ...


class DeepSpeedStrategy(Strategy):
    """DeepSpeed's engine; `name` is zero2 or zero3."""

    fixed_world_size = True  # each process saves its own shard of the optimizer states

    def __init__(self, accelerator: Accelerator, name: str, config: dict[str, Any]) -> None:
        from transformers.integrations import HfDeepSpeedConfig

        super().__init__(accelerator)
        self.name, self.is_sharded, self.config = name, name == "zero3", config
        self.loss_scale *= config["gradient_accumulation_steps"]  # the engine divides the loss by it
        self._is_last = True
        # While this object exists, transformers shards the weights of a model as it reads them.
        self._zero3_loading = HfDeepSpeedConfig(config) if self.is_sharded else None

    def prepare(self, model: nn.Module, make_optimizer: MakeOptimizer, layers: Sequence[nn.Module]) -> Any:  # noqa: ARG002
        """As `Strategy.prepare`. With stage 3, parameters are empty outside of the engine's own passes."""
        import deepspeed

        self.parameters = trainable_parameters(model)
        model.register_state_dict_post_hook(_remove_frozen)
        self.model, self.optimizer, *_ = deepspeed.initialize(
            model=model, optimizer=make_optimizer(self.parameters.values()), config=self.config
        )
        # The model is loaded now; other models (of an evaluation, of a test) must not be sharded.
        self._zero3_loading = None
        return self.model

    def accumulate(self, is_last: bool) -> AbstractContextManager[Any]:
        """Gradients are reduced in every micro-batch, since no process holds all of them."""
        self._is_last = is_last
        return nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        """As `Strategy.backward`."""
        # The engine counts micro-batches itself, but a step may have more of them than its configuration
        # says (`recipe.micro_tokens`). So it must be set which one is the last.
        self.model.set_gradient_accumulation_boundary(is_boundary=self._is_last)
        self.model.backward(loss)

    def optimizer_step(self, max_norm: float) -> float:  # noqa: ARG002  # it is in the engine's configuration
        """As `Strategy.optimizer_step`."""
        # Clips, updates the parameters and zeroes the gradients. The norm is None until the first update.
        self.model.step()
        return float(self.model.get_global_grad_norm() or 0.0)

    def save(self, folder: Path) -> None:
        """Each process writes its shard. Frozen parameters are left out: they come from the base model."""
        self.model.save_checkpoint(str(folder), tag=SHARDS, exclude_frozen_parameters=True)

    def load(self, folder: Path) -> None:
        """Each process reads its shard."""
        # Not strict, since frozen parameters are not in the checkpoint.
        try:
            self.model.load_checkpoint(str(folder), tag=SHARDS, load_module_strict=False)
        except (OSError, RuntimeError, ValueError, EOFError, AssertionError) as fault:
            raise damaged(folder / SHARDS, fault) from None

    def gather_full_params(self, parameters: Mapping[str, nn.Parameter]) -> dict[str, torch.Tensor]:
        """Parameters are gathered one by one, since a GPU may not hold all; the result is on the CPU."""
        if not self.is_sharded:
            return {name: parameter.detach() for name, parameter in parameters.items()}
        import deepspeed

        gathered: dict[str, torch.Tensor] = {}
        for name, parameter in parameters.items():
            # All processes take part; the complete parameter exists within the block only.
            with deepspeed.zero.GatheredParameters([parameter]):
                if self.accelerator.is_main_process:
                    # On a CPU `cpu()` returns the same tensor, whose memory is freed at the end of the block.
                    gathered[name] = parameter.detach().cpu().clone()
        return gathered


def deepspeed_config(
    path: Path, settings: StepSettings, num_processes: int, precision: str
) -> dict[str, Any]:
    """The content of a DeepSpeed JSON, completed by the settings of a recipe; `precision` is bf16 or no.

    Raises UserError if the file holds no JSON object, or sets a key that follows from the recipe.
    """
    try:
        config = dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as fault:
        raise UserError(f"launch.deepspeed={path}: cannot be read ({fault}); give a JSON object") from None
    if taken := [name for name in RECIPE_KEYS if name in config]:
        raise UserError(
            f"launch.deepspeed={path}: {', '.join(taken)}: set by the recipe; remove it from the file"
        )
    # DeepSpeed derives `train_batch_size`: the next two values times the number of processes.
    return config | {
        "train_micro_batch_size_per_gpu": min(settings.micro_batch, settings.batch // num_processes),
        "gradient_accumulation_steps": accumulation_steps(
            settings.batch, settings.micro_batch, num_processes
        ),
        "gradient_clipping": settings.max_grad_norm,
        "bf16": {"enabled": precision == "bf16"},
        "steps_per_print": None,
    }


def accumulation_steps(batch: int, micro_batch: int, num_processes: int) -> int:
    """The least number of micro-batches of each process in an optimizer step."""
    return -(-batch // (num_processes * micro_batch))


def _remove_frozen(module: nn.Module, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
    """Remove frozen parameters from a state dict, tied ones (which DeepSpeed keeps) under each name."""
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if not parameter.requires_grad:
            state.pop(prefix + name, None)
