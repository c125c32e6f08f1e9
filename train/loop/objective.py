"""The interface between the training loop and what it trains: data, training step, evaluation, weights.

`train.loop.trainer.Trainer` owns the loop: resume, checkpoints, logging, signals and the schedule of
evaluations. An objective owns the rest. How other objectives fit in, beside fine-tuning (`train.sft`) and the
recipes from scratch (`train.scratch`):

- GRPO: a batch is a group of questions; `take_step` samples answers (`Strategy.run_inference`), computes
  rewards and advantages, and then the loss of the policy; `evaluate` is that of fine-tuning.
- A local tracker: a batch is pairs of template and search crops; `evaluate` compares boxes, and the score is
  their success, so that best/ holds the best weights.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from configs.launch.signals import StopSignal
from train.loop.identity import Identity
from train.loop.strategies import Strategy

BatchT = TypeVar("BatchT")


class LoopSettings(Protocol):
    """The keys of a recipe that the loop reads; all but the last are numbers of optimizer steps."""

    @property
    def log_every(self) -> int:
        """Steps between log lines."""
        ...

    @property
    def evaluate_every(self) -> int:
        """Steps between evaluations."""
        ...

    @property
    def checkpoint_every(self) -> int:
        """Steps between checkpoints."""
        ...

    @property
    def keep_checkpoints(self) -> int:
        """Number of newest checkpoints that are kept."""
        ...

    @property
    def threads(self) -> int:
        """CPU threads of a process; 0: torch's default."""
        ...


@dataclass(frozen=True)
class StepMetrics:
    """What is logged of an optimizer step; all values are those of all processes together."""

    losses: Mapping[str, float]  # by name, before the update
    learning_rate: float
    grad_norm: float | None = None  # before clipping
    counts: Mapping[str, float] = field(default_factory=dict)  # what was processed; logged per second
    flops: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation: the title and the metrics of each evaluation set.

    The metrics of a set are a dataclass of numbers that prints as a line. `score` decides which weights are
    the best ones (higher is better); with None there is no best/.
    """

    sets: Sequence[tuple[str, Any]]
    score: float | None = None


class Objective(ABC, Generic[BatchT]):
    """What a run trains. Every process of a run has one, and calls its methods in the same order.

    The constructor checks settings and finds the data, which takes seconds; `build` loads the model.
    """

    # What the trainer's messages and folders are called.
    final_folder = "final"  # of the weights after the last step
    checkpoint_key: str | None = "model.checkpoint"  # key by which inference uses them; None: it does not
    score_name = "score"
    # False if the initial weights are random, and an evaluation of them says nothing.
    evaluates_initial_weights = True
    learning_rate_remedy = "lower the learning rate"  # if a loss is not finite
    peak_flops: float | None = None  # of a device, FLOP/s; None: unknown, and no MFU is logged

    def __init__(self, strategy: Strategy, stop: StopSignal) -> None:
        self.strategy, self.stop = strategy, stop

    @property
    @abstractmethod
    def steps(self) -> int:
        """Optimizer steps of the complete run."""

    @abstractmethod
    def identity(self) -> Identity:
        """Everything that the weights depend on, as far as it is known (`train.loop.identity`)."""

    @abstractmethod
    def build(self) -> None:
        """Load or make the model, and distribute it by the strategy (`Strategy.prepare`)."""

    @abstractmethod
    def batches(self, steps: range) -> Iterator[BatchT]:
        """The data of each step. They must follow from the seed and the step, so that runs can be resumed."""

    @abstractmethod
    def take_step(self, batch: BatchT, step: int) -> StepMetrics:
        """Forward and backward pass, and the update of the weights."""

    @abstractmethod
    def evaluate(self, step: int) -> Evaluation:
        """Evaluate the weights after `step` steps."""

    @abstractmethod
    def save_weights(self, folder: Path, step: int, evaluations: Mapping[str, Mapping[str, Any]]) -> None:
        """Write a checkpoint that inference reads, completely or not at all.

        `evaluations` are the latest metrics of each evaluation set (on the first process).
        """

    def prepare_resume(self, step: int) -> None:
        """Called before the checkpoint of a step is loaded, if the model depends on the step."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds beside weights and optimizer states, as JSON."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned."""

    def needs_checkpoint_before(self, step: int) -> bool:  # noqa: ARG002
        """Whether to write a checkpoint before a step, because preparing its data takes long."""
        return False

    def draw_plots(self, step: int, metrics_file: Path) -> None:
        """Called on the first process after the metrics of an evaluation were written."""

    def warnings(self) -> Iterator[str]:
        """Warnings about the complete run, which are logged at its end."""
        yield from ()
