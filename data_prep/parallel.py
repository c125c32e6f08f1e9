"""The same work on many items, in several processes."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_processes(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """What `work` gives for each item, in order, as it comes; `workers` is the number of processes.

    1: in this process; 0: one a core. `work` must be importable, since the processes are started afresh.
    """
    if workers == 1:
        yield from map(work, items)
        return
    count = workers or len(os.sched_getaffinity(0))
    # Not forks: one of a process in which threads live (OpenCV's, torch's) may hang.
    with ProcessPoolExecutor(count, get_context("spawn")) as processes:
        yield from processes.map(work, items)
