"""Tracking a split of a data set: boxes as the benchmarks' tools read them, and masks beside them."""

import dataclasses
import re
import shlex
from collections.abc import Iterable
from collections.abc import Sequence as Sequences
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from configs.errors import UserError
from configs.terminal import counted
from data_prep.files import inside, write_whole
from data_prep.geometry import Box, clamp, xywh_to_xyxy, xyxy_to_xywh
from data_prep.index.build import index_path
from data_prep.index.store import Index
from data_prep.sequence import PRESENT, Sequence
from data_prep.votsr.results import read_lines, read_written, write_result
from infer.config import InferSettings
from infer.engine.engine import TrackLines
from infer.engine.session import Session
from infer.runs.plan import UNNAMED, ResultFiles, RunPlan
from infer.runs.summary import RunSummary, TrackOutcome
from infer.trackers.expressions import empty_track, retold, words_at
from infer.trackers.requests import StartTrack

NO_BOX = "0,0,0,0"  # the target is absent: a box without area, which no protocol takes for a place
BOX = re.compile(r"0,0,0,0|-?\d+\.\d\d(,-?\d+\.\d\d){3}")  # a line as this module writes it
MASKS = "masks"
# by data set, `protocol=` of `python -m evaluation`; the others have no toolkit of their own there
PROTOCOLS = {
    "tnllt": "tnllt",
    "lasot": "lasot",
    "lasotext": "lasot",
    "tnl2k": "tnl2k",
    "otb99": "otb",
    "got10k": "got10k",
}
OTHERS = "pytracking"


class Indexed(Sequences[Sequence]):
    """The sequences of an index, each made when it is asked for."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, number: int) -> Sequence:  # type: ignore[override]  # no slices are asked for
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self._index.sequence(number)


@dataclass(frozen=True)
class DataStore:
    """One track a sequence: `<folder>/<sequence>.txt` holds x,y,width,height a frame, `masks/` its masks."""

    folder: Path
    session: Session
    first_box: bool

    def prompts(self, sequence: Sequence) -> list[str]:
        """The words that the track begins with; empty where the sequence has none."""
        first = words_at(sequence, 0)
        return [first or next(filter(str.strip, sequence.expressions), "")]

    def words(self, sequence: Sequence, prompt: str) -> list[str]:
        """See `TrackStore`: where words change with time, all of them."""
        return [*sequence.expressions] if sequence.spans else [prompt]

    def job(self, sequence: Sequence, prompt: str) -> tuple[str, StartTrack]:
        """Words that change as the sequence's do; the first frame's box where it is given and known."""
        box = true_box(sequence) if self.first_box else None
        if not prompt and box is None:
            return prompt, empty_track
        start = self.session.start_track
        if sequence.spans:
            start = retold(start, sequence)
        return prompt or UNNAMED, partial(start, box_xyxy=box)

    def given(self, sequence: Sequence) -> object:
        """See `TrackStore`: the words and when they hold, and the first box where it is told."""
        return sequence.expressions, sequence.spans, true_box(sequence) if self.first_box else None

    def absent(self, sequence: Sequence, prompt: str) -> int | None:
        """See `TrackStore`; boxes and masks must both be whole."""
        files = self.files(sequence, prompt)
        if not files.main.is_file():
            return None
        try:
            lines = read_lines(files.main, len(sequence.frames))
            read_written(files.masks, len(sequence.frames))
            return lines.count(NO_BOX) if all(map(BOX.fullmatch, lines)) else None
        except UserError:
            return None

    def files(self, sequence: Sequence, prompt: str) -> ResultFiles:  # noqa: ARG002
        """See `TrackStore`."""
        path = self._path(sequence)
        return ResultFiles(path, inside(self.folder / MASKS, path.name))

    def write(self, sequence: Sequence, prompt: str, track: TrackLines) -> None:
        """See `TrackStore`."""
        files = self.files(sequence, prompt)
        write_result(files.masks, track.masks, len(sequence.frames))
        lines = [_line(box) for box in track.boxes_xyxy]
        if self.first_box and true_box(sequence) is not None:  # toolkits expect the box as it was given
            assert sequence.truth is not None
            lines[0] = _of_sides(sequence.truth.boxes_xywh[0])
        write_whole(files.main, "".join(f"{line}\n" for line in lines))

    def _path(self, sequence: Sequence) -> Path:
        return inside(self.folder, f"{sequence.name}.txt")


def _line(box_xyxy: Box | None) -> str:
    return NO_BOX if box_xyxy is None else _of_sides(xyxy_to_xywh(box_xyxy))


def _of_sides(box_xywh: Iterable[float]) -> str:
    return ",".join(f"{side:.2f}" for side in box_xywh)


def true_box(sequence: Sequence) -> Box | None:
    """The target's box (xyxy) in the first frame, its part inside it; None where it is not shown there."""
    truth = sequence.truth
    if truth is None or not len(truth.present) or truth.present[0] != PRESENT:
        return None
    x, y, width, height = map(float, truth.boxes_xywh[0])
    left, top, right, bottom = clamp(xywh_to_xyxy((x, y, width, height)), sequence.frames.size)
    return (left, top, right, bottom) if left < right and top < bottom else None


def data_plan(settings: InferSettings) -> RunPlan:
    """A split of an indexed data set as a run. Raises UserError where there is no such index."""
    assert settings.data is not None
    index = Index(index_path(Path(settings.indexes), settings.data, settings.split))
    folder = Path(settings.results) / f"{settings.data}-{settings.split}" / settings.tracker_id

    def open_store(session: Session) -> DataStore:
        return DataStore(folder, session, settings.first_box)

    def complete(summary: RunSummary) -> RunSummary:
        warnings = [*summary.warnings, *_silent(summary.outcomes, settings.first_box)]
        return dataclasses.replace(summary, warnings=warnings)

    return RunPlan(
        Indexed(index),
        folder,
        open_store,
        identity={"first_box": settings.first_box},
        warnings=[f"not in the index: {left.name}: {left.reason}" for left in index.about.left_out],
        complete=complete,
        places={"boxes": folder, "masks": folder / MASKS},
        hints={"score it": score_line(settings)},
    )


def _silent(outcomes: Iterable[TrackOutcome], first_box: bool) -> list[str]:
    """A warning where sequences have no words, and so nothing was followed in them."""
    names = [outcome.sequence for outcome in outcomes if not outcome.prompt and not outcome.failure]
    if not names or first_box:
        return []
    told = f"{counted(len(names), 'sequence')} without words: absent throughout, the first is {names[0]}"
    return [f"{told}; first_box=true follows the box of their first frame"]


def score_line(settings: InferSettings) -> str:
    """`python -m evaluation …` for the data set, split, index and results of these settings."""
    assert settings.data is not None
    given = {
        "protocol": PROTOCOLS.get(settings.data, OTHERS),
        "layout": "data",
        "data": settings.data,
        "split": settings.split,
        "indexes": Path(settings.indexes),
        "results": Path(settings.results),
    }
    return shlex.join(["python", "-m", "evaluation", *(f"{name}={value}" for name, value in given.items())])
