"""Fully sharded data parallelism by PyTorch (FSDP2, arXiv 2304.11277): each process holds a shard of every
parameter, and a layer's parameters are gathered while it computes.

PyTorch's `fully_shard` is called directly. Accelerate's FSDP plugin does nothing without a GPU, and the
tests run on a CPU.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from train.loop.state_files import damaged
from train.loop.strategies import MakeOptimizer, Result, Strategy, trainable_parameters, upcast_to_fp32

SHARDS = "shards"


class FSDPStrategy(Strategy):
    """A model whose layers are sharded one by one, and the rest of it as one unit."""

    name = "fsdp"
    is_sharded = True

    @property
    def load_device(self) -> torch.device:
        """The CPU: the unsharded model may not fit into a GPU's memory."""
        return torch.device("cpu")

    def prepare(self, model: nn.Module, make_optimizer: MakeOptimizer, layers: Sequence[nn.Module]) -> Any:
        """As `Strategy.prepare`; the model is sharded in place."""
        # 1. Master weights in float32, before they are sharded; MixedPrecisionPolicy casts them to bfloat16
        #    when a layer gathers them, and gradients are reduced in float32.
        upcast_to_fp32(trainable_parameters(model))
        mesh = init_device_mesh(self.accelerator.device.type, (self.accelerator.num_processes,))
        param_dtype = torch.bfloat16 if self.accelerator.mixed_precision == "bf16" else None
        policy = MixedPrecisionPolicy(param_dtype=param_dtype, reduce_dtype=torch.float32)
        shard = partial(fully_shard, mesh=mesh, mp_policy=policy)
        # 2. The layers first: what no layer holds (embeddings, output map) belongs to the root.
        for layer in layers:
            shard(layer)
        shard(model)
        # 3. `fully_shard` replaced the parameters by DTensors, so they are listed again for the optimizer.
        self.model, self.parameters = model, trainable_parameters(model)
        self.optimizer = make_optimizer(self.parameters.values())
        return model

    def run_inference(self, function: Callable[[], Result]) -> Result:
        """As `Strategy.run_inference`."""
        result = super().run_inference(function)
        # Without this the root's parameters would stay gathered, in bfloat16, until the next backward pass,
        # and weights that are saved before it would be rounded.
        self.model.reshard()
        return result

    def accumulate(self, is_last: bool) -> AbstractContextManager[Any]:  # noqa: ARG002
        """Gradients are reduced in every micro-batch: unsharded gradients would take too much memory."""
        return nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        """As `Strategy.backward`."""
        loss.backward()

    def optimizer_step(self, max_norm: float) -> float:
        """As `Strategy.optimizer_step`."""
        norm = nn.utils.clip_grad_norm_(list(self.parameters.values()), max_norm or float("inf"))
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(_full_tensor(norm))

    def save(self, folder: Path) -> None:
        """Each process writes its shard."""
        dcp.save(self._state(), checkpoint_id=str(folder / SHARDS))

    def load(self, folder: Path) -> None:
        """Any number of processes reads the shards: torch.distributed.checkpoint reshards them."""
        state = self._state()
        try:
            dcp.load(state, checkpoint_id=str(folder / SHARDS))
        except (OSError, RuntimeError, ValueError, EOFError) as fault:
            raise damaged(folder / SHARDS, fault) from None
        except dcp.api.CheckpointException as faults:  # a BaseException with the fault of each process
            raise damaged(folder / SHARDS, next(iter(faults.failures.values()))[0]) from None
        # The parameters were read in place; the states of the optimizer must be set.
        set_optimizer_state_dict(self.model, self.optimizer, state["optimizer"])

    def _state(self) -> dict[str, Any]:
        """Trainable parameters and optimizer states. `dcp.load` writes into these parameters in place."""
        weights = {name: parameter.data for name, parameter in self.parameters.items()}
        return {"weights": weights, "optimizer": get_optimizer_state_dict(self.model, self.optimizer)}

    def gather_full_params(self, parameters: Mapping[str, nn.Parameter]) -> dict[str, torch.Tensor]:
        """Parameters are gathered one by one, since a GPU may not hold all; the result is on the CPU."""
        gathered: dict[str, torch.Tensor] = {}
        for name, parameter in parameters.items():
            # A collective operation: every process must call it for every parameter, in the same order.
            full = _full_tensor(parameter.detach()).cpu()
            if self.accelerator.is_main_process:
                gathered[name] = full
        return gathered


def _full_tensor(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
