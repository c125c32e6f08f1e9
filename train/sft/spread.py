"""How weights, gradients and optimizer lie on the processes of a training: here, all of them on each.

The learning is the same however they lie: the loss is one sum over the answer tokens of all processes, and
gradients are clipped by their norm over all of them.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import nn

from data_prep.files import whole_file
from train.state_files import read_state, spoilt

STATE = "state.pt"
Result = TypeVar("Result")
MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class Copies:
    """Every process holds everything (PyTorch's DDP), or there is one process."""

    strategy = "ddp"
    together = False  # whether the model runs, and is written, only with every process taking part
    fixed = False  # whether a checkpoint goes on with as many processes as wrote it, and no others

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.scale = accelerator.num_processes
        """What a loss is multiplied by, since gradients are averaged where they should be summed."""
        self.learner: Any
        self.optimizer: Any
        self.weights: dict[str, nn.Parameter]

    @property
    def loading(self) -> torch.device:
        """Where weights are read to."""
        return self.accelerator.device

    def prepare(self, learner: nn.Module, make: MakeOptimizer) -> Any:
        """The learner as it is called; `weights` are then those that learn, by the learner's names."""
        self.weights = precisely(trained(learner))
        self.learner, self.optimizer = self.accelerator.prepare(learner, make(self.weights.values()))
        return self.learner

    def within(self, work: Callable[[], Result]) -> Result:
        """What `work` gives, with the model's weights whole. Where `together`, every process calls it."""
        if not self.together:
            with self.accelerator.autocast():
                return work()
        found: Result = self.learner(work)
        return found

    def summed(self, value: torch.Tensor | float) -> torch.Tensor:
        """A value's sum over all processes, each of which calls it."""
        here = torch.as_tensor(value).to(self.accelerator.device)
        summed: torch.Tensor = self.accelerator.reduce(here, "sum")
        return summed

    def set_rate(self, rate: float) -> None:
        """The learning rate of the next update."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def micro_batch(self, last: bool) -> AbstractContextManager[Any]:
        """Around forward and backward pass: gradients travel with the last micro-batch of a step."""
        return nullcontext() if last else self.accelerator.no_sync(self.learner)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss that was multiplied by `scale`."""
        self.accelerator.backward(loss)

    def update(self, clip: float) -> float:
        """Clip the gradients, take the optimizer's step and forget them; their norm before that."""
        norm = self.accelerator.clip_grad_norm_(list(self.weights.values()), clip or float("inf"))
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(norm)

    def save(self, folder: Path) -> None:
        """Write what learns, and the optimizer, into an empty folder. Every process calls it."""
        if self.accelerator.is_main_process:
            weights = {name: weight.detach() for name, weight in self.weights.items()}
            with whole_file(folder / STATE) as file:
                torch.save({"weights": weights, "optimizer": self.optimizer.state_dict()}, file)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Raises UserError where it is spoilt."""
        path = folder / STATE
        # All of it a second time may not fit into a GPU; on a CPU it would stay bound to the file.
        mapped = self.accelerator.device.type != "cpu"
        state = read_state(path, mapped=mapped)
        try:
            with torch.no_grad():
                for name, weight in self.weights.items():
                    weight.copy_(state["weights"][name])
            self.optimizer.load_state_dict(state["optimizer"])
        except (KeyError, TypeError, ValueError, RuntimeError) as fault:  # a whole file, of something else
            raise spoilt(path, fault) from None

    def whole(self, named: Mapping[str, nn.Parameter]) -> dict[str, torch.Tensor]:
        """Whole weights on the first process. Where `together`, every process calls it."""
        return {name: weight.detach() for name, weight in named.items()}


def trained(learner: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that learn, by name."""
    return {name: weight for name, weight in learner.named_parameters() if weight.requires_grad}


def precisely(weights: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """The same weights, in float32 from now on: most steps of a training are too small for bfloat16."""
    for weight in weights.values():
        weight.data = weight.data.float()
    return weights
