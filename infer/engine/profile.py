"""`profile=true`: a trace of a few rounds of the scheduler, and exact times of parts.

The trace is in the format of Chrome, which https://ui.perfetto.dev opens. It shows the operations of torch,
on a GPU also its kernels, and the parts of `infer.engine.timings`. A trace of a whole run would not fit into
the memory of a browser, so `TRACED_ROUNDS` rounds are recorded, after the first ones, in which caches fill.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from data_prep.files import whole_file
from infer.engine.timings import Timings

SKIPPED_ROUNDS, TRACED_ROUNDS = 3, 4


def profiling_timings(device_type: str) -> Timings:
    """Timings that wait for a GPU at the end of each part, and mark the parts in the trace."""
    return Timings(torch.cuda.synchronize if device_type == "cuda" else None, record_function)


@contextmanager
def profiled(path: Path, device_type: str) -> Iterator[Callable[[], None]]:
    """Record a trace, and write it to `path`. Yields the function that must be called after each round.

    A run of fewer than `SKIPPED_ROUNDS` rounds leaves no file.
    """
    activities = [ProfilerActivity.CPU]
    if device_type == "cuda":
        activities.append(ProfilerActivity.CUDA)

    def write(profiler: profile) -> None:
        with whole_file(path) as temporary:
            profiler.export_chrome_trace(str(temporary))

    # One of the skipped rounds is the warm-up of the profiler itself.
    plan = schedule(wait=SKIPPED_ROUNDS - 1, warmup=1, active=TRACED_ROUNDS, repeat=1)
    with profile(activities=activities, schedule=plan, on_trace_ready=write) as profiler:
        yield profiler.step
