"""A cluster's SIGTERM goes to every process of a job: those that train finish a step and save, and those that
read pictures for them must go on reading until then.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ASKED_TO_STOP = {signal.SIGTERM}


class Stop:
    """Whether this process got SIGTERM since this was made."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.asked = True


@contextmanager
def later() -> Iterator[None]:
    """Let SIGTERM wait, here and for good in processes that are started meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ASKED_TO_STOP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def heed_parent_only(number: int) -> None:  # noqa: ARG001  # the worker's number, which DataLoader gives
    """In a worker that was started `later`: end by SIGTERM of the process that started it, and no other."""
    threading.Thread(target=_wait_for_parent, args=(os.getppid(),), daemon=True).start()


def _wait_for_parent(parent: int) -> None:
    while signal.sigwaitinfo(ASKED_TO_STOP).si_pid != parent:
        pass
    os._exit(0)
