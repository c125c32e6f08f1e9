"""The tracks of a run: which of them have a complete result already, and how each of them ended."""

from collections.abc import Callable, Iterable
from collections.abc import Sequence as Sequences
from dataclasses import dataclass, field
from pathlib import Path

from configs.terminal import LONGEST_NAME, shortened
from data_prep.geometry import Size
from data_prep.sequence import Sequence
from infer.engine.failures import FailureBoundary
from infer.runs.plan import TrackStore
from infer.runs.records import TrackInputs, TrackRecords
from infer.runs.summary import TrackOutcome
from infer.runs.tasks import SequenceTask

CheckExpression = Callable[[str], None]


@dataclass
class RunTracks:
    """The tracks of a run.

    `outcomes` and `warnings` grow while it runs. `frame_sizes` holds the (width, height) of the frames, by
    the name of the sequence.

    A sequence is looked up each time it is needed, so that a large data set does not fill the memory.

    Every step that may fail is a `FailureBoundary`. What fails in it becomes an outcome of the tracks that it
    concerns, and the other tracks go on.
    """

    sequences: Sequences[Sequence]
    store: TrackStore
    records: TrackRecords
    inputs: TrackInputs
    outcomes: list[TrackOutcome] = field(default_factory=list, kw_only=True)
    warnings: list[str] = field(default_factory=list, kw_only=True)
    frame_sizes: dict[str, Size] = field(default_factory=dict, kw_only=True)
    # The position in the plan of each sequence that could be looked up, by its name.
    _numbers: dict[str, int] = field(default_factory=dict, kw_only=True)

    def find_remaining(self) -> list[SequenceTask]:
        """The tracks without a complete result, in the order of the plan.

        Existing results become outcomes.
        """
        remaining = []
        for number in range(len(self.sequences)):
            sequence = self.sequence(number)
            if sequence is None:
                continue
            self._numbers[sequence.name] = number
            # Without a size the sequence is not in the overview; tracking it reports the fault.
            with FailureBoundary():
                self.frame_sizes[sequence.name] = sequence.frames.size
            if expressions := self.without_result(sequence, self.store.expressions(sequence)):
                task = SequenceTask(number, sequence.name, len(sequence.frames), tuple(expressions))
                remaining.append(task)
        return remaining

    def sort_outcomes(self) -> None:
        """Sort the outcomes by the order of the plan, whatever was finished first."""
        # What is not in the plan, because it could not be read, comes first. `sort` is stable.
        self.outcomes.sort(key=lambda outcome: self._numbers.get(outcome.sequence, -1))

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

    def sequence(self, number: int) -> Sequence | None:
        """A sequence; None, and an outcome, if it cannot be looked up."""
        with FailureBoundary() as boundary:
            return self.sequences[number]
        self.fail(f"sequence {number + 1}", [None], boundary.reason)
        return None

    def sequence_named(self, name: str) -> Sequence | None:
        """The sequence of a track that has a result; None where it is not in the plan."""
        number = self._numbers.get(name)
        return None if number is None else self.sequences[number]

    def askable(
        self, sequence: Sequence, expressions: Iterable[str], check_expression: CheckExpression
    ) -> list[str]:
        """The expressions that the grounder can be asked about. The others become outcomes."""
        askable = []
        for expression in expressions:
            asked = expression
            with FailureBoundary() as boundary:
                for asked in self.store.asked_expressions(sequence, expression):
                    check_expression(asked)
            if boundary.reason is None:
                askable.append(expression)
                continue
            # The outcome names the track's expression; one that replaces it in some frames is named here.
            where = "" if asked == expression else f"“{shortened(asked, LONGEST_NAME)}”: "
            self.fail(sequence.name, [expression], where + boundary.reason)
        return askable

    def without_result(self, sequence: Sequence, expressions: Iterable[str]) -> list[str]:
        """The expressions without a complete result. Those with one become outcomes."""
        # All tracks of a sequence share its inputs, so a change makes all of their results outdated.
        without = []
        has_changed = self._inputs_have_changed(sequence)
        for expression in expressions:
            num_absent = None if has_changed else self.store.num_absent(sequence, expression)
            if num_absent is None:
                without.append(expression)
            else:
                self.succeed(sequence, expression, num_absent, seconds=0.0, kept=True)
                self._restore_record(sequence, expression)
        return without

    def find_written(self, task: SequenceTask) -> list[TrackOutcome]:
        """The outcomes of those tracks of a task that have a complete result by now.

        A worker that has died may have written them without having reported them. Those that another run has
        written in the meantime cannot be told from them.
        """
        # What cannot be read here fails when it is tracked again, with its reason.
        with FailureBoundary():
            sequence = self.sequences[task.number]
            if self.inputs.have_changed(sequence):
                return []
            absent = {each: self.store.num_absent(sequence, each) for each in task.expressions}
            num_frames = len(sequence.frames)
            return [
                TrackOutcome.of_success(sequence.name, expression, num_frames, num_absent)
                for expression, num_absent in absent.items()
                if num_absent is not None
            ]
        return []

    def succeed(
        self, sequence: Sequence, expression: str, num_absent: int, seconds: float, kept: bool = False
    ) -> None:
        """Add the outcome of a track with a result."""
        num_frames = len(sequence.frames)
        self.outcomes.append(
            TrackOutcome.of_success(sequence.name, expression, num_frames, num_absent, seconds, kept)
        )

    def fail(self, sequence: str, expressions: Sequences[str | None], reason: str | None) -> None:
        """Add the outcomes of tracks without a result."""
        assert reason is not None
        self.outcomes += [TrackOutcome.of_failure(sequence, each, reason) for each in expressions]

    def _inputs_have_changed(self, sequence: Sequence) -> bool:
        """Whether existing results were made from other frames or texts, and must not be kept."""
        with FailureBoundary():
            return self.inputs.have_changed(sequence)
        return False  # frames that cannot be read fail when they are tracked, with their reason

    def _restore_record(self, sequence: Sequence, expression: str) -> None:
        with FailureBoundary() as boundary:
            self.records.restore(sequence, expression, self.store.files(sequence, expression))
        if boundary.reason is not None:
            self.warnings.append(f"{sequence.name}: not in tracks.json: {boundary.reason}")
