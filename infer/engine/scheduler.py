"""The scheduler: an event loop that runs several sequences at once and batches their questions.

    while there are sequences:
        1. start sequences in free lanes
        2. run each lane until its tracks wait for the grounder
        3. answer the open questions: of all lanes in one batch, or lane by lane

Trackers are generators and the models run in the main thread, so there is nothing to lock. Only reading and
writing happen in threads (`infer.engine.background`).

**Failures.** Whatever goes wrong in a lane (its frames, its tracks, the mask head, memory) ends this lane
alone. If a batch of several lanes fails, each lane asks again by itself, and only the one that fails again
ends.

**Reproducibility.** The numbers of a model depend, by rounding, on the size of a batch. With `deterministic`
questions are batched within a lane only, so the results of a sequence do not depend on the other lanes.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np

from infer.engine.engine import Engine, Lane, Step
from infer.engine.failures import FailureBoundary
from infer.trackers.requests import StartTrack
from models.devices import free_memory


class Job(Protocol):
    """One sequence that is to be tracked. An exception of `open` or `add` ends this sequence alone."""

    def open(self) -> tuple[Iterable[np.ndarray], Sequence[StartTrack]]:
        """The frames, and the functions that start the tracks."""
        ...

    def add(self, step: Step) -> None:
        """Take a finished frame."""
        ...

    def finish(self, failure: FailureBoundary | None) -> None:
        """Take note that the last frame has been added, or why the sequence failed."""
        ...


NextJob = Callable[[bool], Job | None]
"""Returns the next job; None if there is none at the moment. The argument says whether no lane is busy: the
function may then wait for a job, and None ends the run."""


class Scheduler:
    """Runs jobs with an engine, at most `num_lanes` at a time.

    Attributes:
        warnings: What a user should know, in one line each.
        num_frames: The number of frames that were finished.
        on_round: Called after every round of the loop, for a profiler.
    """

    def __init__(self, engine: Engine, num_lanes: int, deterministic: bool) -> None:
        self.warnings: list[str] = []
        self.num_frames = 0
        self.on_round: Callable[[], None] = lambda: None
        self._engine, self._num_lanes, self._deterministic = engine, num_lanes, deterministic
        # The lanes in the order in which they were started, each with its job.
        self._lanes: dict[Lane, Job] = {}

    def run(self, next_job: NextJob) -> None:
        """Run jobs until there is none left."""
        try:
            while self._start_lanes(next_job):
                for lane in list(self._lanes):
                    self._advance(lane)
                self._answer_questions()
                self.on_round()
        finally:
            # After an exception that is no failure of a lane, such as Ctrl-C.
            for lane in self._lanes:
                with FailureBoundary():
                    lane.close()
            self._lanes.clear()

    def _start_lanes(self, next_job: NextJob) -> bool:
        """Start jobs in free lanes. Returns whether any lane is busy."""
        while len(self._lanes) < self._num_lanes:
            job = next_job(not self._lanes)
            if job is None:
                break
            with FailureBoundary() as boundary:
                self._lanes[Lane(self._engine, *job.open())] = job
            if boundary.reason is not None:
                free_memory()
                job.finish(boundary)
        return bool(self._lanes)

    def _advance(self, lane: Lane) -> None:
        """Run a lane until its tracks wait for the grounder, or its frames end."""
        job = self._lanes[lane]
        with FailureBoundary() as boundary:
            for step in lane.advance():
                self.num_frames += 1
                job.add(step)
        if boundary.reason is not None:
            self._end(lane, boundary)
        elif lane.has_ended:
            self._end(lane, None)

    def _answer_questions(self) -> None:
        """Answer the open questions of all lanes."""
        asking = [lane for lane in self._lanes if lane.questions]
        # One batch for all lanes, unless results must not depend on the other lanes.
        if self._deterministic or len(asking) < 2:
            for lane in asking:
                self._ask_alone(lane)
            return
        questions = [lane.questions for lane in asking]
        with FailureBoundary() as boundary:
            answers = iter(self._engine.locate([each for of_lane in questions for each in of_lane]))
        if boundary.reason is not None:
            self._ask_one_by_one(asking, boundary.reason)
            return
        for lane, of_lane in zip(asking, questions, strict=True):
            with FailureBoundary() as boundary:
                lane.reply([next(answers) for _ in of_lane])
            if boundary.reason is not None:
                self._end(lane, boundary)

    def _ask_one_by_one(self, asking: Sequence[Lane], reason: str) -> None:
        """Answer questions lane by lane, after a batch of all of them has failed."""
        free_memory()
        for lane in asking:
            self._ask_alone(lane)
        # If each lane's own batch was answered, joint batches would fail again and again.
        if all(lane in self._lanes for lane in asking):
            self._deterministic = True
            self.warnings.append(
                f"a batch of the questions of {len(asking)} sequences failed, and those of each sequence "
                f"alone did not; from then on each sequence was asked by itself ({reason})"
            )

    def _ask_alone(self, lane: Lane) -> None:
        """Answer the questions of one lane."""
        with FailureBoundary() as boundary:
            lane.reply(self._engine.locate(lane.questions))
        if boundary.reason is not None:
            self._end(lane, boundary)

    def _end(self, lane: Lane, failure: FailureBoundary | None) -> None:
        """Free a lane whose sequence has been tracked or has failed."""
        job = self._lanes.pop(lane)
        with FailureBoundary():
            lane.close()
        if failure is not None:
            free_memory()
        job.finish(failure)
