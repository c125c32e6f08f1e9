"""The processes of one node: started together, told together to stop, and none outlives the others.

torchrun does the same, but it kills after 30 seconds what it was told to stop, whether or not a checkpoint
is being written, and a stopped training is a failure to it.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any

from configs.errors import UserError
from configs.plugins import import_inherited_plugins
from configs.terminal import log_to_terminal, prepare_terminal
from data_prep.signals import STOPPING, signals_blocked
from train.loop.signals import INTERRUPTED, Stopped, tell_interrupted

log = logging.getLogger(__name__)
PROBLEM = 1  # exit status of a process that failed
STOPPED = 143  # of one that a signal ended at once, as a shell tells SIGTERM
ENDED_BY_SIGNAL = (STOPPED, -signal.SIGTERM)
LOSS = 0.5  # seconds in which a process notices that another is gone


def run_together(work: Callable[..., None], given: Sequence[Any], variables: Sequence[dict[str, str]]) -> int:
    """Call `work(*given)` in one process for each set of environment variables; the exit status of all.

    SIGTERM is handed on, and so is the first Ctrl-C, as SIGTERM: `work` may finish what it is at. (A terminal
    sends Ctrl-C to all of them; they leave it to this one.) The second Ctrl-C kills them. Where one process
    fails the others are killed, since they would wait for it. Raises the UserError of the one that failed
    first, and Stopped after a signal.
    """
    context = multiprocessing.get_context("spawn")
    told = context.SimpleQueue()
    processes = [
        context.Process(target=_begin, args=(work, given, each, told), name=f"process {each['RANK']}")
        for each in variables
    ]
    with _handed_on(processes) as came:
        try:
            with signals_blocked():  # until each has said how it takes them
                for process in processes:
                    process.start()
            failed = _first_failure(processes)
            if came and failed:
                for process in processes:  # one that a signal ended may have been the cause
                    process.join(LOSS)
        finally:
            for process in processes:
                if process.pid is not None:
                    process.kill()
                    process.join()
    if failed is not None and not told.empty():
        raise UserError(told.get())
    if came and (failed is None or any(each.exitcode in ENDED_BY_SIGNAL for each in processes)):
        raise Stopped(INTERRUPTED if signal.SIGINT in came else 0, is_told=failed is None)
    if failed is None:
        return 0
    name, status = failed
    log.error("%s of %d ended with status %d; the others were ended", name, len(processes), status)
    return PROBLEM


@contextmanager
def _handed_on(processes: Sequence[SpawnProcess]) -> Iterator[list[int]]:
    """Hand signals on to processes as SIGTERM; yields a list that fills with those that came."""
    came: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if number == signal.SIGINT and number in came:
            raise KeyboardInterrupt
        came.append(number)
        if number == signal.SIGINT:
            tell_interrupted()
        for process in processes:
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, signal.SIGTERM)

    before = {number: signal.signal(number, hand_on) for number in STOPPING}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


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
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(variables)
    import_inherited_plugins()
    quiet = variables["RANK"] != "0"
    prepare_terminal()
    log_to_terminal(logging.WARNING if quiet else logging.INFO)
    try:
        work(*given)
    except UserError as fault:
        told.put(str(fault))
        raise SystemExit(PROBLEM) from None
    except Stopped as stopped:
        raise SystemExit(0 if stopped.is_told else STOPPED) from None


def _end_with_parent() -> None:
    """Let no process train on when the one that started it was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    with suppress(OSError):
        parent.join()
    os._exit(PROBLEM)
