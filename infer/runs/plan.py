"""What distinguishes the kinds of runs (a workspace, a video, a data set); `infer.runs.run` does the rest.

A `RunPlan` says what is tracked and where the results go. Its `TrackStore` says which tracks a sequence has,
how they start, and how their results are read and written. `MaskStore` is the store of workspaces and videos;
`infer.runs.data_set` has its own.
"""

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Sequences
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from configs.errors import UserError
from data_prep.geometry import Box
from data_prep.sequence import Sequence
from data_prep.votsr.regions import ABSENT
from data_prep.votsr.results import read_written, write_result
from infer.engine.engine import Trajectory
from infer.runs.fingerprint import Identity
from infer.runs.summary import RunSummary, TrackOutcome
from infer.trackers.requests import StartTrack, Tracker

# The grounder is always asked in words. This is the expression of a target that is given by its box alone.
DEFAULT_EXPRESSION = "the target"


@dataclass(frozen=True)
class ResultFiles:
    """The files of a track's result: `main` in the format of its tools, `masks` in lines as of VOTSr."""

    main: Path
    masks: Path


class TrackerSource(Protocol):
    """Where a store takes the trackers of its tracks from: a `Session`."""

    @property
    def tracker(self) -> Tracker:
        """The tracker of the run."""
        ...

    def tracker_of(self, expression: str) -> Tracker:
        """The tracker for an expression."""
        ...


class TrackStore(Protocol):
    """The tracks of sequences: which there are, how they start, and their result files.

    A track is identified by its sequence and its expression.
    """

    def expressions(self, sequence: Sequence) -> Sequences[str]:
        """The expressions of a sequence, one per track."""
        ...

    def asked_expressions(self, sequence: Sequence, expression: str) -> Sequences[str]:
        """All expressions that the grounder may be asked about during a track."""
        ...

    def start(self, sequence: Sequence, expression: str) -> StartTrack:
        """The function that starts a track."""
        ...

    def num_absent(self, sequence: Sequence, expression: str) -> int | None:
        """The absent frames of a complete result that exists; None where there is no complete result."""
        ...

    def files(self, sequence: Sequence, expression: str) -> ResultFiles:
        """The result files, whether they exist or not."""
        ...

    def inputs(self, sequence: Sequence) -> object:
        """What a result depends on beside the frames and the names of its files; compared by `repr`."""
        ...

    def write(self, sequence: Sequence, expression: str, trajectory: Trajectory) -> None:
        """Write a result, completely or not at all. Raises UserError if it cannot be written."""
        ...


@dataclass(frozen=True)
class MaskStore:
    """One track per expression of a sequence. The result file, at `path_of`, holds one mask per frame."""

    session: TrackerSource
    path_of: Callable[[Sequence, str], Path]
    box_xyxy: Box | None = None  # of the target in the first frame, if it is given

    def expressions(self, sequence: Sequence) -> list[str]:
        """Each expression once. Only empty ones can occur twice, and they share one result file."""
        # dict.fromkeys keeps the order of the file.
        return list(dict.fromkeys(sequence.expressions))

    def asked_expressions(self, sequence: Sequence, expression: str) -> list[str]:  # noqa: ARG002
        """See `TrackStore`: the expression of a track does not change."""
        return [expression]

    def start(self, sequence: Sequence, expression: str) -> StartTrack:  # noqa: ARG002
        """See `TrackStore`."""
        # A given box shows the target, so the expression may be missing.
        if self.box_xyxy is not None:
            return partial(self.session.tracker, expression or DEFAULT_EXPRESSION, box_xyxy=self.box_xyxy)
        return partial(self.session.tracker_of(expression), expression)

    def num_absent(self, sequence: Sequence, expression: str) -> int | None:
        """See `TrackStore`. A file that is not a complete result is tracked again and replaced."""
        # Reading all lines is fast, and shows that the file has one valid line per frame.
        path = self.path_of(sequence, expression)
        if not path.is_file():
            return None
        try:
            return read_written(path, len(sequence.frames)).count(ABSENT)
        except UserError:
            return None

    def files(self, sequence: Sequence, expression: str) -> ResultFiles:
        """See `TrackStore`: both are the same file."""
        path = self.path_of(sequence, expression)
        return ResultFiles(path, path)

    def inputs(self, sequence: Sequence) -> object:  # noqa: ARG002
        """See `TrackStore`: the expression is part of the file's name, and the box of the fingerprint."""
        return ()

    def write(self, sequence: Sequence, expression: str, trajectory: Trajectory) -> None:
        """See `TrackStore`."""
        write_result(self.path_of(sequence, expression), trajectory.masks, len(sequence.frames))


def _unchanged(summary: RunSummary) -> RunSummary:
    return summary


@dataclass(frozen=True)
class RunPlan:
    """What is tracked and where its results go.

    Attributes:
        sequences: What is tracked. They may be read when they are looked up.
        results: The folder of results, which the run claims.
        open_store: Called once, after the folder is claimed.
        identity: Added to the fingerprint of the results.
        failed: Tracks and sequences that cannot be tracked, with their reasons.
        warnings: Shown at the end.
        complete: Called with the summary after tracking; it may score and pack the results.
        places: Folders and files that are listed at the end.
        hints: Further lines that are listed at the end, by their labels.
        input_is_damaged: Frames are missing, so the exit status is 1 whatever is written.
        needs_overlays: The exit status is 1 if overlays were asked for and failed.
        needs_zip: The exit status is 1 without a packed submission.
    """

    sequences: Sequences[Sequence]
    results: Path
    open_store: Callable[[TrackerSource], TrackStore]
    identity: Identity = field(default_factory=dict)
    failed: Sequences[TrackOutcome] = ()
    warnings: Sequences[str] = ()
    complete: Callable[[RunSummary], RunSummary] = _unchanged
    places: Mapping[str, Path] = field(default_factory=dict)
    hints: Mapping[str, str] = field(default_factory=dict)
    input_is_damaged: bool = False
    needs_overlays: bool = False
    needs_zip: bool = False
