"""Tracking the sequences of a run, one after the other, and writing the results of their tracks."""

import math
import time
from collections.abc import Iterable
from collections.abc import Sequence as Sequences
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from configs.errors import UserError
from configs.terminal import LONGEST_NAME, shortened
from data_prep.contract.contract import Contract
from data_prep.contract.images import search_size
from data_prep.geometry import Box, Size, rescale
from data_prep.sequence import Sequence
from infer.engine.engine import Engine, Trajectory
from infer.engine.failures import FailureBoundary
from infer.render.overlays import Overlays
from infer.runs.claims import Claim
from infer.runs.plan import TrackStore
from infer.runs.progress import RunProgress
from infer.runs.records import TrackInputs, TrackRecords
from infer.runs.summary import TrackOutcome
from models.devices import free_memory


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
    outcomes: list[TrackOutcome] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    frame_sizes: dict[str, Size] = field(default_factory=dict)

    def run(self) -> None:
        """Track everything that has no complete result yet."""
        # 1. Find the tracks that are left. Existing results and expressions that cannot be asked about become
        #    outcomes here, before the first frame is tracked.
        remaining: list[tuple[int, list[str]]] = []
        track_frames = 0
        for number in range(len(self.sequences)):
            sequence = self._sequence(number)
            if sequence is None:
                continue
            # Without a size the sequence is not in the overview; tracking it reports the fault.
            with FailureBoundary():
                self.frame_sizes[sequence.name] = sequence.frames.size
            if expressions := self._trackable(sequence):
                remaining.append((number, expressions))
                track_frames += len(sequence.frames) * len(expressions)
        with RunProgress(track_frames, sum(len(expressions) for _, expressions in remaining)) as progress:
            # 2. Track every sequence that no other run is tracking.
            elsewhere = [each for each in remaining if not self._track_if_free(*each, progress)]
            # 3. Wait for those of other runs, and track what they left: all results are there at the end.
            for number, expressions in elsewhere:
                self._track_if_free(number, expressions, progress, wait=True)

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

    def _track_if_free(
        self, number: int, expressions: list[str], progress: RunProgress, wait: bool = False
    ) -> bool:
        """Track what is left of a sequence. False, without doing anything, if another run is tracking it."""
        sequence = self._sequence(number)
        if sequence is None:
            return True
        # Waiting may take as long as tracking the sequence, so it is shown.
        if wait:
            progress.waiting(sequence.name)
        with self.claim.sequence(sequence.name, wait) as is_mine:
            if not is_mine:
                return False
            # Another run may have written results since the outcomes were collected.
            without = self._without_result(sequence, expressions)
            progress.skip(len(sequence.frames) * (len(expressions) - len(without)))
            progress.sequence(sequence.name, len(expressions))
            if without and self._record_inputs(sequence, without):
                self._track(sequence, without, progress)
        return True

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

    def _track(self, sequence: Sequence, expressions: list[str], progress: RunProgress) -> None:
        """Track the expressions of a sequence together, and write their results."""
        start_time = time.monotonic()
        # A failure of the engine fails all tracks of the sequence: they share the frames and the batches.
        trajectories = [Trajectory() for _ in expressions]
        with FailureBoundary() as boundary:
            self._run_engine(sequence, expressions, trajectories, progress)
        if boundary.reason is not None:
            free_memory()
            self._fail(sequence.name, expressions, boundary.reason)
            return
        # The tracks ran together, so each gets an equal share of the time.
        seconds = (time.monotonic() - start_time) / len(expressions)
        for expression, trajectory in zip(expressions, trajectories, strict=True):
            self._write(sequence, expression, trajectory, seconds)
        with FailureBoundary() as boundary:
            self._warn_of_small_target(sequence.name, expressions, trajectories)
        # The results are written, so the sequence has not failed.
        if boundary.reason is not None:
            self.warnings.append(f"{sequence.name}: {boundary.reason}")

    def _run_engine(
        self,
        sequence: Sequence,
        expressions: list[str],
        trajectories: list[Trajectory],
        progress: RunProgress,
    ) -> None:
        """Run the engine over a sequence, and draw the overlays of each frame."""
        if not len(sequence.frames):
            raise UserError(f"{sequence.name}: holds no frames; restore them or leave it out")
        with self.overlays.of_sequence(sequence, expressions) if self.overlays else nullcontext() as drawing:
            # Starting a track computes nothing: the engine runs it to its first request with the first frame.
            starts = [self.store.start(sequence, expression) for expression in expressions]
            for step in self.engine.run(sequence.frames, starts):
                for trajectory, report in zip(trajectories, step.reports, strict=True):
                    trajectory.append(report)
                if drawing:
                    drawing.add(step)
                progress.advance(len(expressions))
            if drawing:
                drawing.finish()

    def _write(self, sequence: Sequence, expression: str, trajectory: Trajectory, seconds: float) -> None:
        """Write the record of a track, then its result."""
        # The record comes first: a result without a record would be restored without states and confidences.
        with FailureBoundary() as boundary:
            self.records.write(sequence, expression, self.store.files(sequence, expression), trajectory)
            self.store.write(sequence, expression, trajectory)
        if boundary.reason is None:
            self._succeed(sequence, expression, trajectory.num_absent, seconds)
        else:
            self._fail(sequence.name, [expression], boundary.reason)

    def _warn_of_small_target(
        self, sequence: str, expressions: list[str], trajectories: list[Trajectory]
    ) -> None:
        """Warn, once per sequence, of a target that the grounder sees at too few pixels."""
        size, contract = self.frame_sizes.get(sequence), self.engine.grounding.contract
        for expression, trajectory in zip(expressions, trajectories, strict=True):
            last = next((box for box in reversed(trajectory.boxes_xyxy) if box is not None), None)
            if size is not None and last is not None and (why := small_target(contract, last, size)):
                self.warnings.append(f"{sequence}: “{shortened(expression, LONGEST_NAME)}”: {why}")
                return

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


def small_target(contract: Contract, box_xyxy: Box, size: Size) -> str | None:
    """Why a target is too small for the grounder, and the remedy; None where it is large enough.

    `box_xyxy` is in pixels of the frame, whose size (width, height) is `size`. The limit is half the side of
    a language token, which is one patch of the vision tower: what is narrower fills no patch, so the model
    sees it mixed with its background.
    """
    # A model that was trained on one size of search images saw its small targets in them, and takes no other.
    # One that searches a crop around the last box sees every target at about the same size.
    if all(contract.search_size) or contract.search_crop:
        return None
    resized, multiple = search_size(contract, size), contract.side_multiple
    left, top, right, bottom = rescale(box_xyxy, size, resized)
    width, height = right - left, bottom - top
    side = min(width, height)
    # A box without an area, which a user may have given, says nothing about the size of the target.
    if side <= 0 or side >= multiple / 2:
        return None
    seen = f"the grounder saw its last box at {width:.0f} by {height:.0f} pixels, less than half a token"
    # The area of the search image must grow by the square of what the side lacks, and a little more, because
    # sides are rounded down to whole tokens. A frame is not enlarged beyond its own size.
    if contract.max_pixels >= size[0] * size[1]:
        return f"{seen}, and the frame at its own size; a video of higher resolution would help"
    own = math.ceil(size[0] * size[1] / multiple**2)
    needed = math.ceil(resized[0] * resized[1] / multiple**2 * (0.55 * multiple / side) ** 2)
    return f"{seen}; model.search_tokens={min(needed, own)} shows it larger"
