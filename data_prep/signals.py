"""Signals in the processes that another one has started to work for it.

A terminal sends SIGINT (Ctrl-C), and a cluster SIGTERM, to every process of a job. The one that started the
others decides what happens: it may want to end in order, and needs them for that.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STOPPING = {signal.SIGINT, signal.SIGTERM}


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Let both signals wait in this thread, and for good in processes that are started meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def heed_parent_only(number: int = 0) -> None:  # noqa: ARG001  # the worker's number, which DataLoader gives
    """In a process started under `signals_blocked`: end by SIGTERM of the process that started it alone."""
    threading.Thread(target=_wait_for_parent, args=(os.getppid(),), daemon=True).start()


def _wait_for_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
