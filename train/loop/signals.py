"""How a training run ends on SIGTERM and on Ctrl-C (SIGINT).

While the run trains, the first signal lets it finish the step and save its state. While it loads a model,
renders or evaluates, there is nothing to save, and it ends at once. A second Ctrl-C always ends it at once: a
file that is being written then is discarded, and the earlier state remains.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STDERR = 2
INTERRUPTED = 130  # the shell's status of a command that Ctrl-C ended
AGAIN = b"interrupted: finishes the step and saves; Ctrl-C again ends at once\n"


class Stopped(BaseException):
    """A signal ended a run. It is a BaseException, since it is no error: `except Exception` lets it pass."""

    def __init__(self, status: int, is_told: bool = False) -> None:
        """`status` is the exit status; `is_told`: a log line has already said how to resume."""
        super().__init__("stopped by a signal")
        self.status, self.is_told = status, is_told


def tell_interrupted() -> None:
    """Print what the first Ctrl-C does. The handler may interrupt a log line, so it does not log."""
    with suppress(OSError):
        os.write(STDERR, AGAIN)


class Stop:
    """Whether a signal asked this process to stop, within a `heeded` block."""

    def __init__(self) -> None:
        self.asked = False
        self.interrupted = False  # by Ctrl-C
        self._finishes = False

    @property
    def status(self) -> int:
        """The exit status of a run that a signal ended."""
        return INTERRUPTED if self.interrupted else 0

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Handle the signals within the block. SIGINT stays ignored where it was ignored before."""
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        for number, handler in before.items():
            if number == signal.SIGTERM or handler != signal.SIG_IGN:
                signal.signal(number, self._ask)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def check(self) -> None:
        """Raise Stopped if a signal has come."""
        if self.asked:
            raise Stopped(self.status)

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """A block in which a signal only sets `asked`; the block must check it and end."""
        self._finishes = True
        try:
            yield
        finally:
            self._finishes = False

    @contextmanager
    def ending_at_once(self) -> Iterator[None]:
        """A block with nothing to save, also within `finishing`. Raises Stopped on a signal."""
        before, self._finishes = self._finishes, False
        try:
            self.check()
            yield
        finally:
            self._finishes = before

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if number == signal.SIGINT and self.interrupted:
            raise KeyboardInterrupt
        self.asked = True
        self.interrupted |= number == signal.SIGINT
        if not self._finishes:
            raise Stopped(self.status)
        if number == signal.SIGINT:
            tell_interrupted()
