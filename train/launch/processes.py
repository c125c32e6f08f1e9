"""The processes of one node: started together, told together to stop, and none outlives the others.

torchrun does the same, but it kills after 30 seconds what it was told to stop, whether or not a checkpoint
is being written, and a stopped training is a failure to it.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any

from configs.errors import UserError
from configs.terminal import log_to_terminal, prepare_terminal

log = logging.getLogger(__name__)
PROBLEM = 1  # exit status of a process that failed


def run_together(work: Callable[..., None], given: Sequence[Any], variables: Sequence[dict[str, str]]) -> int:
    """Call `work(*given)` in one process for each set of environment variables; the exit status of all.

    SIGTERM is handed on, and `work` may finish what it is at. Where one process fails the others are
    killed, since they would wait for it. Raises the UserError of the one that failed first.
    """
    context = multiprocessing.get_context("spawn")
    told = context.SimpleQueue()
    processes = [
        context.Process(target=_begin, args=(work, given, each, told), name=f"process {each['RANK']}")
        for each in variables
    ]

    def hand_on(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        for process in processes:
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, hand_on)
    try:
        for process in processes:
            process.start()
        failed = _first_failure(processes)
    finally:
        for process in processes:
            if process.pid is not None:
                process.kill()
                process.join()
        signal.signal(signal.SIGTERM, before)
    if failed is None:
        return 0
    if not told.empty():
        raise UserError(told.get())
    name, status = failed
    log.error("%s of %d ended with status %d; the others were ended", name, len(processes), status)
    return PROBLEM


def _first_failure(processes: Sequence[SpawnProcess]) -> tuple[str, int] | None:
    """Wait for all processes, or for the first that fails: its name and exit code."""
    running = list(processes)
    while running:
        ended = wait([process.sentinel for process in running])
        for process in [each for each in running if each.sentinel in ended]:
            running.remove(process)
            process.join()
            if process.exitcode:
                return process.name, process.exitcode
    return None


def _begin(work: Callable[..., None], given: Sequence[Any], variables: dict[str, str], told: Any) -> None:
    """What a process does: its work, or telling why not."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(variables)
    quiet = variables["RANK"] != "0"
    prepare_terminal()
    log_to_terminal(logging.WARNING if quiet else logging.INFO)
    try:
        work(*given)
    except UserError as fault:
        told.put(str(fault))
        raise SystemExit(PROBLEM) from None
    except KeyboardInterrupt:
        raise SystemExit(PROBLEM) from None


def _end_with_parent() -> None:
    """Let no process train on when the one that started it was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    with suppress(OSError):
        parent.join()
    os._exit(PROBLEM)
