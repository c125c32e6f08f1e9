"""Start the processes of one node, forward stop signals to them, and end all of them when one fails.

torchrun does the same, but 30 seconds after a stop signal it kills its processes, whether or not one is
writing a checkpoint, and it treats a stopped training as a failure.
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
from configs.launch.signals import (
    INTERRUPTED,
    STOP_SIGNALS,
    Stopped,
    print_interrupt_notice,
    stop_signals_blocked,
)
from configs.plugins import import_inherited_plugins
from configs.terminal import log_to_terminal, prepare_terminal

log = logging.getLogger(__name__)
FAILED = 1  # exit status of a process that failed
STOPPED = 143  # exit status of a process that a signal ended at once, as a shell reports SIGTERM
# multiprocessing gives the exit code -N to a process that signal N has ended.
ENDED_BY_SIGNAL = (STOPPED, -signal.SIGTERM)
CONNECTION_LOST_WITHIN = 0.5  # seconds in which a process notices that another one has ended


def launch_processes(
    function: Callable[..., None], arguments: Sequence[Any], environments: Sequence[dict[str, str]]
) -> int:
    """Call `function(*arguments)` in one process for each set of environment variables; the exit status.

    SIGTERM is forwarded, and the first Ctrl-C is forwarded as SIGTERM, so that `function` may save its state.
    (A terminal sends Ctrl-C to all processes; the started ones ignore it.) The second Ctrl-C kills them. If
    one process fails, the others are killed, since they would wait for it. Raises the UserError of the
    process that failed first, and Stopped after a signal.
    """
    # Spawned, not forked: a fork of a process with threads (torch's, OpenCV's) may hang.
    context = multiprocessing.get_context("spawn")
    # SimpleQueue writes to its pipe without a thread, so a message is sent when `put` returns.
    errors = context.SimpleQueue()
    processes = [
        context.Process(
            target=_run_process, args=(function, arguments, each, errors), name=f"process {each['RANK']}"
        )
        for each in environments
    ]
    with _signals_forwarded(processes) as received:
        try:
            with stop_signals_blocked():  # until each process has set its own handlers
                for process in processes:
                    process.start()
            failed = _wait_for_failure(processes)
            if received and failed:
                # A process that a signal ended may be the reason why another one lost its connection.
                for process in processes:
                    process.join(CONNECTION_LOST_WITHIN)
        finally:
            for process in processes:
                if process.pid is not None:
                    # Also after an exception: no process may outlive the launcher and keep its GPU.
                    process.kill()
                    process.join()
    if failed is not None and not errors.empty():
        raise UserError(errors.get())
    # After a signal, a failure belongs to the stop if any of the processes was ended by the signal.
    if received and (failed is None or any(each.exitcode in ENDED_BY_SIGNAL for each in processes)):
        raise Stopped(INTERRUPTED if signal.SIGINT in received else 0, is_reported=failed is None)
    if failed is None:
        return 0
    name, status = failed
    log.error("%s of %d ended with status %d; the others were ended", name, len(processes), status)
    return FAILED


@contextmanager
def _signals_forwarded(processes: Sequence[SpawnProcess]) -> Iterator[list[int]]:
    """Forward stop signals to processes as SIGTERM; yields the list of received signals, which grows."""
    received: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        # The second Ctrl-C: the exception ends the waiting, and the processes are killed.
        if number == signal.SIGINT and number in received:
            raise KeyboardInterrupt
        received.append(number)
        if number == signal.SIGINT:
            print_interrupt_notice()
        for process in processes:
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, signal.SIGTERM)

    before = {number: signal.signal(number, forward) for number in STOP_SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _wait_for_failure(processes: Sequence[SpawnProcess]) -> tuple[str, int] | None:
    """Wait for all processes, or for the first that fails: its name and exit code."""
    running = list(processes)
    while running:
        # A sentinel is ready when its process has ended, so this sleeps until the next one ends.
        ended = wait([process.sentinel for process in running])
        for process in [each for each in running if each.sentinel in ended]:
            running.remove(process)
            process.join()
            if process.exitcode:
                return process.name, process.exitcode
    return None


def _run_process(
    function: Callable[..., None], arguments: Sequence[Any], environment: dict[str, str], errors: Any
) -> None:
    """Run in a started process: call the function, and send the message of a UserError to the launcher."""
    # 1. The launcher handles Ctrl-C. The signals were blocked when this process was started.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    threading.Thread(target=end_with_parent, daemon=True).start()
    # 2. Only the first process logs more than warnings.
    os.environ.update(environment)
    import_inherited_plugins()
    prepare_terminal()
    log_to_terminal(logging.INFO if environment["RANK"] == "0" else logging.WARNING)
    # 3. Exit statuses tell the launcher whether this process was stopped in order, at once, or failed.
    try:
        function(*arguments)
    except UserError as fault:
        errors.put(str(fault))
        raise SystemExit(FAILED) from None
    except Stopped as stopped:
        raise SystemExit(0 if stopped.is_reported else STOPPED) from None


def end_with_parent() -> None:
    """End this process when the one that started it has ended, which may have been killed. For a thread."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    with suppress(OSError):
        parent.join()
    # `sys.exit` would end only this thread.
    os._exit(FAILED)
