"""The coordinator: hands the sequences of a run to workers, and gives those of dead workers to others.

It knows neither models nor how workers are started, so local processes and Ray share this code, and a test
runs it with simulated workers and a virtual clock.

Sequences are handed out one at a time, the longest first, to whichever worker is free. In the end the workers
then wait for at most one short sequence (the rule of longest processing time; R. L. Graham, "Bounds on
Multiprocessing Timing Anomalies", 1969: at most 4/3 of the shortest possible time).
"""

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from configs.errors import UserError
from configs.terminal import counted
from infer.engine.timings import Work
from infer.launch.protocol import (
    Advanced,
    Died,
    Ended,
    Event,
    Finished,
    Noted,
    Opened,
    Refused,
    Returned,
    Stop,
    Waiting,
    Workers,
)
from infer.runs.fingerprint import differing_keys
from infer.runs.progress import TrackingProgress
from infer.runs.summary import TrackOutcome
from infer.runs.tasks import SequenceTask, Track

FindWritten = Callable[[SequenceTask], Iterable[TrackOutcome]]
"""The outcomes of those tracks of a task that have a complete result on the disk."""


@dataclass
class _Worker:
    """What the coordinator knows about a worker.

    `held` are the tasks that it has, by number. `failed_starts` counts the processes in a row that have died
    before they had loaded the models. `work` is what its process has computed, as far as it has reported.
    """

    lanes: int = 0  # 0 until it has loaded its models
    held: dict[int, Track] = field(default_factory=dict)
    failed_starts: int = 0
    work: Work = field(default_factory=Work)

    def may_take_more(self, limit: int) -> bool:
        """Whether it has a free lane, tracks no task alone, and has fewer than `limit` tasks."""
        is_alone = any(track.alone for track in self.held.values())
        return len(self.held) < min(self.lanes, limit) and not is_alone


class Coordinator:
    """Hands tasks to `num_workers` workers.

    A task fails after `attempts` workers have died while they had it. `note` is called with each warning: its
    text, and whether it is to be shown at once.
    """

    def __init__(
        self,
        workers: Workers,
        num_workers: int,
        attempts: int = 3,
        note: Callable[[str, bool], None] = lambda _text, _now: None,
    ) -> None:
        self._processes, self._attempts, self._note = workers, attempts, note
        self._find_written: FindWritten = lambda _: ()
        self._workers = {number: _Worker() for number in range(num_workers)}
        self._fingerprint: Mapping[str, Any] = {}
        self._queue: deque[SequenceTask] = deque()
        # Tasks that a worker must track alone: those of dead workers, then those that workers have returned.
        self._retries: deque[SequenceTask] = deque()
        self._returned: deque[SequenceTask] = deque()
        self._deaths: dict[int, int] = {}  # by task
        self._advanced: dict[int, int] = {}  # by task: its track-frames that are counted as finished
        # By task and expression: the outcomes of tracks that a dead worker had written.
        self._written: dict[int, dict[str | None, TrackOutcome]] = {}
        self._work_of_dead = Work()

    def open(self) -> Mapping[str, Any]:
        """Start the workers and wait until one of them has loaded its models. Returns its fingerprint.

        Raises UserError if the models cannot be loaded.
        """
        for worker in self._workers:
            self._processes.start(worker)
        while not self._fingerprint:
            for worker, event in self._processes.wait():
                self._handle_worker_event(worker, event)
        return self._fingerprint

    def run(
        self,
        tasks: Iterable[SequenceTask],
        progress: TrackingProgress,
        find_written: FindWritten = lambda _: (),
    ) -> Iterator[Finished]:
        """Track the tasks; yields each when it has ended.

        `find_written` is asked which tracks of a task are written when a worker has died that had the task.
        Raises UserError if workers cannot be started.
        """
        self._find_written = find_written
        # 1. Longest first. Equal ones stay in the order of the run.
        self._queue.extend(sorted(tasks, key=lambda task: -task.track_frames))
        # 2. Hand out what is left to free workers, and wait for the next events.
        while self._queue or self._retries or self._returned or self._is_any_busy():
            self._hand_out(progress)
            for worker, event in self._processes.wait():
                yield from self._handle(worker, event, progress)

    def finish(self) -> Work:
        """Let the workers end, and take their last warnings. Returns what they have computed, in sum.

        Of workers that have died, what they had computed at the end of their last task is included.
        """
        # Workers that are still loading their models have nothing to say.
        open_workers = {number for number, worker in self._workers.items() if worker.lanes}
        for number in open_workers:
            self._processes.send(number, Stop())
        while open_workers:
            for number, event in self._processes.wait():
                if isinstance(event, Noted):
                    self._note(event.text, event.now)
                elif isinstance(event, Ended | Died | Refused):
                    open_workers.discard(number)
                    if isinstance(event, Ended):
                        self._workers[number].work = event.work
        return sum((worker.work for worker in self._workers.values()), self._work_of_dead)

    def _is_any_busy(self) -> bool:
        return any(worker.held for worker in self._workers.values())

    def _hand_out(self, progress: TrackingProgress) -> None:
        """Give tasks to workers until no worker can take any."""
        # A few tasks are spread over all workers, those that are still loading their models included. So a
        # worker gets at most its share, and the least busy one comes first.
        num_left = len(self._queue) + sum(len(worker.held) for worker in self._workers.values())
        share = max(1, math.ceil(num_left / len(self._workers)))
        while free := [number for number, each in self._workers.items() if each.may_take_more(share)]:
            number = min(free, key=lambda each: len(self._workers[each].held))
            track = self._next_for(self._workers[number])
            if track is None:
                return
            self._workers[number].held[track.task.number] = track
            self._processes.send(number, track)
            progress.sequence(track.task.sequence, len(track.task.expressions))

    def _next_for(self, worker: _Worker) -> Track | None:
        """What the least busy worker gets next."""
        # 1. A task whose worker died may be the reason of that, so no other task is at risk beside it.
        if self._retries and not worker.held:
            return Track(self._retries.popleft(), alone=True)
        # 2. The longest of those that nobody has had yet.
        if self._queue:
            return Track(self._queue.popleft())
        # 3. Returned ones come last: by then the other run, if it is that, has probably finished them.
        if self._returned and not worker.held:
            return Track(self._returned.popleft(), alone=True)
        return None

    def _handle(self, number: int, event: Event, progress: TrackingProgress) -> Iterator[Finished]:
        """Handle an event of a worker while the run is tracking."""
        worker = self._workers[number]
        if isinstance(event, Advanced):
            self._advanced[event.number] = self._advanced.get(event.number, 0) + event.track_frames
            progress.advance(worker.held[event.number].task.sequence, event.track_frames)
        elif isinstance(event, Waiting):
            progress.waiting(event.sequence)
        elif isinstance(event, Finished):
            worker.work = event.work
            yield self._end(worker.held.pop(event.number).task, event, progress)
        elif isinstance(event, Returned):
            task = worker.held.pop(event.number).task
            self._take_back(task, progress)
            self._returned.append(task)
        elif isinstance(event, Died):
            yield from self._take_over(number, event.reason, progress)
        else:
            self._handle_worker_event(number, event)

    def _handle_worker_event(self, number: int, event: Event) -> None:
        """Handle an event that does not concern a task."""
        worker = self._workers[number]
        if isinstance(event, Opened):
            self._check_fingerprint(number, event.fingerprint)
            worker.lanes, worker.failed_starts = event.lanes, 0
        elif isinstance(event, Noted):
            self._note(event.text, event.now)
        elif isinstance(event, Refused):
            raise UserError(event.message)
        elif isinstance(event, Died):
            self._start_again(number, event.reason)

    def _end(self, task: SequenceTask, event: Finished, progress: TrackingProgress) -> Finished:
        """Take note that a task has ended. Returns the event with the outcomes of this run."""
        # What was not tracked had a result, of another run or of an earlier attempt, or has failed.
        progress.skip(task.track_frames - self._advanced.pop(task.number, 0))
        progress.finished(task.sequence)
        # A worker takes results of an earlier attempt for those of another run.
        written = self._written.pop(task.number, {})
        outcomes = tuple(written.get(outcome.expression, outcome) for outcome in event.outcomes)
        return dataclasses.replace(event, outcomes=outcomes)

    def _take_over(self, number: int, reason: str, progress: TrackingProgress) -> Iterator[Finished]:
        """Take back the tasks of a dead worker, and start another one in its place.

        Yields those that have ended: because all of their tracks are written, or because too many workers
        have died while they had them.
        """
        worker = self._workers[number]
        tasks = [track.task for track in worker.held.values()]
        worker.held.clear()
        for task in tasks:
            self._deaths[task.number] = self._deaths.get(task.number, 0) + 1
            # 1. What is on the disk is complete, also if the worker could not report it any more.
            written = self._written.setdefault(task.number, {})
            written.update((outcome.expression, outcome) for outcome in self._find_written(task))
            if len(written) < len(task.expressions) and self._deaths[task.number] < self._attempts:
                # 2. Something is left: another attempt.
                self._take_back(task, progress)
                self._retries.append(task)
                continue
            # 3. Nothing is left, or the rest of its tracks fails.
            times = counted(self._attempts, "time")
            why = (
                f"the process that tracked it ended {times} before it was finished (the last one {reason}); "
                f"see {self._processes.log_path(number)}"
            )
            outcomes = [TrackOutcome.of_failure(task.sequence, each, why) for each in task.expressions]
            yield self._end(task, Finished(task.number, task.sequence, tuple(outcomes)), progress)
        if tasks:
            names = ", ".join(task.sequence for task in tasks)
            self._note(f"process {number} {reason} while it tracked {names}; it was started again", False)
        self._start_again(number, reason)

    def _start_again(self, number: int, reason: str) -> None:
        """Start a worker in the place of one that has died. Raises UserError if that happens too often."""
        worker = self._workers[number]
        if not worker.lanes:
            worker.failed_starts += 1
            if worker.failed_starts >= self._attempts:
                raise UserError(
                    f"process {number} {reason} before it had loaded the models, "
                    f"{counted(worker.failed_starts, 'time')}; see {self._processes.log_path(number)}"
                )
        worker.lanes = 0
        self._work_of_dead += worker.work
        worker.work = Work()
        self._processes.start(number)

    def _take_back(self, task: SequenceTask, progress: TrackingProgress) -> None:
        """Remove from the progress what was counted for a task that is to be tracked again."""
        progress.postponed(task.sequence, self._advanced.pop(task.number, 0))

    def _check_fingerprint(self, number: int, fingerprint: Mapping[str, Any]) -> None:
        """Raise UserError if a worker would make other results than the first one."""
        self._fingerprint = self._fingerprint or fingerprint
        if differing := differing_keys(self._fingerprint, fingerprint):
            raise UserError(
                f"process {number} would make other results than the first one (other "
                f"{', '.join(differing)}); use machines with the same GPUs, code and checkpoints"
            )
