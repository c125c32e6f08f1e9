"""What the doctor finds: faults and notes, each one line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from configs.errors import UserError

Result = TypeVar("Result")


@dataclass
class Findings:
    """Faults, with which a checkpoint cannot be used as it is, and notes on what may be improved."""

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fault(self, text: str) -> None:
        """Add a fault, unless it is known. Loading repeats checks that were made on the files."""
        if text not in self.faults:
            self.faults.append(text)

    def note(self, text: str) -> None:
        """Add a note, unless it is known."""
        if text not in self.notes:
            self.notes.append(text)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """A context in which a UserError becomes a fault, and the checks after it go on."""
        try:
            yield
        except UserError as fault:
            self.fault(str(fault))

    def attempt(self, compute: Callable[[], Result]) -> Result | None:
        """What `compute` returns; None, and a fault, where it raises a UserError."""
        try:
            return compute()
        except UserError as fault:
            self.fault(str(fault))
            return None
