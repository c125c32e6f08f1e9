"""SIGTERM and Ctrl-C (SIGINT): how a run stops in order, and how its worker processes leave that to it.

While a run trains, the first signal lets it finish the step and save its state. While it loads a model,
renders or evaluates, there is nothing to save, and it ends at once. A second Ctrl-C always ends it at once: a
file that is being written then is discarded, and the earlier state remains.

A terminal sends SIGINT, and a cluster SIGTERM, to every process of a job. The process that started the others
decides what happens, because it may need its workers until its state is saved.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}
STDERR = 2
INTERRUPTED = 130  # the shell's exit status of a command that Ctrl-C ended
INTERRUPT_NOTICE = b"interrupted: finishes the step and saves; Ctrl-C again ends at once\n"


class Stopped(BaseException):
    """A signal ended a run. It is a BaseException, since it is no error: `except Exception` lets it pass."""

    def __init__(self, status: int, is_reported: bool = False) -> None:
        """`status` is the exit status; `is_reported`: a log line has already said how to resume."""
        super().__init__("stopped by a signal")
        self.status, self.is_reported = status, is_reported


def print_interrupt_notice() -> None:
    """Print what the first Ctrl-C does. The handler may interrupt a log call, so this does not log."""
    with suppress(OSError):
        os.write(STDERR, INTERRUPT_NOTICE)


class StopSignal:
    """Whether a signal asked this process to stop, within a block of `handled`."""

    def __init__(self) -> None:
        self.is_set = False
        self.is_interrupt = False  # set by Ctrl-C
        self._is_deferred = False

    @property
    def status(self) -> int:
        """The exit status of a run that the signal ended."""
        return INTERRUPTED if self.is_interrupt else 0

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signals within the block. SIGINT stays ignored where it was ignored before."""
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        for number, handler in before.items():
            # `nohup` and shells that start a job in the background ignore SIGINT for it.
            if number == signal.SIGTERM or handler != signal.SIG_IGN:
                signal.signal(number, self._handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                # None stands for a handler that was not set from Python and cannot be set again.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def check(self) -> None:
        """Raise Stopped if a signal has come."""
        if self.is_set:
            raise Stopped(self.status)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """A block in which a signal only sets `is_set`; the block must check it and end."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False

    @contextmanager
    def immediate(self) -> Iterator[None]:
        """A block with nothing to save, also within `deferred`. Raises Stopped on a signal."""
        before, self._is_deferred = self._is_deferred, False
        try:
            # A signal that was deferred until now counts here, where there is nothing to save.
            self.check()
            yield
        finally:
            self._is_deferred = before

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if number == signal.SIGINT and self.is_interrupt:
            raise KeyboardInterrupt
        self.is_set = True
        self.is_interrupt |= number == signal.SIGINT
        if not self._is_deferred:
            raise Stopped(self.status)
        if number == signal.SIGINT:
            print_interrupt_notice()


# ---- worker processes ------------------------------------------------------------------------------


@contextmanager
def stop_signals_blocked() -> Iterator[None]:
    """Block both signals in this thread meanwhile, and for good in processes that are started meanwhile."""
    # A process inherits the signal mask of the thread that starts it, also if it executes another program.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stop_by_parent_only(number: int = 0) -> None:  # noqa: ARG001  # the worker's number, which DataLoader gives
    """In a process started under `stop_signals_blocked`: end only on a SIGTERM that the parent process sends.

    DataLoader and multiprocessing end their workers by SIGTERM, so these signals cannot be ignored.
    """
    # A thread of its own waits: `sigwaitinfo` receives signals that are blocked in all threads.
    threading.Thread(target=_wait_for_parent, args=(os.getppid(),), daemon=True).start()


def _wait_for_parent(parent: int) -> None:
    # A cluster's SIGTERM to all processes of a job has another sender. It is received and dropped.
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
