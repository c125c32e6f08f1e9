"""Time by part for both sides of `python -m benchmarks inference`."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from data_prep.contract.contract import Contract
from data_prep.geometry import Box
from models.interfaces import (
    Answer,
    FrameFeatures,
    Grounding,
    GroundingStatistics,
    Identity,
    Masking,
    MaskResult,
    Question,
    TargetMemory,
)

PARTS = ("read", "preprocess", "vision", "prefill", "decode", "mask head", "other")


class PartClock:
    """Adds up the time of each part. Time counts for the innermost part that is open, else for `other`.

    `passes` counts the forward passes of the parts of the grounder. Only the thread that has made the clock
    is timed: what other threads do beside it takes no time of it.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.passes: Counter[str] = Counter()
        self._open = ["other"]
        self._since = now()
        self._thread = threading.get_ident()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A context whose time counts for a part."""
        if threading.get_ident() != self._thread:
            yield
            return
        self.enter(name)
        try:
            yield
        finally:
            self.leave()

    def enter(self, name: str) -> None:
        """Open a part inside of the present one."""
        self._count()
        self._open.append(name)

    def leave(self) -> None:
        """Close the innermost part."""
        self._count()
        self._open.pop()

    def become(self, name: str) -> None:
        """From now on the time of the innermost part counts for another one."""
        self._count()
        self._open[-1] = name

    def reset(self) -> None:
        """Set all numbers to zero."""
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.passes.clear()
        self.restart()

    def restart(self) -> None:
        """Do not count the time since the last change of parts."""
        self._since = self.now()

    def stop(self) -> None:
        """Count the time up to now."""
        self._count()

    def _count(self) -> None:
        now = self.now()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def reading(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The frames; the time that it takes to read them counts for `read`."""
        iterator = iter(frames)
        while True:
            with self.part("read"):
                frame = next(iterator, None)
            if frame is None:
                return
            yield frame


@contextmanager
def timed_model(model: Any, clock: PartClock) -> Iterator[None]:
    """A context in which the parts of a Qwen-VL model are timed, by forward hooks of torch.

    Forward passes over questions are `prefill`: those without keys and values in the cache, and those over
    the rest of questions behind a prefix. Others are `decode`. What follows a prefill, such as the choice of
    tokens, counts for `decode` too.
    """

    def enter_vision(*_: Any) -> None:
        clock.passes["vision"] += 1
        clock.enter("vision")

    def leave(*_: Any) -> None:
        clock.leave()

    def enter_text(_: Any, __: Any, values: dict[str, Any]) -> None:
        cache = values.get("past_key_values")
        is_first = cache is None or not cache.get_seq_length()
        # Of later passes, only those over the rest of questions name the logits that they need of several
        # tokens.
        is_rest = "logits_to_keep" in values and values["input_ids"].shape[1] > 1
        part = "prefill" if is_first or is_rest else "decode"
        clock.passes[part] += 1
        clock.become("decode")
        clock.enter(part)

    handles = [
        model.model.visual.register_forward_pre_hook(enter_vision),
        model.model.visual.register_forward_hook(leave),
        model.register_forward_pre_hook(enter_text, with_kwargs=True),
        model.register_forward_hook(leave),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class TimedGrounding:
    """A grounder whose answers are kept, and whose work counts for the parts of a clock.

    Implements `models.interfaces.Grounding`. `answers` holds each question's expression with its answer, in
    order.
    """

    def __init__(self, grounding: Grounding, clock: PartClock) -> None:
        self.grounding, self.clock = grounding, clock
        self.answers: list[tuple[str, Answer]] = []

    @property
    def statistics(self) -> GroundingStatistics:
        """Those of the grounder."""
        return self.grounding.statistics

    @property
    def contract(self) -> Contract:
        """That of the grounder."""
        return self.grounding.contract

    def check_expression(self, expression: str) -> None:
        """See `Grounding`."""
        self.grounding.check_expression(expression)

    def locate(self, questions: Sequence[Question]) -> Sequence[Answer]:
        """See `Grounding`. What precedes the first forward pass is `preprocess`."""
        with self.clock.part("preprocess"):
            answers = self.grounding.locate(questions)
        self.answers += [(each.expression, answer) for each, answer in zip(questions, answers, strict=True)]
        return answers

    def identity(self) -> Identity:
        """See `Grounding`."""
        return self.grounding.identity()


class TimedMasking:
    """A mask head whose work counts for `mask head`. Implements `models.interfaces.Masking`."""

    def __init__(self, masking: Masking, clock: PartClock) -> None:
        self.masking, self.clock = masking, clock

    def encode(self, frame: np.ndarray) -> FrameFeatures:
        """See `Masking`."""
        with self.clock.part("mask head"):
            return self.masking.encode(frame)

    def segment(
        self, features: FrameFeatures, boxes_xyxy: Sequence[Box], memories: Sequence[TargetMemory | None]
    ) -> list[MaskResult]:
        """See `Masking`."""
        with self.clock.part("mask head"):
            return self.masking.segment(features, boxes_xyxy, memories)

    def propagate(self, memories: Sequence[TargetMemory], features: FrameFeatures) -> list[MaskResult]:
        """See `Masking`."""
        with self.clock.part("mask head"):
            return self.masking.propagate(memories, features)

    def identity(self) -> Identity:
        """See `Masking`."""
        return self.masking.identity()


def synchronized(device: torch.device, now: Callable[[], float]) -> Callable[[], float]:
    """A clock that first waits for a GPU, whose calls return before their work is done."""
    if device.type != "cuda":
        return now

    def wait_and_read() -> float:
        torch.cuda.synchronize(device)
        return now()

    return wait_and_read
