"""How parameters, gradients and optimizer states are distributed over the processes of a training.

Every strategy computes the same update. The loss of a step is one sum over the answer tokens of all
processes, and gradients are clipped by their norm over all processes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import nn

from data_prep.files import whole_file
from train.loop.state_files import damaged, read_state

STATE_FILE = "state.pt"
Result = TypeVar("Result")
MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class Strategy(ABC):
    """The part of a training loop that depends on where parameters, gradients and optimizer states are.

    An objective calls `prepare` when it has built a model, and in each step `accumulate` and `backward` for
    each micro-batch, then `optimizer_step`. Every process makes the same calls in the same order.
    """

    name: str  # as `launch.strategy` has it
    is_sharded = False  # True: forward passes, and gathering parameters, need all processes at the same time
    fixed_world_size = False  # True: a checkpoint can only be loaded by as many processes as wrote it

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        # All strategies average gradients over the processes. The loss is a sum over all of them, so it is
        # multiplied by their number before `backward`.
        self.loss_scale = accelerator.num_processes
        self.model: Any
        self.optimizer: Any
        self.parameters: dict[str, nn.Parameter]

    @property
    def load_device(self) -> torch.device:
        """The device that weights are read to, before `prepare`."""
        return self.accelerator.device

    @abstractmethod
    def prepare(self, model: nn.Module, make_optimizer: MakeOptimizer, layers: Sequence[nn.Module]) -> Any:
        """Distribute a model and make the optimizer of its trainable parameters; the model to be called.

        `layers` are the submodules that a sharded strategy may gather one at a time. Sets `model`,
        `optimizer` and `parameters` (the trainable ones, by their names in `model`).
        """

    @abstractmethod
    def accumulate(self, is_last: bool) -> AbstractContextManager[Any]:
        """The context of the forward and backward pass of one micro-batch; `is_last`: of the step."""

    @abstractmethod
    def backward(self, loss: torch.Tensor) -> None:
        """Accumulate the gradients of a loss that was multiplied by `loss_scale`."""

    @abstractmethod
    def optimizer_step(self, max_norm: float) -> float:
        """Clip the gradients, update the parameters, zero the gradients; the norm before clipping.

        `max_norm=0` does not clip.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write trainable parameters and optimizer states into an empty folder. All processes call it."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Read what `save` wrote, in place. Raises UserError if it is damaged."""

    @abstractmethod
    def gather_full_params(self, parameters: Mapping[str, nn.Parameter]) -> dict[str, torch.Tensor]:
        """Unsharded parameters, by name, on the first process. All processes call it if `is_sharded`."""

    def run_inference(self, function: Callable[[], Result]) -> Result:
        """Call `function`, which uses the model outside of training; what it returns.

        All processes call it if `is_sharded`.
        """
        if not self.is_sharded:
            with self.accelerator.autocast():
                return function()
        # The parameters that belong to no layer are gathered inside the wrapped model's `forward` only. The
        # model calls a function that it gets in place of a batch.
        result: Result = self.model(function)
        return result

    def all_reduce_sum(self, value: torch.Tensor | float) -> torch.Tensor:
        """The sum of a value over all processes. All of them call it."""
        local = torch.as_tensor(value).to(self.accelerator.device)
        total: torch.Tensor = self.accelerator.reduce(local, "sum")
        return total

    def set_learning_rate(self, learning_rate: float) -> None:
        """Set the learning rate of the next optimizer step."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate


class DDPStrategy(Strategy):
    """PyTorch's DistributedDataParallel: each process holds everything. Also for a single process."""

    name = "ddp"

    def prepare(self, model: nn.Module, make_optimizer: MakeOptimizer, layers: Sequence[nn.Module]) -> Any:  # noqa: ARG002
        """As `Strategy.prepare`; `layers` are not needed."""
        # The optimizer gets the parameters before they are wrapped: DDP wraps the same tensors.
        self.parameters = upcast_to_fp32(trainable_parameters(model))
        optimizer = make_optimizer(self.parameters.values())
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        return self.model

    def accumulate(self, is_last: bool) -> AbstractContextManager[Any]:
        """Gradients are all-reduced in the backward pass of the last micro-batch only."""
        return nullcontext() if is_last else self.accelerator.no_sync(self.model)

    def backward(self, loss: torch.Tensor) -> None:
        """As `Strategy.backward`."""
        self.accelerator.backward(loss)

    def optimizer_step(self, max_norm: float) -> float:
        """As `Strategy.optimizer_step`."""
        # An infinite norm does not clip, but still returns the norm, which is logged.
        norm = self.accelerator.clip_grad_norm_(list(self.parameters.values()), max_norm or float("inf"))
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(norm)

    def save(self, folder: Path) -> None:
        """The first process writes one file, since all hold the same."""
        if self.accelerator.is_main_process:
            weights = {name: weight.detach() for name, weight in self.parameters.items()}
            with whole_file(folder / STATE_FILE) as file:
                torch.save({"weights": weights, "optimizer": self.optimizer.state_dict()}, file)

    def load(self, folder: Path) -> None:
        """Every process reads the file."""
        path = folder / STATE_FILE
        # A second copy of the state may not fit into a GPU's memory, so the file is mapped and copied tensor
        # by tensor. On a CPU the optimizer would keep the mapped tensors, and with them the file.
        mapped = self.accelerator.device.type != "cpu"
        state = read_state(path, mapped=mapped)
        try:
            with torch.no_grad():
                for name, weight in self.parameters.items():
                    weight.copy_(state["weights"][name])
            self.optimizer.load_state_dict(state["optimizer"])
        except (KeyError, TypeError, ValueError, RuntimeError) as fault:  # an intact file of another model
            raise damaged(path, fault) from None

    def gather_full_params(self, parameters: Mapping[str, nn.Parameter]) -> dict[str, torch.Tensor]:
        """The parameters themselves, detached."""
        return {name: parameter.detach() for name, parameter in parameters.items()}


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that require gradients, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def upcast_to_fp32(parameters: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """Convert parameters to float32 in place, and return them.

    Most updates of a training are smaller than the resolution of bfloat16 and would be rounded away.
    """
    # In place, so that references to the parameters (tied weights, wrappers) stay valid.
    for parameter in parameters.values():
        parameter.data = parameter.data.float()
    return parameters
