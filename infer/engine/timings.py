"""The time of each part of a run, and its peak memory: where time and memory go.

| part | what | where |
|---|---|---|
| `decode` | reading and decoding frames | threads of readers |
| `grounder` | all answers of the grounder; it includes the four parts that a local grounder measures itself: `preprocess`, `vision`, `prefill`, `generate` | the main thread |
| `mask_head` | encoding frames, making and propagating masks | the main thread |
| `draw` | drawing and encoding overlays | threads of writers |
| `write` | encoding masks, writing results | threads of writers |
| `idle` | waiting for a frame, or for a full queue of writers | the main thread |
"""  # noqa: E501  # a table

import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

from models.interfaces import GroundingStatistics

# Parts that `summary.json` always has.
PARTS = ("decode", "grounder", "mask_head", "draw", "write", "idle")
Annotate = Callable[[str], AbstractContextManager[object]]


class Timings:
    """Seconds by part. Parts of several threads may be measured at once.

    Time is that of the wall clock. On a GPU, whose work is asynchronous, the part that waits for a result
    gets the time of the work before it, unless `synchronize` is given: it is called at the end of each part
    of the main thread, and waits for the device. `annotate` returns a context that marks a part in a trace.
    """

    def __init__(
        self, synchronize: Callable[[], None] | None = None, annotate: Annotate = nullcontext
    ) -> None:
        self.seconds: dict[str, float] = {}
        self._synchronize, self._annotate = synchronize, annotate
        self._lock = threading.Lock()
        self._main_thread = threading.get_ident()

    def add(self, part: str, seconds: float) -> None:
        """Add to the time of a part."""
        # Reading and adding are two operations, between which another thread may add to the same part.
        with self._lock:
            self.seconds[part] = self.seconds.get(part, 0.0) + seconds

    @contextmanager
    def around(self, name: str) -> Iterator[None]:
        """Mark the block in the trace, and wait for the device at its end, as far as either was asked for."""
        with self._annotate(name):
            yield
        if self._synchronize is not None and threading.get_ident() == self._main_thread:
            self._synchronize()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of the block to a part, also if it raises an exception."""
        start_time = time.perf_counter()
        try:
            with self.around(name):
                yield
        finally:
            self.add(name, time.perf_counter() - start_time)


def peak_host_bytes() -> int:
    """The largest amount of memory that this process has held so far, in bytes."""
    # Linux counts kilobytes, macOS bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@dataclass(frozen=True)
class WorkFigures:
    """What a run has computed, and at what cost.

    Attributes:
        questions: Questions that the grounder answered.
        second_looks: Those of them that were asked for a second look (`model.second_look`).
        questions_per_frame: Their number per frame, whatever the number of tracks; None without frames.
        draft_accepted: The share of draft tokens that were accepted; None without drafts.
        prompt_shared: The share of the questions' tokens that were not computed, because another question
            begins with them too; None without questions.
        seconds_by_part: See above. Parts of different threads overlap, so their sum may exceed the time of
            the run.
        peak_memory_bytes: The largest memory of the process (`host`), and of the GPU (`device`, None without
            one).
    """

    questions: int = 0
    second_looks: int = 0
    questions_per_frame: float | None = None
    draft_accepted: float | None = None
    prompt_shared: float | None = None
    seconds_by_part: dict[str, float] = field(default_factory=dict)
    peak_memory_bytes: dict[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """What one or several processes have computed in a run. Work can be added.

    The fields are those of `GroundingStatistics`, the seconds by part, and the peak memory of the process and
    of its GPU (None without one). Of several processes the largest peak counts.
    """

    num_frames: int = 0
    questions: int = 0
    second_looks: int = 0
    draft_tokens: int = 0
    accepted_draft_tokens: int = 0
    prompt_tokens: int = 0
    shared_tokens: int = 0
    ill_formed_answers: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    host_bytes: int = 0
    device_bytes: int | None = None

    @classmethod
    def of(
        cls, timings: Timings, statistics: GroundingStatistics, num_frames: int, device_bytes: int | None
    ) -> "Work":
        """The work of this process for `num_frames` frames. `device_bytes` is the peak memory of the GPU."""
        return cls(
            num_frames,
            statistics.questions,
            statistics.second_looks,
            statistics.draft_tokens,
            statistics.accepted_draft_tokens,
            statistics.prompt_tokens,
            statistics.shared_tokens,
            statistics.ill_formed_answers,
            {**timings.seconds, **statistics.seconds},
            peak_host_bytes(),
            device_bytes,
        )

    def __add__(self, other: "Work") -> "Work":
        parts = {*self.seconds, *other.seconds}
        device_bytes = [each for each in (self.device_bytes, other.device_bytes) if each is not None]
        return Work(
            self.num_frames + other.num_frames,
            self.questions + other.questions,
            self.second_looks + other.second_looks,
            self.draft_tokens + other.draft_tokens,
            self.accepted_draft_tokens + other.accepted_draft_tokens,
            self.prompt_tokens + other.prompt_tokens,
            self.shared_tokens + other.shared_tokens,
            self.ill_formed_answers + other.ill_formed_answers,
            {part: self.seconds.get(part, 0.0) + other.seconds.get(part, 0.0) for part in parts},
            max(self.host_bytes, other.host_bytes),
            max(device_bytes, default=None),
        )

    def figures(self) -> WorkFigures:
        """The figures for `summary.json`."""
        offered, accepted = self.draft_tokens, self.accepted_draft_tokens
        all_tokens = self.prompt_tokens + self.shared_tokens
        return WorkFigures(
            self.questions,
            self.second_looks,
            round(self.questions / self.num_frames, 3) if self.num_frames else None,
            round(accepted / offered, 4) if offered else None,
            round(self.shared_tokens / all_tokens, 4) if all_tokens else None,
            {part: round(self.seconds.get(part, 0.0), 3) for part in sorted({*PARTS, *self.seconds})},
            {"host": self.host_bytes, "device": self.device_bytes},
        )
