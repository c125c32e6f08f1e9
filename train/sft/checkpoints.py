"""Checkpoints of a run: written whole or not at all, the newest few kept.

A checkpoint is a folder `step-<number>` whose name is given to it when everything in it is on the disk. It
holds what learns and the optimizer, as the processes hold them, and where the run stands; frozen weights are
read from where they came.
"""

import json
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from accelerate import Accelerator

from configs.errors import UserError
from data_prep.files import write_whole, writing
from data_prep.folders import part_of, put
from train.sft.spread import Copies
from train.state_files import saving

NAME = re.compile(r"step-(\d{8})")
STANDING = "standing.json"


@dataclass(frozen=True)
class Standing:
    """Where a run stands, and how its checkpoint was written."""

    step: int
    unread: int  # pairs that could not be read
    best: float  # IoU of the best weights
    judged: int  # step of the last evaluation; -1: none
    strategy: str
    processes: int


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a run in `folder`, the newest `keep` of them."""

    folder: Path
    keep: int

    def steps(self) -> list[int]:
        """The steps of those that are whole, rising."""
        names = [path.name for path in self.folder.glob("step-*")] if self.folder.is_dir() else []
        return sorted(int(found[1]) for name in names if (found := NAME.fullmatch(name)))

    def path(self, step: int) -> Path:
        """The folder of a step's checkpoint."""
        return self.folder / f"step-{step:08d}"

    def save(self, standing: Standing, spread: Copies, accelerator: Accelerator) -> None:
        """Write a checkpoint, each process its part, and forget the oldest.

        Raises UserError where a process does not see the folder that the first one made.
        """
        path = self.path(standing.step)
        temporary = part_of(path)
        if accelerator.is_main_process:
            shutil.rmtree(temporary, ignore_errors=True)
            with writing(path):
                temporary.mkdir(parents=True)
        accelerator.wait_for_everyone()
        if not temporary.is_dir():
            raise UserError(f"{self.folder}: not one folder for all nodes; take an out= on a shared disk")
        with saving(path):
            spread.save(temporary)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            self._note(temporary, standing)
            with writing(path):
                put(temporary, path)
            for old in self.steps()[: -self.keep]:
                shutil.rmtree(self.path(old))
        accelerator.wait_for_everyone()

    def note(self, standing: Standing) -> None:
        """Correct what the checkpoint of this step says, if there is one. The first process calls it."""
        if (path := self.path(standing.step)).is_dir():
            self._note(path, standing)

    def _note(self, path: Path, standing: Standing) -> None:
        write_whole(path / STANDING, json.dumps(asdict(standing)) + "\n")

    def newest(self, spread: Copies, processes: int) -> Standing | None:
        """Where the newest checkpoint stands, None without one.

        Raises UserError where it is spoilt, or was written by processes of which these cannot read it.
        """
        if not (steps := self.steps()):
            return None
        path = self.path(steps[-1])
        try:
            found = Standing(**json.loads((path / STANDING).read_text()))
            if found.step != steps[-1]:
                raise ValueError(f"it is of step {found.step}")
        except (OSError, ValueError, TypeError, RecursionError) as fault:
            raise UserError(
                f"{path / STANDING}: cannot be read ({fault}); remove its folder{self._then()}"
            ) from None
        if found.strategy != spread.strategy or (spread.fixed and found.processes != processes):
            raise UserError(
                f"{path}: written by launch.strategy={found.strategy} on {found.processes} processes, which "
                f"launch.strategy={spread.strategy} on {processes} cannot go on from; go on as it began, or "
                "take another out="
            )
        return found

    def load(self, standing: Standing, spread: Copies) -> None:
        """Read the newest checkpoint. Raises UserError, saying how the run goes on, where it is spoilt."""
        try:
            spread.load(self.path(standing.step))
        except UserError as fault:
            raise UserError(f"{fault}{self._then()}") from None

    def _then(self) -> str:
        """What becomes of a run when its newest checkpoint is removed."""
        older = self.steps()[:-1]
        return f": the run then goes on from step {older[-1]}" if older else ": the run then begins anew"
