"""A disk that takes no more, in one line, whichever library was writing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from configs.errors import UserError
from data_prep.files import writing

TORCH_WRITER = "inline_container"  # the source file that torch.save's faults name


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
