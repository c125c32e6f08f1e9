"""The same work on many items in several processes."""

import os
import threading

import pytest

from data_prep.parallel import in_processes


def squared(number: int) -> tuple[int, int]:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number * number, os.getpid()


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    threading.Thread(target=int).start()  # such as torch's and OpenCV's
    results = list(in_processes(squared, range(12), workers))
    assert [result for result, _ in results] == [number * number for number in range(12)]
    here = {process == os.getpid() for _, process in results}
    assert workers == 0 or here == {workers == 1}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_fault_in_a_process_is_raised_here(workers: int) -> None:
    results = in_processes(squared, [2, -3, 4], workers)
    assert next(results)[0] == 4
    with pytest.raises(ValueError, match="-3 is negative"):
        list(results)
