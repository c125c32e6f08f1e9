"""Checkpoints of a run: written completely or not at all, the newest few kept.

A checkpoint is a folder `step-<number>`, which gets its name when everything in it is on the disk. It holds
trainable parameters and optimizer states as the strategy saves them, and the run state. Frozen parameters are
not in it: they are read from the base model again.
"""

import json
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from configs.errors import UserError
from data_prep.files import write_whole, writing
from data_prep.folders import part_of, put
from train.loop.state_files import saving
from train.loop.strategies import Strategy

NAME = re.compile(r"step-(\d{8})")
RUN_STATE = "run_state.json"
OLD_RUN_STATE = "standing.json"  # its name in checkpoints of earlier versions
RENAMED_FIELDS = {
    "best": "best_score",
    "best_iou": "best_score",
    "judged": "evaluated",
    "processes": "num_processes",
}
UNREADABLE = ("unread", "unreadable")  # fields of earlier versions that belong to the objective's state now


@dataclass(frozen=True)
class RunState:
    """The position of a run, and the strategy that wrote its checkpoint."""

    step: int
    evaluated: int  # step of the last evaluation; -1: none
    best_score: float | None  # score of the best weights; None before the first evaluation
    strategy: str
    num_processes: int
    objective: dict[str, Any] = field(default_factory=dict)  # `Objective.state`


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a run in `folder`, the newest `keep` of them."""

    folder: Path
    keep: int

    def steps(self) -> list[int]:
        """The steps of the complete checkpoints, in ascending order."""
        names = [path.name for path in self.folder.glob("step-*")] if self.folder.is_dir() else []
        return sorted(int(found[1]) for name in names if (found := NAME.fullmatch(name)))

    def path(self, step: int) -> Path:
        """The folder of a step's checkpoint."""
        return self.folder / f"step-{step:08d}"

    def save(self, run_state: RunState, strategy: Strategy) -> None:
        """Write a checkpoint, each process its part, and delete the oldest. All processes call it.

        Raises UserError if a process does not see the folder that the first process made.
        """
        path, accelerator = self.path(run_state.step), strategy.accelerator
        # 1. The first process makes a temporary folder.
        temporary = part_of(path)
        if accelerator.is_main_process:
            shutil.rmtree(temporary, ignore_errors=True)
            with writing(path):
                temporary.mkdir(parents=True)
        accelerator.wait_for_everyone()
        if not temporary.is_dir():
            raise UserError(
                f"{self.folder}: is not the same folder on all nodes; take an out= on a shared disk"
            )
        # 2. Every process writes its part.
        with saving(path):
            strategy.save(temporary)
        accelerator.wait_for_everyone()
        # 3. The first process gives the folder its name. A run that was killed before has no half checkpoint.
        if accelerator.is_main_process:
            self._write_run_state(temporary, run_state)
            with writing(path):
                put(temporary, path)
            for old in self.steps()[: -self.keep]:
                shutil.rmtree(self.path(old))
        accelerator.wait_for_everyone()

    def update_run_state(self, run_state: RunState) -> None:
        """Replace the run state in the checkpoint of this step, if it exists. The first process calls it."""
        # At step 0 there is no checkpoint: a new run has evaluated its initial weights.
        if (path := self.path(run_state.step)).is_dir():
            self._write_run_state(path, run_state)

    def _write_run_state(self, path: Path, run_state: RunState) -> None:
        write_whole(path / RUN_STATE, json.dumps(asdict(run_state)) + "\n")

    def newest(self, strategy: Strategy) -> RunState | None:
        """The run state of the newest checkpoint, None if there is none.

        Raises UserError if it is damaged, or cannot be loaded by this strategy and number of processes.
        """
        if not (steps := self.steps()):
            return None
        path, num_processes = self.path(steps[-1]), strategy.accelerator.num_processes
        file = path / RUN_STATE if (path / RUN_STATE).is_file() else path / OLD_RUN_STATE
        # The file is checked before the weights are loaded, which may take minutes.
        try:
            found = _run_state(json.loads(file.read_text()))
            if found.step != steps[-1]:
                raise ValueError(f"it is of step {found.step}")
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as fault:
            raise UserError(
                f"{path / RUN_STATE}: cannot be read ({fault}); remove its folder{self._next_start()}"
            ) from None
        # The formats of the strategies differ. ZeRO's shards also belong to a number of processes, while
        # FSDP's can be resharded.
        if found.strategy != strategy.name or (
            strategy.fixed_world_size and found.num_processes != num_processes
        ):
            raise UserError(
                f"{path}: was written with launch.strategy={found.strategy} by {found.num_processes} "
                f"processes and cannot be loaded with launch.strategy={strategy.name} by {num_processes}; "
                "resume with the settings of the run, or take another out="
            )
        return found

    def load(self, run_state: RunState, strategy: Strategy) -> None:
        """Load the checkpoint of a run state. Raises UserError, which names the remedy, if it is damaged."""
        try:
            strategy.load(self.path(run_state.step))
        except UserError as fault:
            raise UserError(f"{fault}{self._next_start()}") from None

    def _next_start(self) -> str:
        """The end of a message: from where the run resumes if its newest checkpoint is removed."""
        older = self.steps()[:-1]
        return f": the run then resumes at step {older[-1]}" if older else ": the run then starts at step 0"


def _run_state(fields: dict[str, Any]) -> RunState:
    """A run state from its file, which an earlier version may have written under other names."""
    present = {RENAMED_FIELDS.get(name, name): value for name, value in fields.items()}
    for name in UNREADABLE:
        if name in present:
            present["objective"] = {"unreadable": present.pop(name)}
    # -1 stood for none while the score was always an IoU.
    if present.get("best_score") == -1:
        present["best_score"] = None
    found = RunState(**present)
    if not isinstance(found.objective, dict):
        raise TypeError("it holds no state of the objective")
    return found
