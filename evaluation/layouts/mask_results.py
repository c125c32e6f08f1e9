"""Layouts of results on mask data sets, below `results/<tracker>`.

- Layout `expressions`: `<video>/<expression id>/<frame>.png` for every expression of a video, as
  Ref-YouTube-VOS and MeViS define it (https://github.com/henghuiding/MeViS). The target is where the image is
  not zero. Alternatively `<video>/<expression id>.txt`, with a mask on each line as in VOTSr results.
- Layout `data`: `masks/<sequence>.txt`, with a mask on each line, as `python -m infer data=…` writes them:
  one track for each target.
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
from data_prep.readers.folders import image_names
from data_prep.readers.masks import read_mask
from data_prep.readers.reader import Entry
from data_prep.votsr.regions import decode_mask, is_shape
from data_prep.votsr.results import read_lines

MODES = ("P", "L", "1")  # of PIL: any image of one channel
REMEDY = "track this sentence again"


@dataclass(frozen=True)
class Row:
    """What is scored by itself: its name, and the path of its result below the folder of a tracker."""

    name: str
    path: str


def rows_of(entry: Entry, layout: str) -> list[Row]:
    """The rows of a target: in layout `expressions` one for each expression, in `data` the target itself."""
    if layout == "data":
        return [Row(entry.name, f"masks/{entry.name}")]
    # The ids are stored as one text. Without expressions it is empty, and `split` gives one empty part.
    facts = entry.facts["metadata"]
    places = [f"{facts['video']}/{number}" for number in filter(None, facts["expressions"].split(","))]
    return [Row(path, path) for path in places]


def frame_names(entry: Entry) -> list[str]:
    """The names of a target's frames without suffix. Raises UserError where their folder is missing."""
    listed: list[str] | None = entry.facts["frames"]
    return [Path(name).stem for name in image_names(entry.folder)] if listed is None else listed


def missing_of(root: Path, row: Row, names: list[str]) -> list[str]:
    """What is missing of the result for a row, as at most one line of text.

    `root` is the folder of the tracker, `names` are the names of the frames.
    """
    folder = inside(root, row.path)
    lines = folder.with_name(f"{folder.name}.txt")
    # The text file wins over a folder of the same name.
    if lines.is_file():
        count = len(read_lines(lines))
        return (
            [f"{lines}: {counted(count, 'line')} for {counted(len(names), 'frame')}"]
            if count < len(names)
            else []
        )
    if not folder.is_dir():
        return [f"{folder}: no such result, nor {lines.name}"]
    # One listing of the folder is faster than a look-up of every file.
    with os.scandir(folder) as found:
        existing = {entry.name for entry in found if is_file(entry)}
    missing = [f"{name}.png" for name in names if f"{name}.png" not in existing]
    fault = f"{len(missing)} of {len(names)} masks missing, the first {missing[0]}" if missing else ""
    return [f"{folder}: {fault}"] if missing else []


def masks_of(root: Path, row: Row, names: list[str], size: Size) -> Iterator[np.ndarray | None]:
    """Yield the mask of each frame of a row, (height, width), not zero where the target is; None if missing.

    Raises UserError with file and line where a mask cannot be read or is not of `size` (width, height).
    """
    folder = inside(root, row.path)
    lines = folder.with_name(f"{folder.name}.txt")
    if lines.is_file():
        yield from _of_lines(lines, len(names), size)
        return
    for name in names:
        path = folder / f"{name}.png"
        yield read_mask(path, size, MODES, REMEDY) if path.is_file() else None


def _of_lines(path: Path, count: int, size: Size) -> Iterator[np.ndarray | None]:
    """Yield the masks of a text file; a code (`0`) is an empty mask."""
    lines = read_lines(path)
    for at in range(count):
        # Missing lines are None and not absence: they score 0 also where the target is absent.
        if at >= len(lines):
            yield None
            continue
        try:
            # The toolkit reads a box or a polygon as an empty mask. Here it would count as absence unnoticed.
            if is_shape(lines[at]):
                raise ValueError("the line is a box or a polygon, not a mask")
            mask = decode_mask(lines[at], size)
        except ValueError as fault:
            raise UserError(f"{path}:{at + 1}: {fault}; {REMEDY}") from None
        yield np.zeros((size[1], size[0]), bool) if mask is None else mask
