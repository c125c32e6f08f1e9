"""The files that a run keeps of itself: its state, read so that damage is found, and the rows of its metrics.

What goes wrong with them is one line, whichever library was reading or writing.
"""

import json
import logging
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError  # what torch.load says of a file that is none of its own
from typing import Any

import torch
from safetensors import SafetensorError

from configs.errors import UserError
from data_prep.files import write_whole, writing

METRICS = "metrics.jsonl"
HELD_OUT = ("judged", "held_out")  # keys of the rows that an evaluation writes
REMOVE = "remove its folder"  # helps where a checkpoint among others is damaged
TORCH_WRITER = "inline_container"  # the source file that torch.save's faults name
log = logging.getLogger(__name__)


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """As `data_prep.files.writing`, also where torch or safetensors hide the system's fault in their own."""
    try:
        with writing(path):
            yield
    except (RuntimeError, SafetensorError) as fault:
        if isinstance(fault, RuntimeError) and TORCH_WRITER not in str(fault):
            raise
        told = "is the disk full?" if isinstance(fault, RuntimeError) else str(fault).splitlines()[0]
        raise UserError(f"{path}: cannot be written ({told}); free space or choose another folder") from None


def read_state(
    path: Path, device: torch.device | str = "cpu", mapped: bool = False, mend: str = REMOVE
) -> dict[str, Any]:
    """What `torch.save` wrote; no code in it is run.

    Raises UserError, which ends in `mend`, where the file is missing or damaged.

    The checksums of its parts are compared, which `torch.load` leaves out: a flipped bit would else be a
    wrong weight. That takes less than a second a GB.
    """
    try:
        with zipfile.ZipFile(path) as parts:
            damaged = parts.testzip()
        if damaged is not None:
            raise ValueError(f"{damaged} is damaged")
        state = torch.load(path, map_location=device, mmap=mapped, weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError, zipfile.BadZipFile) as fault:
        raise spoilt(path, fault, mend) from None
    if not isinstance(state, dict):
        raise spoilt(path, ValueError("it holds no state"), mend)
    return state


def spoilt(path: Path, fault: BaseException, mend: str = REMOVE) -> UserError:
    """The one line for a checkpoint that cannot be read."""
    told = (str(fault).splitlines() or [type(fault).__name__])[0]
    return UserError(f"{path}: cannot be read ({told}); {mend}")


def forget_rows(path: Path, step: int, judged: bool) -> None:
    """Take the rows of steps after `step` out of a file of metrics, since these steps are taken again.

    `judged`: the evaluation at `step` itself is not made again. Lines that are no rows are taken out too,
    with a warning.
    """
    if not path.is_file():
        return
    rows = [_row(line) for line in path.read_text("utf-8", "replace").splitlines()]
    read = [row for row in rows if row is not None]
    if len(read) < len(rows):
        log.warning("%s: %d lines could not be read and are left out", path, len(rows) - len(read))
    kept = [row for row in read if _stays(row, step, judged)]
    if len(kept) < len(rows):
        write_whole(path, "".join(json.dumps(row) + "\n" for row in kept))


def _row(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
        return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None
    except (ValueError, RecursionError):
        return None


def _stays(row: Mapping[str, Any], step: int, judged: bool) -> bool:
    is_evaluation = any(name in row for name in HELD_OUT)
    return bool(row["step"] < step or (row["step"] == step and (judged or not is_evaluation)))
