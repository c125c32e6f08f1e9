"""Fully sharded data parallelism by PyTorch (FSDP2, arXiv 2304.11277): each process holds its share of every
weight, and a layer's weights are whole while it works.

PyTorch's `fully_shard` is called as it is: accelerate's plugin leaves it out where there is no GPU, and tests
run on a CPU.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as sharded
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from train.sft.learner import Learner
from train.sft.spread import Copies, MakeOptimizer, Result, precisely, trained
from train.state_files import spoilt

SHARDS = "shards"


class Shards(Copies):
    """A learner whose layers are sharded one by one, and the rest of it together."""

    strategy = "fsdp"
    together = True

    @property
    def loading(self) -> torch.device:
        """Main memory, from which each layer's share goes to the GPU: all of them may not fit there."""
        return torch.device("cpu")

    def prepare(self, learner: nn.Module, make: MakeOptimizer) -> Any:
        """As `Copies.prepare`, in place."""
        assert isinstance(learner, Learner)
        self.weights = precisely(trained(learner))
        mesh = init_device_mesh(self.accelerator.device.type, (self.accelerator.num_processes,))
        half = torch.bfloat16 if self.accelerator.mixed_precision == "bf16" else None
        share = partial(
            fully_shard,
            mesh=mesh,
            mp_policy=MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32),
        )
        inner = learner.model.model
        for layer in [*inner.visual.blocks, *inner.language_model.layers]:
            share(layer)
        share(learner)
        self.learner, self.weights = learner, trained(learner)
        self.optimizer = make(self.weights.values())
        return learner

    def within(self, work: Callable[[], Result]) -> Result:
        """As `Copies.within`."""
        found = super().within(work)
        # What no layer holds would stay gathered until the next backward pass, rounded as the arithmetic is.
        self.learner.reshard()
        return found

    def micro_batch(self, last: bool) -> AbstractContextManager[Any]:  # noqa: ARG002
        """Gradients travel with every micro-batch: to gather them, a process would hold whole ones."""
        return nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        """Add gradients."""
        loss.backward()

    def update(self, clip: float) -> float:
        """As `Copies.update`."""
        norm = nn.utils.clip_grad_norm_(list(self.weights.values()), clip or float("inf"))
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(_full(norm))

    def save(self, folder: Path) -> None:
        """Each process writes its share of what learns and of the optimizer."""
        sharded.save(self._state(), checkpoint_id=str(folder / SHARDS))

    def load(self, folder: Path) -> None:
        """Read what any number of processes wrote."""
        state = self._state()
        try:
            sharded.load(state, checkpoint_id=str(folder / SHARDS))
        except (OSError, RuntimeError, ValueError, EOFError) as fault:
            raise spoilt(folder / SHARDS, fault) from None
        except sharded.api.CheckpointException as faults:  # of every process; no Exception
            raise spoilt(folder / SHARDS, next(iter(faults.failures.values()))[0]) from None
        set_optimizer_state_dict(self.learner, self.optimizer, state["optimizer"])

    def _state(self) -> dict[str, Any]:
        """What learns and the optimizer; reading writes into the same weights."""
        weights = {name: weight.data for name, weight in self.weights.items()}
        return {"weights": weights, "optimizer": get_optimizer_state_dict(self.learner, self.optimizer)}

    def whole(self, named: Mapping[str, nn.Parameter]) -> dict[str, torch.Tensor]:
        """Whole weights on the first process, gathered one after the other, on the CPU."""
        found: dict[str, torch.Tensor] = {}
        for name, weight in named.items():
            whole = _full(weight.detach()).cpu()
            if self.accelerator.is_main_process:
                found[name] = whole
        return found


def _full(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
