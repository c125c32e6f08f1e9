"""The coordinator of several processes, with simulated workers and a virtual clock."""

import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from statistics import NormalDist
from types import TracebackType
from typing import Self

import pytest

from configs.errors import UserError
from infer.engine.timings import Work
from infer.launch.coordinator import Coordinator, FindWritten
from infer.launch.protocol import (
    Advanced,
    Command,
    Died,
    Ended,
    Event,
    Finished,
    Noted,
    Opened,
    Refused,
    Returned,
    Stop,
)
from infer.runs.summary import TrackOutcome
from infer.runs.tasks import SequenceTask, Track

FINGERPRINT = {"tracker": "referral"}
# Frames of the 2,000 videos of TNL2K, as its paper gives them (Wang et al., CVPR 2021): mean, least, most.
# The lengths themselves are not in it. This log-normal distribution has the mean and, of 2,000, the most.
NUM_VIDEOS, MEAN, LEAST, MOST, SIGMA = 2000, 622, 21, 18_488, 1.21


class SimulatedWorkers:
    """Workers that track one track-frame a second, times the factor that `slowness` gives for a task.

    `dies` says whether a worker dies in the middle of a task, by the number of the worker and the task. The
    work of a worker is one question for each task that it has finished since its start.
    """

    def __init__(
        self,
        slowness: Callable[[SequenceTask], float] = lambda _: 1.0,
        dies: Callable[[int, SequenceTask], bool] = lambda *_: False,
        lanes: int = 1,
    ) -> None:
        self.now, self.busy_seconds = 0.0, 0.0
        self.sent: list[tuple[int, Command]] = []
        self.handed_over: list[Event] = []
        self.outcomes = lambda track: written(track.task, track.task.expressions)
        self.opened: list[Event] = []  # instead of `Opened`, for each start
        self._slowness, self._dies, self._lanes = slowness, dies, lanes
        self._events: list[tuple[float, int, int, Event]] = []
        self._free_at: dict[int, float] = {}
        self._num_finished: dict[int, int] = {}  # by worker
        self._order = itertools.count()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def add(self, worker: int, event: Event, after: float = 0.0) -> None:
        heapq.heappush(self._events, (self.now + after, next(self._order), worker, event))

    def start(self, worker: int) -> None:
        self._num_finished[worker] = 0
        self.add(worker, self.opened.pop(0) if self.opened else Opened(FINGERPRINT, self._lanes))

    def send(self, worker: int, command: Command) -> None:
        self.sent.append((worker, command))
        if isinstance(command, Stop):
            self.add(worker, Ended(self.work_of(worker)))
            return
        task = command.task
        seconds = task.track_frames * self._slowness(task)
        begins = max(self.now, self._free_at.get(worker, 0.0))
        if self._dies(worker, task):
            self.add(worker, Advanced(task.number, task.track_frames // 2), begins - self.now)
            self.add(worker, Died("was ended by SIGKILL"), begins - self.now + seconds / 2)
            self._free_at[worker] = begins + seconds / 2
            return
        self._free_at[worker] = begins + seconds
        self.busy_seconds += seconds
        self.add(worker, Advanced(task.number, task.track_frames), begins - self.now + seconds)
        self._num_finished[worker] += 1
        event = Finished(task.number, task.sequence, tuple(self.outcomes(command)), work=self.work_of(worker))
        self.add(worker, event, begins - self.now + seconds)

    def work_of(self, worker: int) -> Work:
        return Work(questions=self._num_finished[worker])

    def wait(self) -> list[tuple[int, Event]]:
        self.now, _, worker, event = heapq.heappop(self._events)
        self.handed_over.append(event)
        return [(worker, event)]

    def log_path(self, worker: int) -> str:
        return f"out/logs/worker-{worker}.log"

    def tracked_by(self, worker: int) -> list[Track]:
        return [command for each, command in self.sent if each == worker and isinstance(command, Track)]


class CountedProgress:
    """Progress as numbers. At the end of a run `done` must equal `total`."""

    def __init__(self, tasks: list[SequenceTask]) -> None:
        self.total, self.done = sum(task.track_frames for task in tasks), 0
        self.open: list[str] = []

    def sequence(self, name: str, num_tracks: int) -> None:
        self.open.append(name)

    def finished(self, name: str) -> None:
        self.open.remove(name)

    def postponed(self, name: str, track_frames: int) -> None:
        self.open.remove(name)
        self.done -= track_frames

    def advance(self, name: str, track_frames: int) -> None:
        assert name in self.open
        self.done += track_frames

    def skip(self, track_frames: int) -> None:
        self.total -= track_frames

    def waiting(self, name: str) -> None:
        pass


def task_of(number: int, num_frames: int, *expressions: str) -> SequenceTask:
    return SequenceTask(number, f"video-{number}", num_frames, expressions or ("the ball",))


def written(task: SequenceTask, expressions: Sequence[str], kept: bool = False) -> list[TrackOutcome]:
    return [
        TrackOutcome.of_success(task.sequence, each, task.num_frames, 0, kept=kept) for each in expressions
    ]


def run(
    workers: SimulatedWorkers,
    num_workers: int,
    tasks: list[SequenceTask],
    find_written: FindWritten = lambda _: (),
) -> list[Finished]:
    """Run the coordinator to its end. Every task must end once, and the progress must add up.

    No work may be lost but that of a task in which a worker died.
    """
    coordinator, progress = Coordinator(workers, num_workers, attempts=3), CountedProgress(tasks)
    assert coordinator.open() == FINGERPRINT
    ended = list(coordinator.run(tasks, progress, find_written))
    num_finished = sum(isinstance(event, Finished) for event in workers.handed_over)
    assert coordinator.finish().questions == num_finished
    assert sorted(each.number for each in ended) == [task.number for task in tasks]
    assert progress.open == [] and progress.done == progress.total
    return ended


def tnl2k_lengths() -> list[int]:
    """Lengths with the distribution of TNL2K, in a fixed random order."""
    normal = NormalDist()
    shares = [(index + 0.5) / NUM_VIDEOS for index in range(NUM_VIDEOS)]
    raw = [2.718281828 ** (SIGMA * normal.inv_cdf(share)) for share in shares]
    scale = MEAN * NUM_VIDEOS / sum(raw)
    lengths = [min(max(round(scale * each), LEAST), MOST) for each in raw]
    random.Random(0).shuffle(lengths)
    return lengths


def test_64_workers_are_busy_for_95_percent_of_a_run_over_tnl2k() -> None:
    lengths = tnl2k_lengths()
    assert abs(sum(lengths) / NUM_VIDEOS - MEAN) < 10 and 15_000 < max(lengths) <= MOST
    # The speed differs from video to video by up to 10 %, which the coordinator does not know.
    chance = random.Random(1)
    slowness = [chance.uniform(0.9, 1.1) for _ in lengths]
    workers = SimulatedWorkers(slowness=lambda task: slowness[task.number])
    run(workers, 64, [task_of(*each) for each in enumerate(lengths)])
    efficiency = workers.busy_seconds / (64 * workers.now)
    # Every 64th video to the same worker, as evaluation scripts do.
    seconds = [length * slow for length, slow in zip(lengths, slowness, strict=True)]
    of_every_nth = sum(seconds) / (64 * max(sum(seconds[worker::64]) for worker in range(64)))
    assert efficiency >= 0.95 and of_every_nth < 0.8, (efficiency, of_every_nth)


def test_the_longest_sequences_come_first_and_are_spread_over_workers() -> None:
    workers = SimulatedWorkers(lanes=4)
    run(workers, 2, [task_of(*each) for each in enumerate([10, 40, 30, 20])])
    assert [track.task.number for track in workers.tracked_by(0)] == [1, 2]
    assert [track.task.number for track in workers.tracked_by(1)] == [3, 0]


def test_sequences_of_a_dead_worker_are_tracked_by_another_process() -> None:
    deaths = iter([True])
    workers = SimulatedWorkers(dies=lambda worker, task: task.number == 3 and next(deaths, False))
    ended = run(workers, 2, [task_of(number, 100) for number in range(6)])
    assert all(outcome.failure is None for each in ended for outcome in each.outcomes)
    # What may have been the cause of the death is tracked with nothing beside it.
    assert [command.alone for _, command in workers.sent if isinstance(command, Track)].count(True) == 1


def test_a_sequence_that_ends_every_process_fails_alone_and_names_the_log() -> None:
    workers = SimulatedWorkers(dies=lambda worker, task: task.number == 2, lanes=3)
    ended = run(workers, 2, [task_of(number, 100) for number in range(6)])
    failures = {
        each.sequence: outcome.failure for each in ended for outcome in each.outcomes if outcome.failure
    }
    (reason,) = failures.values()
    assert list(failures) == ["video-2"] and reason is not None
    assert "ended 3 times" in reason and "by SIGKILL" in reason and "out/logs/worker-" in reason


def test_tracks_that_a_dead_worker_has_written_are_those_of_this_run() -> None:
    task, deaths = task_of(0, 100, "the ball", "the cup"), iter([True])
    workers = SimulatedWorkers(dies=lambda worker, _: next(deaths, False))
    # All tracks were written: the task is not tracked again.
    (ended,) = run(workers, 1, [task], lambda task: written(task, task.expressions))
    assert ended.outcomes == tuple(written(task, task.expressions))
    assert len(workers.tracked_by(0)) == 1
    # One of them was written. The second worker finds it, and takes it for that of another run.
    deaths = iter([True])
    workers = SimulatedWorkers(dies=lambda worker, _: next(deaths, False))
    workers.outcomes = lambda _: [*written(task, ["the ball"], kept=True), *written(task, ["the cup"])]
    (ended,) = run(workers, 1, [task], lambda task: written(task, ["the ball"]))
    assert ended.outcomes == tuple(written(task, task.expressions))


def test_of_a_sequence_that_ends_every_process_the_written_tracks_do_not_fail() -> None:
    task = task_of(0, 100, "the ball", "the cup")
    workers = SimulatedWorkers(dies=lambda *_: True)
    (ended,) = run(workers, 1, [task], lambda task: written(task, ["the ball"]))
    assert ended.outcomes[0] == written(task, ["the ball"])[0]
    assert "ended 3 times" in (ended.outcomes[1].failure or "") and len(workers.tracked_by(0)) == 3


def test_returned_sequences_come_last_and_alone() -> None:
    workers = SimulatedWorkers()
    first_send, returned = workers.send, []

    def send(worker: int, command: Command) -> None:
        # Another run tracks the longest one.
        if isinstance(command, Track) and command.task.number == 0 and not returned:
            returned.append(command)
            workers.sent.append((worker, command))
            workers.add(worker, Returned(0))
        else:
            first_send(worker, command)

    workers.send = send  # type: ignore[method-assign]
    run(workers, 1, [task_of(0, 50), task_of(1, 40), task_of(2, 30)])
    assert [(track.task.number, track.alone) for track in workers.tracked_by(0)] == [
        (0, False),
        (1, False),
        (2, False),
        (0, True),
    ]


def test_workers_that_would_make_other_results_are_refused() -> None:
    workers = SimulatedWorkers()
    workers.opened = [Opened(FINGERPRINT, 1), Opened({"tracker": "per_frame"}, 1)]
    with pytest.raises(UserError, match=r"process 1 would make other results .*\(other tracker\)"):
        run(workers, 2, [task_of(0, 10), task_of(1, 10), task_of(2, 10)])


def test_a_mistake_of_the_user_ends_the_run_with_its_message() -> None:
    workers = SimulatedWorkers()
    workers.opened = [Refused("model/: no such folder")]
    with pytest.raises(UserError, match=r"^model/: no such folder$"):
        run(workers, 2, [])


def test_processes_that_die_while_they_load_are_started_only_so_often() -> None:
    workers = SimulatedWorkers()
    workers.opened = [Died("ended with status 1")] * 3
    with pytest.raises(UserError, match=r"ended with status 1 before .* 3 times; see out/logs/worker-0.log"):
        run(workers, 1, [task_of(0, 10)])


def test_warnings_reach_the_user_up_to_the_end() -> None:
    notes: list[tuple[str, bool]] = []
    workers = SimulatedWorkers()
    workers.add(0, Noted("no calibration", now=True))
    coordinator = Coordinator(workers, 1, note=lambda text, now: notes.append((text, now)))
    coordinator.open()
    workers.add(0, Noted("a small target"))
    coordinator.finish()
    assert notes == [("no calibration", True), ("a small target", False)]
