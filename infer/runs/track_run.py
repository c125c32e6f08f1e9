"""Tracking the sequences of a run, several at once if asked for, and writing the results of their tracks."""

from collections import deque
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Sequences
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from configs.terminal import LONGEST_NAME, shortened
from data_prep.geometry import Size
from data_prep.sequence import Sequence
from infer.engine.config import EngineConfig, LocalConfig
from infer.engine.engine import Engine
from infer.engine.failures import FailureBoundary
from infer.engine.scheduler import Scheduler
from infer.render.overlays import Overlays
from infer.runs.claims import Claim
from infer.runs.plan import TrackStore
from infer.runs.progress import RunProgress
from infer.runs.records import TrackInputs, TrackRecords
from infer.runs.sequence_job import RunOutputs, SequenceJob
from infer.runs.summary import TrackOutcome
from infer.runs.target_size import small_target_of

Remaining = tuple[int, list[str]]
"""The number of a sequence in the run, and the expressions that have no result."""


@dataclass
class TrackRun:
    """The tracking part of a run.

    `outcomes` and `warnings` grow while it runs. `frame_sizes` holds the (width, height) of the frames, by
    the name of the sequence.

    A sequence is looked up each time it is needed, so that a large data set does not fill the memory.
    `claim` is the claim of the results folder; other runs that have claimed it share the sequences.

    Every step that may fail is a `FailureBoundary`. What fails in it becomes an outcome of the tracks that it
    concerns, and the other tracks go on.
    """

    sequences: Sequences[Sequence]
    store: TrackStore
    engine: Engine
    overlays: Overlays | None
    claim: Claim
    records: TrackRecords
    inputs: TrackInputs
    config: EngineConfig = field(default_factory=LocalConfig)
    device_type: str = "cpu"
    outcomes: list[TrackOutcome] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    frame_sizes: dict[str, Size] = field(default_factory=dict)
    num_frames: int = 0
    # Sequences that are still to be tracked, and those to be tracked alone at the end.
    _queue: deque[Remaining] = field(default_factory=deque)
    _postponed: deque[Remaining] = field(default_factory=deque)
    _jobs: list[SequenceJob] = field(default_factory=list)  # started and not yet closed
    _retried: set[int] = field(default_factory=set)  # sequences that ran out of memory beside others
    # By the number of a sequence: its name, and the frames of all its tracks.
    _names: dict[int, str] = field(default_factory=dict)
    _track_frames: dict[int, int] = field(default_factory=dict)

    @property
    def _num_lanes(self) -> int:
        return self.config.lanes_on(self.device_type)

    def run(self, on_round: Callable[[], None] | None = None) -> None:
        """Track everything that has no complete result yet. `on_round` is called after every batch."""
        # 1. Find the tracks that are left. Existing results and expressions that cannot be asked about become
        #    outcomes here, before the first frame is tracked.
        remaining = self._remaining()
        num_tracks = sum(len(expressions) for _, expressions in remaining)
        num_known = len(self.outcomes)
        # 2. Longest first, so that no lane is left alone with a long sequence at the end.
        self._queue.extend(remaining)
        if self._num_lanes > 1:
            self._queue = deque(sorted(remaining, key=lambda each: self._track_frames[each[0]], reverse=True))
        # 3. Track.
        scheduler = Scheduler(self.engine, self._num_lanes, self.config.is_deterministic_on(self.device_type))
        scheduler.on_round = on_round or scheduler.on_round
        with RunProgress(sum(self._track_frames.values()), num_tracks) as progress:
            try:
                scheduler.run(partial(self._next_job, progress))
            finally:
                # After an interrupt. Otherwise all jobs have been closed.
                for job in self._jobs:
                    job.close()
        self.num_frames = scheduler.num_frames
        self.warnings += scheduler.warnings
        # 4. Outcomes are in the order of the run, whatever was finished first.
        numbers = {name: number for number, name in self._names.items()}
        tracked = self.outcomes[num_known:]
        tracked.sort(key=lambda outcome: numbers.get(outcome.sequence, len(self.sequences)))
        self.outcomes[num_known:] = tracked

    def join_records(self) -> Path | None:
        """Write `tracks.json` of all tracks with a result. None, and a warning, if it cannot be written."""
        with FailureBoundary() as boundary:
            return self.records.join(
                (outcome.sequence, outcome.expression)
                for outcome in self.outcomes
                if outcome.expression is not None and not outcome.failure
            )
        self.warnings.append(f"no tracks.json: {boundary.reason}")
        return None

    def _sequence(self, number: int) -> Sequence | None:
        """A sequence; None, and an outcome, if it cannot be looked up."""
        with FailureBoundary() as boundary:
            return self.sequences[number]
        self._fail(f"sequence {number + 1}", [None], boundary.reason)
        return None

    def _trackable(self, sequence: Sequence) -> list[str]:
        """The expressions without a result that the grounder can be asked about."""
        trackable = []
        for expression in self._without_result(sequence, self.store.expressions(sequence)):
            asked = expression
            with FailureBoundary() as boundary:
                for asked in self.store.asked_expressions(sequence, expression):
                    self.engine.check_expression(asked)
            if boundary.reason is None:
                trackable.append(expression)
                continue
            # The outcome names the track's expression; one that replaces it in some frames is named here.
            where = "" if asked == expression else f"“{shortened(asked, LONGEST_NAME)}”: "
            self._fail(sequence.name, [expression], where + boundary.reason)
        return trackable

    def _without_result(self, sequence: Sequence, expressions: Iterable[str]) -> list[str]:
        """The expressions without a complete result. Those with one become outcomes."""
        # All tracks of a sequence share its inputs, so a change makes all of their results outdated.
        without = []
        has_changed = self._inputs_have_changed(sequence)
        for expression in expressions:
            num_absent = None if has_changed else self.store.num_absent(sequence, expression)
            if num_absent is None:
                without.append(expression)
            else:
                self._succeed(sequence, expression, num_absent, seconds=0.0, kept=True)
                self._restore_record(sequence, expression)
        return without

    def _remaining(self) -> list[Remaining]:
        """The sequences with tracks that have no result. Finds the sizes of their frames."""
        remaining = []
        for number in range(len(self.sequences)):
            sequence = self._sequence(number)
            if sequence is None:
                continue
            # Without a size the sequence is not in the overview; tracking it reports the fault.
            with FailureBoundary():
                self.frame_sizes[sequence.name] = sequence.frames.size
            if expressions := self._trackable(sequence):
                remaining.append((number, expressions))
                self._names[number] = sequence.name
                self._track_frames[number] = len(sequence.frames) * len(expressions)
        return remaining

    def _next_job(self, progress: RunProgress, is_idle: bool) -> SequenceJob | None:
        """See `infer.engine.scheduler.NextJob`."""
        # 1. Close jobs whose results are written. As many as there are lanes may still be at work.
        self._close_jobs(progress, keep=self._num_lanes)
        # 2. The next sequence that no other run is tracking.
        while self._queue:
            if (job := self._claim_job(*self._queue.popleft(), progress)) is not None:
                return job
        # 3. At the end, those of other runs, and those that did not fit into memory beside others, one at a
        #    time. No claim is held meanwhile, because two runs could wait for each other.
        if is_idle:
            self._close_jobs(progress, keep=0)
            while self._postponed:
                if (job := self._claim_job(*self._postponed.popleft(), progress, wait=True)) is not None:
                    return job
        return None

    def _claim_job(
        self, number: int, expressions: list[str], progress: RunProgress, wait: bool = False
    ) -> SequenceJob | None:
        """The job of a sequence. None if nothing is left to do, or if another run is tracking it.

        With `wait` the other run is waited for; else the sequence is postponed.
        """
        sequence = self._sequence(number)
        if sequence is None:
            return None
        with ExitStack() as stack:
            is_mine = stack.enter_context(self.claim.sequence(sequence.name))
            if not is_mine and not wait:
                self._postponed.append((number, expressions))
                return None
            # Waiting may take as long as tracking the sequence, so it is shown.
            if not is_mine:
                progress.waiting(sequence.name)
                stack.enter_context(self.claim.sequence(sequence.name, wait=True))
            # Another run may have written results since the outcomes were collected.
            without = self._without_result(sequence, expressions)
            progress.skip(len(sequence.frames) * (len(expressions) - len(without)))
            progress.sequence(sequence.name, len(expressions))
            if without and self._record_inputs(sequence, without):
                outputs = RunOutputs(self.store, self.records, self.overlays, progress)
                job = SequenceJob(
                    number, sequence, without, stack.pop_all(), outputs, self.config, self.engine.timings
                )
                self._jobs.append(job)
                return job
            progress.finished(sequence.name)
        return None

    def _close_jobs(self, progress: RunProgress, keep: int) -> None:
        """Close the jobs whose results are written. If more than `keep` are still at work, wait for them."""
        ended = [job for job in self._jobs if job.has_ended]
        for position, job in enumerate(ended):
            if not job.is_done and len(ended) - position <= keep:
                continue
            job.wait()
            self._jobs.remove(job)
            with FailureBoundary() as boundary:
                job.close()
            if boundary.reason is not None:
                self.warnings.append(f"{job.sequence.name}: {boundary.reason}")
            self._report(job, progress)

    def _report(self, job: SequenceJob, progress: RunProgress) -> None:
        """Turn a job that has ended into outcomes. One that ran out of memory beside others is postponed."""
        name, expressions = job.sequence.name, job.expressions
        if job.failure is not None:
            if job.failure.is_out_of_memory and self._num_lanes > 1 and job.number not in self._retried:
                self._retried.add(job.number)
                self._postponed.append((job.number, expressions))
                progress.postponed(name, job.num_frames * len(expressions))
                self.warnings.append(
                    f"{name}: did not fit into memory beside other sequences, and was tracked alone at the "
                    f"end; set engine.lanes={self._num_lanes // 2}"
                )
                return
            self._fail(name, expressions, job.failure.reason)
        else:
            self._succeed_or_fail(job)
        progress.finished(name)

    def _succeed_or_fail(self, job: SequenceJob) -> None:
        """The outcomes of a sequence that was tracked."""
        name, expressions = job.sequence.name, job.expressions
        # The tracks ran together, so each gets an equal share of the time.
        seconds = job.seconds / len(expressions)
        for expression, trajectory in zip(expressions, job.trajectories, strict=True):
            if (reason := job.not_written.get(expression)) is not None:
                self._fail(name, [expression], reason)
            else:
                self._succeed(job.sequence, expression, trajectory.num_absent, seconds)
        with FailureBoundary() as boundary:
            size, contract = self.frame_sizes.get(name), self.engine.grounding.contract
            boxes = dict(zip(expressions, (each.boxes_xyxy for each in job.trajectories), strict=True))
            if size is not None and (why := small_target_of(boxes, contract, size)):
                self.warnings.append(f"{name}: {why}")
        # The results are written, so the sequence has not failed.
        if boundary.reason is not None:
            self.warnings.append(f"{name}: {boundary.reason}")

    def _inputs_have_changed(self, sequence: Sequence) -> bool:
        """Whether existing results were made from other frames or texts, and must not be kept."""
        with FailureBoundary():
            return self.inputs.have_changed(sequence)
        return False  # frames that cannot be read fail when they are tracked, with their reason

    def _record_inputs(self, sequence: Sequence, expressions: list[str]) -> bool:
        """Remove results of other inputs and record the present ones. False, and outcomes, if that fails."""
        with FailureBoundary() as boundary:
            if self.inputs.have_changed(sequence) and self.inputs.remove_results(sequence):
                self.warnings.append(
                    f"{sequence.name}: its frames, texts or first box have changed since it was tracked; "
                    "it was tracked again"
                )
            self.inputs.write(sequence)
            return True
        self._fail(sequence.name, expressions, boundary.reason)
        return False

    def _restore_record(self, sequence: Sequence, expression: str) -> None:
        with FailureBoundary() as boundary:
            self.records.restore(sequence, expression, self.store.files(sequence, expression))
        if boundary.reason is not None:
            self.warnings.append(f"{sequence.name}: not in tracks.json: {boundary.reason}")

    def _succeed(
        self, sequence: Sequence, expression: str, num_absent: int, seconds: float, kept: bool = False
    ) -> None:
        num_present = len(sequence.frames) - num_absent
        self.outcomes.append(
            TrackOutcome(sequence.name, expression, num_present, num_absent, None, seconds, None, kept)
        )

    def _fail(self, sequence: str, expressions: Sequences[str | None], reason: str | None) -> None:
        assert reason is not None
        self.outcomes += [TrackOutcome.of_failure(sequence, each, reason) for each in expressions]
