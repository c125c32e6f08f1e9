"""What is caught of an exception, and what is said of it."""

import gc
import weakref

import numpy as np
import pytest

from configs.errors import UserError
from infer.engine.failures import FailureBoundary
from models.devices import is_out_of_memory


def test_a_failed_block_gives_its_reason_and_a_good_one_none() -> None:
    with FailureBoundary() as boundary:
        raise UserError("clip.mp4: no such video; check video=")
    assert boundary.reason == "clip.mp4: no such video; check video="
    with FailureBoundary() as boundary:
        int("one")
    assert boundary.reason is not None
    assert (
        boundary.reason.startswith("ValueError: invalid literal")
        and "(at tests/test_failures.py:" in boundary.reason
    )
    with FailureBoundary() as boundary:
        pass
    assert boundary.reason is None


@pytest.mark.parametrize("fault", [KeyboardInterrupt, SystemExit])
def test_signals_pass_through(fault: type[BaseException]) -> None:
    with pytest.raises(fault), FailureBoundary():
        raise fault


def test_what_a_failed_block_held_is_free_afterwards() -> None:
    """Its traceback holds the tensors of a sequence that did not fit into memory."""
    held: list[weakref.ref] = []

    def fail() -> None:
        large = np.zeros(8)
        held.append(weakref.ref(large))
        raise MemoryError

    with FailureBoundary() as boundary:
        fail()
    gc.collect()
    assert (
        held[0]() is None and boundary.reason is not None and boundary.reason.startswith("out of memory at")
    )


def test_libraries_say_that_memory_is_short_in_their_own_ways() -> None:
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"))
    assert not is_out_of_memory(RuntimeError("shapes do not match")) and not is_out_of_memory(
        OSError("out of memory")
    )
