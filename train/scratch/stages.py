"""Objectives that train in stages, one after the other: the base class of the recipes from scratch."""

import copy
from collections.abc import Iterable, Mapping
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

    @property
    def initial_share(self) -> float:
        """Share of those weights in the ones that are evaluated and saved."""
        ...


StageT = TypeVar("StageT", bound=Stage)
ModelT = TypeVar("ModelT", bound=nn.Module)


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
        if recipe.initial_share and not recipe.initial:
            raise UserError("recipe.initial_share needs recipe.initial, the folder of the initial weights")
        self.recipe: Any = recipe
        self.out = out
        # The weights of `recipe.initial` by name, which `build` reads. Empty without it.
        self.initial_weights: Mapping[str, torch.Tensor] = {}

    @property
    def steps(self) -> int:
        """Optimizer steps of all stages."""
        return sum(stage.steps for stage in self.recipe.stages)

    def identity(self) -> Identity:
        """The recipe, the initial weights, and the code of the objective."""
        return identity_from_scratch(self.recipe, type(self).__module__)

    def with_initial_share(self, model: ModelT) -> ModelT:
        """A copy of the trained model with the weights that are evaluated and saved.

        They are a mean of the trained and the initial weights, as in WiSE-FT (Wortsman et al. 2022,
        https://arxiv.org/abs/2109.01903).
        """
        result = copy.deepcopy(model)
        if share := self.recipe.initial_share:
            with torch.no_grad():
                # Not the state dict, which has tied weights twice.
                for name, weight in result.named_parameters():
                    weight.lerp_(self.initial_weights[name].to(weight), share)
        return result

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
