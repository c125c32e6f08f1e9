"""What an unexpected exception says to a user: its type and place, and for memory what to lower."""

import gc
import traceback
from pathlib import Path

import torch

from configs.errors import UserError
from data_prep.console import one_line

ROOT = Path(__file__).resolve().parents[2]
MEMORY_WORDS = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
MORE_MEMORY = (
    "lower model.batch, take a smaller model= or mask_head=, or give the sequence fewer prompts at a time"
)


def reason_of(fault: Exception) -> str:
    """A failure in one line: a UserError's own words, else the exception's type, words and place."""
    if isinstance(fault, UserError):
        return str(fault)
    said = one_line(f"{type(fault).__name__}: {fault}") if str(fault) else type(fault).__name__
    if is_out_of_memory(fault):
        return f"out of memory at {place_of(fault)} ({said}); {MORE_MEMORY}"
    return f"{said} (at {place_of(fault)})"


def place_of(fault: BaseException) -> str:
    """The deepest line of this project's code that an exception came through, as `models/grounder.py:12`."""
    place = "an unknown place"
    for frame in traceback.extract_tb(fault.__traceback__):
        path = Path(frame.filename)
        if path.is_relative_to(ROOT) and "site-packages" not in path.parts:
            place = f"{path.relative_to(ROOT).as_posix()}:{frame.lineno}"
    return place


def is_out_of_memory(fault: BaseException) -> bool:
    """Whether memory, of the machine or of a GPU, was too small. Libraries raise a plain RuntimeError too."""
    if isinstance(fault, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(fault, RuntimeError) and any(words in str(fault) for words in MEMORY_WORDS)


def free_memory() -> None:
    """Give back what a failed sequence held, once its exception is gone."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
