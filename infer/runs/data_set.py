"""Tracking a split of a data set: `data=tnl2k split=test`. It writes boxes, and masks beside them.

Results are in the format that the tools of box benchmarks read: `<sequence>.txt` with `x,y,width,height` per
frame. `masks/<sequence>.txt` holds the masks in lines as of VOTSr. Each sequence is one track.
"""

import dataclasses
import re
import shlex
from collections.abc import Iterable
from collections.abc import Sequence as Sequences
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import overload

from configs.errors import UserError
from configs.terminal import counted
from data_prep.files import inside, write_whole
from data_prep.geometry import Box, clamp, xywh_to_xyxy, xyxy_to_xywh
from data_prep.index.build import index_path
from data_prep.index.store import Index
from data_prep.sequence import PRESENT, Sequence
from data_prep.votsr.results import read_lines, read_written, write_result
from infer.config import InferSettings
from infer.engine.engine import Trajectory
from infer.runs.plan import DEFAULT_EXPRESSION, ResultFiles, RunPlan, TrackerSource
from infer.runs.summary import RunSummary, TrackOutcome
from infer.trackers.expressions import empty_track, expression_at, follow_expressions
from infer.trackers.requests import StartTrack

# The line of a frame in which the target is absent. No protocol takes a box without area for a place.
ABSENT_BOX = "0,0,0,0"
BOX_LINE = re.compile(r"0,0,0,0|-?\d+\.\d\d(,-?\d+\.\d\d){3}")  # a line as this module writes it
MASKS = "masks"
# `protocol=` of `python -m evaluation` by data set. Those that are not listed have no protocol of their own.
PROTOCOLS = {
    "tnllt": "tnllt",
    "lasot": "lasot",
    "lasotext": "lasot",
    "tnl2k": "tnl2k",
    "otb99": "otb",
    "got10k": "got10k",
}
DEFAULT_PROTOCOL = "pytracking"


class IndexedSequences(Sequences[Sequence]):
    """The sequences of an index. Each is made when it is looked up, so that memory holds one at a time."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    @overload
    def __getitem__(self, number: int) -> Sequence: ...

    @overload
    def __getitem__(self, number: slice) -> list[Sequence]: ...

    def __getitem__(self, number: int | slice) -> Sequence | list[Sequence]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self._index.sequence(number)


@dataclass(frozen=True)
class DataStore:
    """One track per sequence. Its files are `<folder>/<sequence>.txt` and `<folder>/masks/<sequence>.txt`."""

    folder: Path
    session: TrackerSource
    first_box: bool

    def expressions(self, sequence: Sequence) -> list[str]:
        """The expression that the track starts with; empty if the sequence has none.

        It is the first one that is valid at the first frame, else the first that is not empty.
        """
        # The name of the result file does not hold the expression, so it may change without a second file.
        first = expression_at(sequence, 0)
        return [first or next(filter(str.strip, sequence.expressions), "")]

    def asked_expressions(self, sequence: Sequence, expression: str) -> list[str]:
        """See `TrackStore`: where expressions change with time, all of them."""
        return [*sequence.expressions] if sequence.spans else [expression]

    def start(self, sequence: Sequence, expression: str) -> StartTrack:
        """See `TrackStore`: with changing expressions and the first box, where they are given."""
        # The same box as in `inputs` and `write`: a change of it makes the results outdated.
        box = true_box(sequence) if self.first_box else None
        if not expression and box is None:
            return partial(empty_track, expression)
        tracker = self.session.tracker
        if sequence.spans:
            tracker = follow_expressions(tracker, sequence)
        return partial(tracker, expression or DEFAULT_EXPRESSION, box_xyxy=box)

    def inputs(self, sequence: Sequence) -> object:
        """See `TrackStore`: the expressions, when they are valid, and the first box if it is used."""
        return sequence.expressions, sequence.spans, true_box(sequence) if self.first_box else None

    def num_absent(self, sequence: Sequence, expression: str) -> int | None:
        """See `TrackStore`. Both files must be complete."""
        files = self.files(sequence, expression)
        if not files.main.is_file():
            return None
        # An interrupted write leaves no file, but other programs may leave a part of one.
        try:
            lines = read_lines(files.main, len(sequence.frames))
            read_written(files.masks, len(sequence.frames))
            return lines.count(ABSENT_BOX) if all(map(BOX_LINE.fullmatch, lines)) else None
        except UserError:
            return None

    def files(self, sequence: Sequence, expression: str) -> ResultFiles:  # noqa: ARG002
        """See `TrackStore`."""
        path = inside(self.folder, f"{sequence.name}.txt")
        return ResultFiles(path, inside(self.folder / MASKS, path.name))

    def write(self, sequence: Sequence, expression: str, trajectory: Trajectory) -> None:
        """See `TrackStore`. Masks are written first: without them the file of boxes is not complete."""
        files = self.files(sequence, expression)
        write_result(files.masks, trajectory.masks, len(sequence.frames))
        lines = [ABSENT_BOX if box is None else _box_line(xyxy_to_xywh(box)) for box in trajectory.boxes_xyxy]
        if self.first_box and true_box(sequence) is not None:
            # Toolkits expect the first line to be the given box, unclipped.
            assert sequence.truth is not None
            lines[0] = _box_line(sequence.truth.boxes_xywh[0])
        write_whole(files.main, "".join(f"{line}\n" for line in lines))


def _box_line(box_xywh: Iterable[float]) -> str:
    return ",".join(f"{side:.2f}" for side in box_xywh)


def true_box(sequence: Sequence) -> Box | None:
    """The annotated box of the target in the first frame, clipped to it. None if it is absent there."""
    truth = sequence.truth
    if truth is None or not len(truth.present) or truth.present[0] != PRESENT:
        return None
    # Annotated boxes may reach beyond the frame. If nothing of the box is inside, there is nothing to track.
    x, y, width, height = map(float, truth.boxes_xywh[0])
    left, top, right, bottom = clamp(xywh_to_xyxy((x, y, width, height)), sequence.frames.size)
    return (left, top, right, bottom) if left < right and top < bottom else None


def data_plan(settings: InferSettings) -> RunPlan:
    """The run over a split of an indexed data set. Raises UserError if there is no such index."""
    assert settings.data is not None
    index = Index(index_path(Path(settings.indexes), settings.data, settings.split))
    folder = Path(settings.results) / f"{settings.data}-{settings.split}" / settings.tracker_id

    def open_store(session: TrackerSource) -> DataStore:
        return DataStore(folder, session, settings.first_box)

    def complete(summary: RunSummary) -> RunSummary:
        warnings = [*summary.warnings, *_without_expression(summary.outcomes, settings.first_box)]
        return dataclasses.replace(summary, warnings=warnings)

    return RunPlan(
        IndexedSequences(index),
        folder,
        open_store,
        identity={"first_box": settings.first_box},
        warnings=[f"not in the index: {left.name}: {left.reason}" for left in index.about.left_out],
        complete=complete,
        places={"boxes": folder, "masks": folder / MASKS},
        hints={"score it": evaluation_command(settings)},
    )


def _without_expression(outcomes: Iterable[TrackOutcome], first_box: bool) -> list[str]:
    """A warning about sequences without an expression, in which nothing could be tracked."""
    names = [outcome.sequence for outcome in outcomes if not outcome.expression and not outcome.failure]
    if not names or first_box:
        return []
    return [
        f"{counted(len(names), 'sequence')} without an expression, the first is {names[0]}; every frame is "
        "written as absent; first_box=true tracks the box of the first frame instead"
    ]


def evaluation_command(settings: InferSettings) -> str:
    """The `python -m evaluation …` that scores the results of these settings."""
    assert settings.data is not None
    keys = {
        "protocol": PROTOCOLS.get(settings.data, DEFAULT_PROTOCOL),
        "layout": "data",
        "data": settings.data,
        "split": settings.split,
        "indexes": Path(settings.indexes),
        "results": Path(settings.results),
    }
    return shlex.join(["python", "-m", "evaluation", *(f"{name}={value}" for name, value in keys.items())])
