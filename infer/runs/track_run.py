"""Tracking the sequences of a run, several at once if asked for, and writing the results of their tracks."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from data_prep.sequence import Sequence
from infer.engine.config import EngineConfig, LocalConfig
from infer.engine.engine import Engine
from infer.engine.failures import FailureBoundary
from infer.engine.scheduler import Scheduler
from infer.render.overlays import Overlays
from infer.runs.claims import Claim
from infer.runs.progress import RunProgress, TrackingProgress
from infer.runs.sequence_job import RunOutputs, SequenceJob
from infer.runs.target_size import small_target_of
from infer.runs.tasks import TaskQueue, TaskSource, Track
from infer.runs.tracks import RunTracks


@dataclass
class TrackRun(RunTracks):
    """The tracks of a run that this process tracks.

    `claim` is the claim of the results folder; other runs that have claimed it share the sequences.
    """

    engine: Engine
    overlays: Overlays | None
    claim: Claim
    config: EngineConfig = LocalConfig()  # noqa: RUF009
    device_type: str = "cpu"
    # Sequences that were started and are not closed yet, and the frames of those that are.
    _jobs: dict[SequenceJob, Track] = field(default_factory=dict)
    _num_closed_frames: int = 0

    @property
    def num_lanes(self) -> int:
        """How many sequences are tracked at once."""
        return self.config.lanes_on(self.device_type)

    @property
    def num_frames(self) -> int:
        """The frames that were tracked so far, whatever the number of tracks."""
        return self._num_closed_frames + sum(job.num_frames for job in self._jobs)

    def run(self, on_round: Callable[[], None] | None = None) -> None:
        """Track everything that has no complete result yet. `on_round` is called after every batch."""
        # 1. Find the tracks that are left. Existing results become outcomes before the first frame is
        #    tracked.
        tasks = self.find_remaining()
        track_frames = sum(task.track_frames for task in tasks)
        num_tracks = sum(len(task.expressions) for task in tasks)
        # 2. Longest first, so that no lane is left alone with a long sequence at the end.
        if self.num_lanes > 1:
            tasks.sort(key=lambda task: task.track_frames, reverse=True)
        # 3. Track.
        with RunProgress(track_frames, num_tracks) as progress:
            self.track(TaskQueue(tasks), progress, on_round)
        self.sort_outcomes()

    def track(
        self, tasks: TaskSource, progress: TrackingProgress, on_round: Callable[[], None] | None = None
    ) -> None:
        """Track what `tasks` hands out, until nothing is left."""
        scheduler = Scheduler(self.engine, self.num_lanes, self.config.is_deterministic_on(self.device_type))
        scheduler.on_round = on_round or scheduler.on_round
        try:
            scheduler.run(partial(self._next_job, tasks, progress))
        finally:
            # After an interrupt. Otherwise all jobs have been closed.
            for job in self._jobs:
                job.close()
        self.warnings += scheduler.warnings

    def _next_job(self, tasks: TaskSource, progress: TrackingProgress, is_idle: bool) -> SequenceJob | None:
        """See `infer.engine.scheduler.NextJob`."""
        # 1. Close jobs whose results are written. As many as there are lanes may still be at work.
        self._close_jobs(tasks, progress, keep=self.num_lanes)
        # 2. The next sequence that no other run is tracking.
        while (track := tasks.take(is_idle=False)) is not None:
            if (job := self._claim_job(track, tasks, progress)) is not None:
                return job
        # 3. Without one, wait: for results that are being written, then for a task, or for another run. No
        #    claim is held meanwhile, because two runs could wait for each other.
        if is_idle:
            self._close_jobs(tasks, progress, keep=0)
            while (track := tasks.take(is_idle=True)) is not None:
                if (job := self._claim_job(track, tasks, progress)) is not None:
                    return job
        return None

    def _claim_job(self, track: Track, tasks: TaskSource, progress: TrackingProgress) -> SequenceJob | None:
        """The job of a task. None if nothing is left to do, or if another run is tracking the sequence."""
        task = track.task
        sequence = self.sequence(task.number)
        if sequence is None:
            tasks.finish(task)
            return None
        with ExitStack() as stack:
            is_mine = stack.enter_context(self.claim.sequence(sequence.name))
            if not is_mine and not track.alone:
                tasks.put_back(task)
                return None
            # Waiting may take as long as tracking the sequence, so it is shown.
            if not is_mine:
                progress.waiting(sequence.name)
                stack.enter_context(self.claim.sequence(sequence.name, wait=True))
            # Another run may have written results since the outcomes were collected.
            without = self.without_result(sequence, task.expressions)
            without = self.askable(sequence, without, self.engine.check_expression)
            progress.skip(len(sequence.frames) * (len(task.expressions) - len(without)))
            progress.sequence(sequence.name, len(task.expressions))
            if without and self._record_inputs(sequence, without):
                outputs = RunOutputs(self.store, self.records, self.overlays, progress)
                job = SequenceJob(
                    task.number,
                    sequence,
                    without,
                    stack.pop_all(),
                    outputs,
                    self.config,
                    self.engine.timings,
                )
                self._jobs[job] = track
                return job
            progress.finished(sequence.name)
            tasks.finish(task)
        return None

    def _close_jobs(self, tasks: TaskSource, progress: TrackingProgress, keep: int) -> None:
        """Close the jobs whose results are written. If more than `keep` are still at work, wait for them."""
        ended = [job for job in self._jobs if job.has_ended]
        for position, job in enumerate(ended):
            if not job.is_done and len(ended) - position <= keep:
                continue
            job.wait()
            track = self._jobs.pop(job)
            self._num_closed_frames += job.num_frames
            with FailureBoundary() as boundary:
                job.close()
            if boundary.reason is not None:
                self.warnings.append(f"{job.sequence.name}: {boundary.reason}")
            if self._is_out_of_memory_beside_others(job, track):
                progress.postponed(job.sequence.name, job.num_frames * len(job.expressions))
                tasks.put_back(track.task)
            else:
                self._report(job)
                progress.finished(job.sequence.name)
                tasks.finish(track.task)

    def _is_out_of_memory_beside_others(self, job: SequenceJob, track: Track) -> bool:
        """Whether a job failed for lack of memory, and may succeed alone. Adds a warning."""
        if job.failure is None or not job.failure.is_out_of_memory or self.num_lanes == 1 or track.alone:
            return False
        self.warnings.append(
            f"{job.sequence.name}: did not fit into memory beside other sequences, and was tracked alone at "
            f"the end; set engine.lanes={self.num_lanes // 2}"
        )
        return True

    def _report(self, job: SequenceJob) -> None:
        """Turn a job that has ended into outcomes."""
        if job.failure is not None:
            self.fail(job.sequence.name, job.expressions, job.failure.reason)
        else:
            self._succeed_or_fail(job)

    def _succeed_or_fail(self, job: SequenceJob) -> None:
        """The outcomes of a sequence that was tracked."""
        name, expressions = job.sequence.name, job.expressions
        # The tracks ran together, so each gets an equal share of the time.
        seconds = job.seconds / len(expressions)
        for expression, trajectory in zip(expressions, job.trajectories, strict=True):
            if (reason := job.not_written.get(expression)) is not None:
                self.fail(name, [expression], reason)
            else:
                self.succeed(job.sequence, expression, trajectory.num_absent, seconds)
        with FailureBoundary() as boundary:
            size, contract = self.frame_sizes.get(name), self.engine.grounding.contract
            boxes = dict(zip(expressions, (each.boxes_xyxy for each in job.trajectories), strict=True))
            if size is not None and (why := small_target_of(boxes, contract, size)):
                self.warnings.append(f"{name}: {why}")
        # The results are written, so the sequence has not failed.
        if boundary.reason is not None:
            self.warnings.append(f"{name}: {boundary.reason}")

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
        self.fail(sequence.name, expressions, boundary.reason)
        return False
