"""What is wrong with the files of a benchmark: all of it is collected, then told together."""

from dataclasses import dataclass, field

from configs.errors import UserError


@dataclass
class Faults:
    """Lines that each name a file, and what was noticed but hinders nothing.

    With `counted` (`missing=count`) a fault of results is a note too: its frames count as missed.
    """

    counted: bool = False
    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, line: str, mend: str) -> None:
        """A fault of results; `mend` is told where it is an error."""
        if self.counted:
            self.notes.append(f"{line}; counted as missed")
        else:
            self.lines.append(f"{line}; {mend}")

    def raise_any(self) -> None:
        """Raise UserError with a line for each fault, if there is one."""
        if self.lines:
            raise UserError("\n".join(self.lines))
