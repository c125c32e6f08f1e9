"""The boundary at which an unexpected exception becomes a reported failure, so that a run goes on.

A run over thousands of sequences must not end because one of them has a damaged frame or does not fit into
memory. Whatever goes wrong in one part of it (a sequence, a track, its overlays) is therefore caught at the
boundary of that part, reported with its type and place, and counted. `FailureBoundary` is the only such
boundary in `infer/`. KeyboardInterrupt and SystemExit pass through it.
"""

import traceback
from pathlib import Path
from types import TracebackType
from typing import Self

from configs.errors import UserError
from data_prep.console import one_line
from models.devices import is_out_of_memory

ROOT = Path(__file__).resolve().parents[2]
MEMORY_REMEDY = "lower model.batch, take a smaller model= or mask_head=, or track fewer expressions at once"


class FailureBoundary:
    """Catches an exception of the `with` block and keeps the reason as one line.

        with FailureBoundary() as boundary:
            ...
        if boundary.reason is not None:  # the block failed
            ...

    The exception itself is not kept, because its traceback would keep tensors of the failed block alive.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self.is_out_of_memory = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> bool:
        # KeyboardInterrupt and SystemExit are not failures of the block, but end the run.
        if not isinstance(fault, Exception):
            return False
        self.reason, self.is_out_of_memory = failure_reason(fault), is_out_of_memory(fault)
        return True


def failure_reason(fault: Exception) -> str:
    """A failure in one line: the message of a UserError; else type, message and place of the exception."""
    if isinstance(fault, UserError):
        return str(fault)
    message = one_line(f"{type(fault).__name__}: {fault}") if str(fault) else type(fault).__name__
    if is_out_of_memory(fault):
        return f"out of memory at {failure_place(fault)} ({message}); {MEMORY_REMEDY}"
    return f"{message} (at {failure_place(fault)})"


def failure_place(fault: BaseException) -> str:
    """The innermost line of this project's code in the traceback, such as `models/grounder.py:12`."""
    # The innermost frame of all is often in torch, which says nothing about the cause.
    place = "an unknown place"
    for frame in traceback.extract_tb(fault.__traceback__):
        path = Path(frame.filename)
        # An environment may lie inside the checkout; its packages are not this project's code.
        if path.is_relative_to(ROOT) and "site-packages" not in path.parts:
            place = f"{path.relative_to(ROOT).as_posix()}:{frame.lineno}"
    return place
