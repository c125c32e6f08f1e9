"""Checkpoints of a run: written whole or not at all, the newest few kept, and the best.

A checkpoint is a folder `step-<number>` whose name is given to it when everything in it is on the disk. It
holds what learns, the optimizer, and where the run stands; frozen weights are read from where they came.
"""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from configs.errors import UserError
from data_prep.files import whole_file, write_whole

NAME = re.compile(r"step-(\d{8})")
STATE, SETTINGS, METRICS = "state.pt", "settings.json", "metrics.jsonl"


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

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint and forget the oldest."""
        temporary = self.folder / f".part-{step:08d}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        with whole_file(temporary / STATE) as file:
            torch.save(state, file)
        shutil.rmtree(self.path(step), ignore_errors=True)
        temporary.rename(self.path(step))
        for old in self.steps()[: -self.keep]:
            shutil.rmtree(self.path(old))

    def newest(self, device: torch.device) -> dict[str, Any] | None:
        """The state of the newest checkpoint, None without one. Raises UserError where it is spoilt."""
        if not (steps := self.steps()):
            return None
        path = self.path(steps[-1]) / STATE
        try:
            state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        except (OSError, RuntimeError, ValueError, EOFError) as fault:
            told = str(fault).splitlines()[0]
            raise UserError(f"{path}: cannot be read ({told}); remove its folder") from None
        return state


def check_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Let a run's folder be used by runs of the same settings only.

    Raises UserError, naming the keys that differ, where another run lies there; one that failed before its
    first evaluation is none.
    """
    path = folder / SETTINGS
    wanted = json.loads(json.dumps(settings))
    if path.is_file() and (folder / METRICS).is_file():
        held = json.loads(path.read_text())
        differing = sorted(_differing(held, wanted))
        if differing:
            raise UserError(
                f"{folder}: holds a run of other settings ({', '.join(differing)}); take another out="
            )
        return
    write_whole(path, json.dumps(wanted, indent=1) + "\n")


def _differing(held: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of the keys that two settings do not share or whose values differ."""
    found: list[str] = []
    for name in held.keys() | wanted.keys():
        one, other = held.get(name), wanted.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            found += _differing(one, other, f"{prefix}{name}.")
        elif one != other:
            found.append(prefix + name)
    return found
