"""The scheduler: the order of requests, batches over lanes, failures of one lane, and work in threads."""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import pytest

from configs.errors import UserError
from data_prep.contract.contract import BUILT_IN
from data_prep.geometry import Box
from infer.engine.background import OrderedWorker, read_ahead
from infer.engine.engine import Engine, Step
from infer.engine.failures import FailureBoundary
from infer.engine.scheduler import Scheduler
from infer.engine.timings import Timings
from infer.trackers.referral import ReferralConfig, referral_tracker
from infer.trackers.requests import Locate, Propagate, Report, Segment, StartTrack, State, Track
from models.interfaces import Answer, FrameFeatures, MaskResult, Question, TargetMemory
from tests.scripted import ScriptedGrounding, ScriptedMasking, frame

BOXES: dict[str, Box] = {"red": (4, 4, 20, 20), "blue": (30, 10, 50, 30)}


class _Job:
    """A job over plain frames, with one track of the referral tracker per expression."""

    def __init__(self, name: str, expressions: Sequence[str], frames: Iterable[np.ndarray]) -> None:
        self.name, self.expressions, self.frames = name, expressions, frames
        self.steps: list[Step] = []
        self.ended: list[str | None] = []  # why the sequence failed, or None

    def open(self) -> tuple[Iterable[np.ndarray], Sequence[StartTrack]]:
        tracker = referral_tracker(ReferralConfig(verify_interval=3), BUILT_IN["short"])
        return self.frames, [partial(tracker, expression) for expression in self.expressions]

    def add(self, step: Step) -> None:
        self.steps.append(step)

    def finish(self, failure: FailureBoundary | None) -> None:
        self.ended.append(None if failure is None else failure.reason)

    @property
    def results(self) -> list[tuple[State, bytes]]:
        """What all tracks reported, in values that can be compared."""
        return [
            (report.state, b"" if report.mask is None else report.mask.tobytes())
            for step in self.steps
            for report in step.reports
        ]


def frames_of(count: int, first: int = 0) -> list[np.ndarray]:
    return [frame(first + number) for number in range(count)]


def jobs_of_three() -> list[_Job]:
    return [
        _Job("short", ["red"], frames_of(3)),
        _Job("long", ["red", "blue"], frames_of(9, 50)),
        _Job("other", ["green", "blue"], frames_of(5, 100)),
    ]


def run(
    jobs: Sequence[_Job],
    lanes: int,
    deterministic: bool,
    grounding: ScriptedGrounding | None = None,
    masking: ScriptedMasking | None = None,
) -> Scheduler:
    engine = Engine(grounding or ScriptedGrounding(BOXES), masking or ScriptedMasking())
    scheduler = Scheduler(engine, lanes, deterministic)
    left = iter(jobs)
    scheduler.run(lambda is_idle: next(left, None))
    return scheduler


# ---- the order of requests ------------------------------------------------------------------------------


def test_masks_come_before_questions_so_that_a_frame_makes_one_batch() -> None:
    def asks_at_once(image: np.ndarray) -> Track:
        while True:
            yield Locate("red")
            yield Report(State.SEARCH)

    def asks_after_its_mask(image: np.ndarray) -> Track:
        result: MaskResult = yield Segment((4, 4, 20, 20))
        while True:
            yield Report(State.TRACK, result.mask)
            result = yield Propagate(result.memory)
            yield Locate("blue")

    grounding = ScriptedGrounding(BOXES)
    engine = Engine(grounding, ScriptedMasking())
    assert len(list(engine.run(frames_of(4), [asks_at_once, asks_after_its_mask]))) == 4
    assert grounding.batches == [1, 2, 2, 2]


def test_mask_requests_of_a_moment_are_one_call() -> None:
    class Counting(ScriptedMasking):
        def __init__(self) -> None:
            super().__init__()
            self.calls: list[int] = []

        def propagate(self, memories: Sequence[TargetMemory], features: FrameFeatures) -> list[MaskResult]:
            self.calls.append(len(memories))
            return super().propagate(memories, features)

    masking = Counting()
    run([_Job("both", ["red", "blue"], frames_of(4))], 1, True, masking=masking)
    assert masking.calls == [2, 2, 2]


# ---- lanes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lanes", "deterministic"), [(1, True), (2, False), (3, True), (3, False)])
def test_results_do_not_depend_on_the_number_of_lanes(lanes: int, deterministic: bool) -> None:
    alone = jobs_of_three()
    for job in alone:
        run([job], 1, True)
    together = jobs_of_three()
    scheduler = run(together, lanes, deterministic)
    assert [job.results for job in together] == [job.results for job in alone]
    assert all(job.ended == [None] for job in together) and not scheduler.warnings
    assert scheduler.num_frames == 3 + 9 + 5


def test_questions_of_several_lanes_are_one_batch_unless_batches_stay_within_a_sequence() -> None:
    joint, separate = ScriptedGrounding(BOXES), ScriptedGrounding(BOXES)
    run(jobs_of_three(), 3, False, joint)
    run(jobs_of_three(), 3, True, separate)
    assert joint.batches[0] == 1 + 2 + 2 and separate.batches[:3] == [1, 2, 2]
    assert sum(joint.batches) == sum(separate.batches) and len(joint.batches) < len(separate.batches)


def test_a_free_lane_takes_the_next_sequence_while_others_run() -> None:
    running: list[str] = []
    at_once: list[int] = []

    class Watched(_Job):
        def open(self) -> tuple[Iterable[np.ndarray], Sequence[StartTrack]]:
            running.append(self.name)
            at_once.append(len(running))
            return super().open()

        def finish(self, failure: FailureBoundary | None) -> None:
            running.remove(self.name)
            super().finish(failure)

    jobs = [Watched(str(count), ["red"], frames_of(count)) for count in (9, 2, 2, 2)]
    run(jobs, 2, False)
    assert at_once == [1, 2, 2, 2] and all(job.ended == [None] for job in jobs)


class _FaultyMasking(ScriptedMasking):
    """Runs out of memory at frames of one brightness."""

    def encode(self, frame: np.ndarray) -> FrameFeatures:
        if frame[0, 0, 0] == 52:
            raise MemoryError
        return super().encode(frame)


class _FaultyGrounding(ScriptedGrounding):
    """Cannot answer about one expression."""

    def locate(self, questions: Sequence[Question]) -> list[Answer]:
        if any(question.expression == "green" for question in questions):
            raise RuntimeError("no answer to green")
        return super().locate(questions)


def _faulty_frames(count: int) -> Iterator[np.ndarray]:
    yield from frames_of(count)
    raise UserError("frame 3 is damaged")


def test_a_fault_in_a_lane_ends_this_lane_alone() -> None:
    alone = jobs_of_three()
    for job in alone:
        run([job], 1, True)
    # In its own features.
    jobs = jobs_of_three()
    run(jobs, 3, False, masking=_FaultyMasking())
    assert [job.ended == [None] for job in jobs] == [True, False, True]
    assert jobs[1].ended[0] is not None and "out of memory" in jobs[1].ended[0]
    assert [job.results for job in jobs[::2]] == [job.results for job in alone[::2]]
    # In its frames.
    jobs = jobs_of_three()
    jobs[0].frames = _faulty_frames(2)
    run(jobs, 3, False)
    assert [job.ended for job in jobs] == [["frame 3 is damaged"], [None], [None]]
    assert [job.results for job in jobs[1:]] == [job.results for job in alone[1:]]


def test_of_a_batch_that_fails_only_the_guilty_lane_ends() -> None:
    alone = jobs_of_three()
    for job in alone:
        run([job], 1, True)
    jobs = jobs_of_three()
    scheduler = run(jobs, 3, False, _FaultyGrounding(BOXES))
    assert [job.ended == [None] for job in jobs] == [True, True, False]
    assert jobs[2].ended[0] is not None and "no answer to green" in jobs[2].ended[0]
    assert [job.results for job in jobs[:2]] == [job.results for job in alone[:2]]
    assert not scheduler.warnings


def test_where_only_joint_batches_fail_each_lane_asks_by_itself_from_then_on() -> None:
    class FailsTogether(ScriptedGrounding):
        failures = 0

        def locate(self, questions: Sequence[Question]) -> list[Answer]:
            if len(questions) > 2:
                self.failures += 1
                raise RuntimeError("too many")
            return super().locate(questions)

    jobs, grounding = jobs_of_three(), FailsTogether(BOXES)
    scheduler = run(jobs, 3, False, grounding)
    assert all(job.ended == [None] for job in jobs) and grounding.failures == 1
    assert len(scheduler.warnings) == 1 and "too many" in scheduler.warnings[0]


def test_an_interrupt_ends_all_lanes_and_closes_their_frames() -> None:
    closed: list[str] = []

    def watched(name: str) -> Iterator[np.ndarray]:
        try:
            yield from frames_of(9)
        finally:
            closed.append(name)

    class Interrupting(ScriptedMasking):
        def propagate(self, memories: Sequence[TargetMemory], features: FrameFeatures) -> list[MaskResult]:
            raise KeyboardInterrupt

    jobs = [_Job(name, ["red"], watched(name)) for name in "ab"]
    with pytest.raises(KeyboardInterrupt):
        run(jobs, 2, False, masking=Interrupting())
    assert closed == ["a", "b"] and all(job.ended == [] for job in jobs)


# ---- background threads ---------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_frames_are_read_ahead_in_order_up_to_a_limit(depth: int) -> None:
    decoded: list[int] = []

    def source() -> Iterator[int]:
        for number in range(20):
            decoded.append(number)
            yield number

    timings = Timings()
    frames = read_ahead(source(), depth, timings)
    taken = [next(frames) for _ in range(5)]
    deadline = time.monotonic() + 5
    while len(decoded) < 5 + depth and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.01)
    assert len(decoded) == 5 + depth  # memory is bounded
    assert [*taken, *frames] == list(range(20)) and timings.seconds["decode"] > 0


def test_a_damaged_frame_is_reported_at_its_place_and_closing_ends_the_thread() -> None:
    frames = read_ahead(_faulty_frames(2), 3, Timings())
    assert len([next(frames), next(frames)]) == 2
    with pytest.raises(UserError, match="frame 3 is damaged"):
        next(frames)
    before = threading.active_count()
    frames = read_ahead(iter(range(100)), 3, Timings())
    next(frames)
    assert threading.active_count() == before + 1
    frames.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("depth", [0, 2])
def test_work_behind_is_done_in_order_and_nothing_follows_a_failure(depth: int) -> None:
    worker, done = OrderedWorker(depth, Timings()), []

    def fail() -> None:
        raise UserError("the disk is full")

    for number in range(10):
        worker.submit(partial(done.append, number))
    worker.wait()
    assert done == list(range(10))
    with pytest.raises(UserError, match="the disk is full"):
        worker.submit(fail)
        worker.submit(partial(done.append, 10))
        worker.wait()
    worker.close()
    assert depth == 0 or done == list(range(10))


def test_work_behind_is_bounded() -> None:
    gate, started = threading.Event(), []
    worker = OrderedWorker(2, Timings())

    def wait_at_gate() -> None:
        started.append(0)
        gate.wait(5)

    def submit_all() -> None:
        for _ in range(5):
            worker.submit(wait_at_gate)

    producer = threading.Thread(target=submit_all)
    producer.start()
    time.sleep(0.05)
    assert producer.is_alive() and len(started) == 1  # it waits, so memory is bounded
    gate.set()
    producer.join(5)
    worker.wait()
    worker.close()
    assert len(started) == 5
