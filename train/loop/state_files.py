"""Reading and writing the state and the metrics of a run. Damage is found when they are read.

Every fault becomes one line (`UserError`), whichever library was reading or writing.
"""

import json
import logging
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError  # torch.load raises it for other files
from typing import Any

import torch
from safetensors import SafetensorError

from configs.errors import UserError
from data_prep.files import write_whole, writing

METRICS = "metrics.jsonl"
EVAL_SET = (
    "eval_set",
    "judged",
)  # key of the title in a row of an evaluation; the second one is that of earlier versions
REMOVE_CHECKPOINT = "remove its folder"  # the remedy where one checkpoint of several is damaged
TORCH_WRITER = "inline_container"  # the source file that is named in the errors of torch.save
log = logging.getLogger(__name__)


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """As `data_prep.files.writing`, also for errors that torch and safetensors raise in place of OSError."""
    try:
        with writing(path):
            yield
    except (RuntimeError, SafetensorError) as fault:
        # Any other RuntimeError is a bug or a lack of memory, and not about the file.
        if isinstance(fault, RuntimeError) and TORCH_WRITER not in str(fault):
            raise
        # torch does not report the error of the operating system.
        reason = "is the disk full?" if isinstance(fault, RuntimeError) else str(fault).splitlines()[0]
        raise UserError(
            f"{path}: cannot be written ({reason}); free space or choose another folder"
        ) from None


def read_state(
    path: Path, device: torch.device | str = "cpu", mapped: bool = False, remedy: str = REMOVE_CHECKPOINT
) -> dict[str, Any]:
    """Read what `torch.save` wrote, without running code that is in it.

    Raises UserError, which ends with `remedy`, where the file is missing or damaged. The checksums in the
    file are verified, which `torch.load` does not do: a flipped bit would be loaded as a wrong weight. This
    takes less than a second per GB.
    """
    try:
        # A file of `torch.save` is a zip archive. `testzip` names the first member with a wrong checksum.
        with zipfile.ZipFile(path) as parts:
            bad_part = parts.testzip()
        if bad_part is not None:
            raise ValueError(f"{bad_part} is damaged")
        state = torch.load(path, map_location=device, mmap=mapped, weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError, zipfile.BadZipFile) as fault:
        raise damaged(path, fault, remedy) from None
    if not isinstance(state, dict):
        raise damaged(path, ValueError("it holds no state"), remedy)
    return state


def damaged(path: Path, fault: BaseException, remedy: str = REMOVE_CHECKPOINT) -> UserError:
    """The error for a checkpoint that cannot be read."""
    reason = (str(fault).splitlines() or [type(fault).__name__])[0]
    return UserError(f"{path}: cannot be read ({reason}); {remedy}")


def remove_rows(path: Path, step: int, is_evaluated: bool) -> None:
    """Remove the rows of steps after `step` from a file of metrics, since these steps are repeated.

    `is_evaluated`: the evaluation at `step` itself is not repeated. Lines that are not rows are removed too,
    with a warning.
    """
    if not path.is_file():
        return
    # A killed process may have written a part of the last line.
    rows = [_row(line) for line in path.read_text("utf-8", "replace").splitlines()]
    read = [row for row in rows if row is not None]
    if len(read) < len(rows):
        log.warning("%s: %d lines could not be read and are left out", path, len(rows) - len(read))
    kept = [row for row in read if _stays(row, step, is_evaluated)]
    # The file is replaced as a whole, so that a kill at this point loses no rows.
    if len(kept) < len(rows):
        write_whole(path, "".join(json.dumps(row) + "\n" for row in kept))


def _row(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
        return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None
    except (ValueError, RecursionError):
        return None


def eval_set_of(row: Mapping[str, Any]) -> str | None:
    """The evaluation set that a row of `metrics.jsonl` is about; None for a row of training steps."""
    title: str | None = next((row[key] for key in EVAL_SET if key in row), None)
    return title


def _stays(row: Mapping[str, Any], step: int, is_evaluated: bool) -> bool:
    is_evaluation = eval_set_of(row) is not None
    # Step `step` itself is complete, but its evaluation may have been interrupted.
    return bool(row["step"] < step or (row["step"] == step and (is_evaluated or not is_evaluation)))
