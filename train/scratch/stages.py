"""Objectives that train in stages, one after the other: the base class of the recipes from scratch."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import nn

from configs.errors import UserError
from configs.launch.signals import StopSignal
from train.loop.identity import Identity, identity_from_scratch
from train.loop.objective import BatchT, LoopSettings, Objective
from train.loop.strategies import Strategy
from train.loop.trainer import train_in_one_process

OLD_STATE = "state.pt"  # of runs of earlier versions
EVAL_SET = "held out"  # title of the evaluation set: scenes that are never trained on


class Stage(Protocol):
    """What `StagedObjective` needs of a stage."""

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        ...


class StagedRecipe(LoopSettings, Protocol):
    """What `StagedObjective` needs of a recipe, which is a dataclass."""

    @property
    def stages(self) -> list[Any]:
        """The stages, in order."""
        ...

    @property
    def initial(self) -> str:
        """Folder of weights to start from; empty: from scratch."""
        ...


StageT = TypeVar("StageT", bound=Stage)


class StagedObjective(Objective[BatchT], Generic[BatchT, StageT]):
    """An objective whose steps belong to the stages of a recipe. It trains in one process."""

    final_folder = "model"
    evaluates_initial_weights = False  # they are random
    learning_rate_remedy = "lower the learning_rate of its stage (recipe.stages)"

    def __init__(
        self, recipe: StagedRecipe, out: Path, strategy: Strategy, stop: StopSignal | None = None
    ) -> None:
        super().__init__(strategy, stop or StopSignal())
        if not recipe.stages:
            raise UserError("recipe.stages is empty: list at least one stage")
        self.recipe: Any = recipe
        self.out = out

    @property
    def steps(self) -> int:
        """Optimizer steps of all stages."""
        return sum(stage.steps for stage in self.recipe.stages)

    def identity(self) -> Identity:
        """The recipe, the initial weights, and the code of the objective."""
        return identity_from_scratch(self.recipe, type(self).__module__)

    def stage_at(self, step: int) -> tuple[StageT, int]:
        """The stage that a step belongs to, and the step's number within it."""
        for stage in self.recipe.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise IndexError(step)

    def needs_checkpoint_before(self, step: int) -> bool:
        """Before each stage, since it may render images for many minutes first."""
        return self.stage_at(step)[1] == 0

    def update(
        self,
        loss: torch.Tensor,
        learning_rate: float,
        max_grad_norm: float,
        clipped: Iterable[nn.Parameter] | None = None,
    ) -> None:
        """Backward pass, clipping, optimizer step. `clipped` are the clipped parameters; None: all."""
        self.strategy.set_learning_rate(learning_rate)
        self.strategy.backward(loss)
        # The strategy clips all parameters or none, and auxiliary heads are not clipped with the model.
        if clipped is not None:
            nn.utils.clip_grad_norm_(clipped, max_grad_norm)
            max_grad_norm = 0.0  # no further clipping
        self.strategy.optimizer_step(max_grad_norm)


def train_stages(
    objective: type[StagedObjective[Any, Any]], recipe: Any, out: Path, device: torch.device
) -> None:
    """Train an objective to the end of its last stage, or resume an earlier run, in this process.

    Raises Stopped if a signal ended the run, and UserError if the folder holds another one.
    """
    # Runs of earlier versions have one file instead of `checkpoints/`. Without this check, such a run would
    # start again at step 0, with `accept_code=true`.
    if (out / OLD_STATE).is_file():
        raise UserError(
            f"{out / OLD_STATE}: is of an earlier version and cannot be resumed; take another out="
        )
    train_in_one_process(partial(objective, recipe, out), recipe, out, device)
