"""The same work on many items in several processes, and a progress bar."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import TypeVar

from configs.errors import UserError
from configs.launch.signals import stop_by_parent_only, stop_signals_blocked
from configs.plugins import import_inherited_plugins

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_processes(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """The results of `work` for each item, in order, as they arrive; `workers` is the number of processes.

    1: in this process; 0: one for each core. `work` must be importable, because new processes are started.
    Raises UserError where one of them was killed.
    """
    # Without processes errors keep their traceback, and tests can replace functions.
    if workers == 1:
        yield from map(work, items)
        return
    # The cores that this process may use, which may be fewer than the machine has.
    count = workers or len(os.sched_getaffinity(0))
    # Processes are not forked: a fork of a process with threads (of OpenCV, torch) may hang.
    with ProcessPoolExecutor(count, get_context("spawn"), _begin) as processes:
        try:
            with stop_signals_blocked():  # the processes are started in here
                results = processes.map(work, items)
            yield from results
        except BrokenProcessPool:
            raise UserError(
                "workers=: a process was ended, as the system does where memory is short; give fewer"
            ) from None


def _begin() -> None:
    """Prepare a worker: import plugins, leave stop signals to the parent process, and end when it ends.

    Signals of a terminal go to all processes of a command; the parent decides what happens. Without the last
    part, a command that is killed would leave its workers waiting forever.
    """
    import_inherited_plugins()
    stop_by_parent_only()
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "called where one was started"
    parent.join()
    # `sys.exit` would only end this thread.
    os._exit(1)


def with_bar(results: Iterable[Result], label: str, total: int) -> Iterable[Result]:
    """The results as they arrive. On a terminal a progress bar shows how many of `total` there are."""
    from rich.progress import track

    from data_prep.console import make_console

    console = make_console(stderr=True)
    return track(results, label, total, console=console, disable=not console.is_terminal)
