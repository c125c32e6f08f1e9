"""What tests of training share: the strategy of a single process, and objectives without a trainer."""

from pathlib import Path
from typing import Any, TypeVar

from accelerate import Accelerator

from train.loop.strategies import DDPStrategy
from train.scratch.stages import StagedObjective

ObjectiveT = TypeVar("ObjectiveT", bound=StagedObjective[Any, Any])


def cpu_strategy() -> DDPStrategy:
    """The strategy of a single process on the CPU."""
    return DDPStrategy(Accelerator(cpu=True))


def built(objective: type[ObjectiveT], recipe: Any, out: Path = Path("unused")) -> ObjectiveT:
    """An objective with its model."""
    made = objective(recipe, out, cpu_strategy())
    made.build()
    return made
