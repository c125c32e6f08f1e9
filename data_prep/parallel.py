"""The same work on many items, in several processes, and a bar that shows how far it is."""

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
    """What `work` gives for each item, in order, as it comes; `workers` is the number of processes.

    1: in this process; 0: one a core. `work` must be importable, since the processes are started afresh.
    Raises UserError where one of them was killed.
    """
    if workers == 1:
        yield from map(work, items)
        return
    count = workers or len(os.sched_getaffinity(0))
    # Not forks: one of a process in which threads live (OpenCV's, torch's) may hang.
    with ProcessPoolExecutor(count, get_context("spawn"), _begin) as processes:
        try:
            with stop_signals_blocked():  # here the processes are started
                results = processes.map(work, items)
            yield from results
        except BrokenProcessPool:
            raise UserError(
                "workers=: a process was ended, as the system does where memory is short; give fewer"
            ) from None


def _begin() -> None:
    """Leave signals, which go to all processes of a command, to the one that started this; end with that one.

    Else a command that is killed (not stopped) would leave its processes waiting for ever.
    """
    import_inherited_plugins()
    stop_by_parent_only()
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "called where one was started"
    parent.join()
    os._exit(1)


def with_bar(results: Iterable[Result], label: str, total: int) -> Iterable[Result]:
    """The results as they come; a terminal, and nothing else, is shown how many of `total` there are."""
    from rich.progress import track

    from data_prep.console import make_console

    console = make_console(stderr=True)
    return track(results, label, total, console=console, disable=not console.is_terminal)
