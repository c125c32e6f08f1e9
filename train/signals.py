"""What a training does on SIGTERM, and on Ctrl-C (SIGINT).

The first signal stops it in order: in the middle of steps it finishes one and saves its state. While it
loads, draws or is evaluated, everything is saved already, and it ends at once. A second Ctrl-C ends it at
once in any case: what is being written then is thrown away, and the state before it stays.
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
    """A signal ended a training in order. It is no fault: `except Exception` lets it pass."""

    def __init__(self, status: int, is_told: bool = False) -> None:
        """`status` is the exit status; `is_told`: a line has said so, and how to go on."""
        super().__init__("stopped by a signal")
        self.status, self.is_told = status, is_told


def tell_interrupted() -> None:
    """Say what the first Ctrl-C does. Unlike logging, this may happen amid another line."""
    with suppress(OSError):
        os.write(STDERR, AGAIN)


class Stop:
    """Whether this process was told to stop, while `heeded` holds."""

    def __init__(self) -> None:
        self.asked = False
        self.interrupted = False  # by Ctrl-C
        self._finishes = False

    @property
    def status(self) -> int:
        """The exit status of a training that was told to stop."""
        return INTERRUPTED if self.interrupted else 0

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Act on the signals until the end of the block. SIGINT stays ignored where it was."""
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
        """Raise Stopped where a signal has come already."""
        if self.asked:
            raise Stopped(self.status)

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """Within the block a signal is noted in `asked`, and the block is to end in order."""
        self._finishes = True
        try:
            yield
        finally:
            self._finishes = False

    @contextmanager
    def ending_at_once(self) -> Iterator[None]:
        """A block, also within `finishing`, in which there is nothing to save. Raises Stopped on a signal."""
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
