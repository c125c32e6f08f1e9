"""Results of trackers on mask data sets, as people have them, below `results/<tracker>`:

- layout `expressions`: `<video>/<expression id>/<frame>.png` for every sentence of a video, as
  Ref-YouTube-VOS and MeViS ask for them (https://github.com/henghuiding/MeViS): what is not zero is the
  target. Or `<video>/<expression id>.txt`, a mask line a frame as in VOTSr results;
- layout `data`: `masks/<sequence>.txt`, mask lines as `python -m infer data=…` writes them, one track for
  each target.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.errors import UserError
from configs.terminal import counted
from data_prep.files import inside, is_file
from data_prep.geometry import Size
from data_prep.readers.folders import picture_names
from data_prep.readers.masks import read_mask
from data_prep.readers.reader import Entry
from data_prep.votsr.regions import decode_mask, is_shape
from data_prep.votsr.results import read_lines

MODES = ("P", "L", "1")  # of PIL: any image of one channel
MEND = "track this sentence again"


@dataclass(frozen=True)
class Row:
    """What is scored by itself: its name, and where its results lie below the folder of a tracker."""

    name: str
    place: str


def rows_of(entry: Entry, layout: str) -> list[Row]:
    """The rows of a target: its sentences by number, or the target itself."""
    if layout == "data":
        return [Row(entry.name, f"masks/{entry.name}")]
    facts = entry.facts["metadata"]
    places = [f"{facts['video']}/{number}" for number in filter(None, facts["expressions"].split(","))]
    return [Row(place, place) for place in places]


def frame_names(entry: Entry) -> list[str]:
    """The names, without endings, of a target's frames. Raises UserError where their folder is missing."""
    listed: list[str] | None = entry.facts["frames"]
    return [Path(name).stem for name in picture_names(entry.folder)] if listed is None else listed


def lacks_of(root: Path, row: Row, names: list[str]) -> list[str]:
    """What of a tracker's result for a row is missing, a line; nothing where all of it is there.

    `root` is the tracker's folder, `names` are those of the frames.
    """
    folder = inside(root, row.place)
    lines = folder.with_name(f"{folder.name}.txt")
    if lines.is_file():
        count = len(read_lines(lines))
        return (
            [f"{lines}: {counted(count, 'line')} for {counted(len(names), 'frame')}"]
            if count < len(names)
            else []
        )
    if not folder.is_dir():
        return [f"{folder}: no such result, nor {lines.name}"]
    with os.scandir(folder) as found:
        there = {entry.name for entry in found if is_file(entry)}
    missing = [f"{name}.png" for name in names if f"{name}.png" not in there]
    told = f"{len(missing)} of {len(names)} masks missing, the first {missing[0]}" if missing else ""
    return [f"{folder}: {told}"] if missing else []


def masks_of(root: Path, row: Row, names: list[str], size: Size) -> Iterator[np.ndarray | None]:
    """A tracker's masks for a row, (height, width), not zero where the target is; None where one is missing.

    Raises UserError, naming file and line, where one cannot be read or is of another size than `size`.
    """
    folder = inside(root, row.place)
    lines = folder.with_name(f"{folder.name}.txt")
    if lines.is_file():
        yield from _of_lines(lines, len(names), size)
        return
    for name in names:
        path = folder / f"{name}.png"
        yield read_mask(path, size, MODES, MEND) if path.is_file() else None


def _of_lines(path: Path, count: int, size: Size) -> Iterator[np.ndarray | None]:
    """The masks of a text file; a code (`0`) is absence."""
    lines = read_lines(path)
    for at in range(count):
        if at >= len(lines):
            yield None
            continue
        try:
            if is_shape(lines[at]):
                raise ValueError("the line is a box or a polygon, not a mask")
            mask = decode_mask(lines[at], size)
        except ValueError as fault:
            raise UserError(f"{path}:{at + 1}: {fault}; {MEND}") from None
        yield np.zeros((size[1], size[0]), bool) if mask is None else mask
