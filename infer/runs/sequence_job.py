"""One sequence of a run while it is tracked: its frames, overlays, trajectories, and the writing of results.

The main thread opens the job and hands over finished frames. The masks of a frame are encoded, and its
overlays drawn, by a thread that belongs to the job (`infer.engine.background.OrderedWorker`). It also writes
the results after the last frame. The claim of the sequence is released once they are written, or when the job
is closed.
"""

import time
from collections.abc import Iterable
from collections.abc import Sequence as Sequences
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from configs.errors import UserError
from data_prep.sequence import Sequence
from data_prep.trace import TraceFrame, trace_line
from data_prep.votsr.regions import ABSENT
from infer.engine.background import OrderedWorker, read_ahead
from infer.engine.config import EngineConfig
from infer.engine.engine import Step, Trajectory
from infer.engine.failures import FailureBoundary
from infer.engine.timings import Timings
from infer.render.overlays import Overlays, SequenceOverlays, usable_cores
from infer.runs.plan import TrackStore
from infer.runs.progress import TrackingProgress
from infer.runs.records import TrackRecords
from infer.trackers.requests import StartTrack


@dataclass(frozen=True)
class RunOutputs:
    """Where the results of jobs go: result files, records, overlays if wanted, and the shown progress."""

    store: TrackStore
    records: TrackRecords
    overlays: Overlays | None
    progress: TrackingProgress


class SequenceJob:
    """The tracks of one sequence, from the first frame to the result files. Implements `scheduler.Job`.

    Attributes:
        number: The position of the sequence in the run.
        trajectories: The tracks so far, in the order of `expressions`.
        traces: The lines of their traces so far, if the run writes traces.
        failure: Why the sequence failed; None if it did not.
        not_written: Why results were not written, by expression.
        num_frames: The number of frames that were tracked so far.
        has_ended: Its last frame was tracked, or it failed. Its thread may still be at work.
    """

    def __init__(
        self,
        number: int,
        sequence: Sequence,
        expressions: list[str],
        claim: ExitStack,
        outputs: RunOutputs,
        config: EngineConfig,
        timings: Timings,
    ) -> None:
        """`claim` holds the entered context of the sequence's claim."""
        self.number, self.sequence, self.expressions = number, sequence, expressions
        self.trajectories = [Trajectory() for _ in expressions]
        self.traces: list[list[str]] = [[] for _ in expressions]
        self.failure: FailureBoundary | None = None
        self.not_written: dict[str, str] = {}
        self.has_ended = False
        self.num_frames = 0
        self._claim, self._outputs, self._timings = claim, outputs, timings
        self._drawing: SequenceOverlays | None = None
        # On a single core the threads would take turns with the models, which was measured to cost more time
        # than it saves.
        has_cores = usable_cores() > 1
        self._read_ahead = config.read_ahead if has_cores else 0
        self._worker = OrderedWorker(config.write_behind if has_cores else 0, timings)
        self._start_time = self._end_time = time.monotonic()

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do but to close the job."""
        return self.has_ended and self._worker.is_done

    @property
    def seconds(self) -> float:
        """The time from the start of the job to the end of its last frame."""
        return self._end_time - self._start_time

    def open(self) -> tuple[Iterable[np.ndarray], Sequences[StartTrack]]:
        """See `scheduler.Job`."""
        frames = self.sequence.frames
        if not len(frames):
            raise UserError(f"{self.sequence.name}: holds no frames; restore them or leave it out")
        if self._outputs.overlays is not None:
            self._drawing = self._outputs.overlays.of_sequence(self.sequence, self.expressions)
            self._drawing.open()
        # Starting a track computes nothing: the engine runs it to its first request with the first frame.
        starts = [self._outputs.store.start(self.sequence, expression) for expression in self.expressions]
        return read_ahead(frames, self._read_ahead, self._timings), starts

    def add(self, step: Step) -> None:
        """See `scheduler.Job`. Raises what the thread has raised about an earlier frame."""
        self._worker.submit(lambda: self._add(step))
        self.num_frames += 1
        self._outputs.progress.advance(self.sequence.name, len(self.expressions))

    def finish(self, failure: FailureBoundary | None) -> None:
        """See `scheduler.Job`. The results are written by the thread."""
        self.has_ended, self.failure, self._end_time = True, failure, time.monotonic()
        if failure is not None:
            return
        # Without a thread the results are written here.
        with FailureBoundary() as boundary:
            self._worker.submit(self._complete)
        if boundary.reason is not None:
            self.failure = boundary

    def wait(self) -> None:
        """Wait until the results are written. What failed is in `failure` and `not_written`."""
        if self.failure is not None:
            return
        with FailureBoundary() as boundary:
            self._worker.wait()
        if boundary.reason is not None:
            self.failure = boundary

    def close(self) -> None:
        """End the thread, remove half-written overlays, and release the claim if it is still held."""
        try:
            self._worker.close()
            if self._drawing is not None:
                self._drawing.close()
        finally:
            self._claim.close()

    def _add(self, step: Step) -> None:
        with self._timings.part("write"):
            for trajectory, report in zip(self.trajectories, step.reports, strict=True):
                trajectory.append(report)
            if self._outputs.records.with_traces:
                for number, trace in enumerate(self.traces):
                    # Encoded at once: a line takes a fraction of the memory of the objects.
                    trace.append(trace_line(self._trace_frame(step, number)))
        if self._drawing is not None:
            with self._timings.part("draw"):
                self._drawing.add(step)

    def _complete(self) -> None:
        """Complete the overlays, then write the record and the result of each track."""
        if self._drawing is not None:
            with self._timings.part("draw"):
                self._drawing.finish()
        with self._timings.part("write"):
            for expression, trajectory, trace in zip(
                self.expressions, self.trajectories, self.traces, strict=True
            ):
                self._write(expression, trajectory, trace)
        # Other runs may wait for it, and this one may not look here again before its next sequence ends.
        self._claim.close()

    def _trace_frame(self, step: Step, number: int) -> TraceFrame:
        """The frame of a step in the trace of track `number`."""
        report, is_absent = step.reports[number], self.trajectories[number].masks[-1] == ABSENT
        return TraceFrame(
            step.frame_index + 1,
            str(report.state),
            tuple(map(str, report.reasons)),
            is_absent,
            None if is_absent else report.confidence,
            report.presence_log_odds,
            report.agreement_iou,
            tuple(step.asked[number]),
        )

    def _write(self, expression: str, trajectory: Trajectory, trace: Sequences[str]) -> None:
        # The record comes first: a result without a record would be restored without states and confidences.
        with FailureBoundary() as boundary:
            files = self._outputs.store.files(self.sequence, expression)
            self._outputs.records.write(self.sequence, expression, files, trajectory, trace)
            self._outputs.store.write(self.sequence, expression, trajectory)
        if boundary.reason is not None:
            self.not_written[expression] = boundary.reason
