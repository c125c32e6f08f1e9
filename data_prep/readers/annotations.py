"""The text files beside a sequence's frames: boxes, flags of presence, expressions, attributes.

Data sets separate numbers by commas, semicolons, tabs or blanks, some of them differently from line to line,
so all separators are accepted everywhere. Numbers are returned as they are in the files: whether pixels are
counted from 0 or 1 is documented in the module of each data set.
"""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np

from configs.errors import UserError
from configs.terminal import counted
from data_prep.files import read_text
from data_prep.readers.folders import fitted
from data_prep.sequence import ABSENT, PRESENT, UNKNOWN, Span, Truth

SEPARATORS = str.maketrans(",;\t", "   ")
REMEDY = "restore it from the data set"
FLAGS = (0, 1)
TIMED = re.compile(r"(\d+)[ \t]+(\S.*)")


def read_boxes(path: Path) -> np.ndarray:
    """The boxes of a file, one on each line, float32 (frames, 4), with the numbers of the file.

    Blank lines at the end are ignored. Raises UserError where the file is missing or empty, or a line is not
    four numbers (NaN counts as a number, infinity does not).
    """
    # All separators become blanks, since some data sets mix them even within a file.
    lines = read_text(path, REMEDY).rstrip().translate(SEPARATORS).splitlines()
    if not lines:
        raise UserError(f"{path}: holds no boxes; {REMEDY}")
    # The common case first: all lines are converted at once. Only a file with a fault is searched line by
    # line.
    try:
        numbers = np.array(" ".join(lines).split(), np.float32)
        if numbers.size == 4 * len(lines):
            boxes = numbers.reshape(-1, 4)
            if all(len(line.split()) == 4 for line in lines) and not np.isinf(boxes).any():
                return boxes
    except ValueError:
        pass
    raise UserError(_faulty_line(path, lines))


def _faulty_line(path: Path, lines: list[str]) -> str:
    """The message about the first line that is not a box."""
    # Only called where some line is at fault.
    for number, line in enumerate(lines, start=1):
        parts = line.split()
        try:
            if len(parts) == 4 and not np.isinf(np.array(parts, np.float32)).any():
                continue
        except ValueError:
            pass
        return f"{path}: line {number} is not four numbers ({line.strip()[:40]!r}); {REMEDY}"
    raise AssertionError("called for a file with a fault")


def read_flags(path: Path, largest: int = 1) -> np.ndarray:
    """The whole numbers from 0 to `largest` of a file, int64 (count,): one on each line, or all on one line.

    Raises UserError where the file is missing, contains anything else, or has a blank line before the last
    flag: without it, the flags behind it would belong to other frames.
    """
    lines = read_text(path, REMEDY).rstrip().translate(SEPARATORS).splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise UserError(f"{path}: line {number} is blank; {REMEDY}")
    parts = " ".join(lines).split()
    try:
        # Some data sets write flags as 1.0 and 0.0.
        flags = np.array(parts, np.float64)
    except ValueError:
        flags = np.array([np.nan])  # refused below
    if not np.isin(flags, range(largest + 1)).all():
        raise UserError(f"{path}: contains something other than flags from 0 to {largest}; {REMEDY}")
    return flags.astype(np.int64)


def read_expressions(path: Path, frames: int) -> tuple[tuple[str, ...], tuple[Span, ...] | None]:
    """The expressions of a file, and the frames of which each is true (None: of all). An empty file has none.

    Usually the lines of the file are joined to one expression. A file that begins with `0 <text>`, or in
    which every line is `<frame> <text>`, is read by `read_timed_expressions` instead. Raises UserError where
    the file is missing.
    """
    # A single expression may be broken into several lines, and may begin with a number ("2 dogs").
    lines = [line.strip() for line in read_text(path, REMEDY).splitlines() if line.strip()]
    if lines and (lines[0].startswith("0 ") or (len(lines) > 1 and all(map(TIMED.fullmatch, lines)))):
        return read_timed_expressions(path, frames)
    text = " ".join(lines)
    return ((text,) if text else ()), None


def read_timed_expressions(path: Path, frames: int) -> tuple[tuple[str, ...], tuple[Span, ...]]:
    """The expressions of a file with a line `<frame> <text>` for each change, and their frames.

    An expression is true from its frame (counted from 0) until the frame of the next one. One that begins
    after the last of the `frames` frames is true of none. Raises UserError where the file is missing or a
    line has another form.
    """
    pairs = []
    for number, line in enumerate(read_text(path, REMEDY).splitlines(), start=1):
        match = TIMED.fullmatch(line.strip())
        if match is not None:
            pairs.append((int(match[1]), match[2]))
        elif line.strip():
            raise UserError(
                f"{path}: line {number} is not `<frame> <text>` ({line.strip()[:40]!r}); {REMEDY}"
            )
    # Lines need not be in order. Each expression ends where the next one begins, the last one with the video.
    pairs.sort()
    bounds = [min(start, frames) for start, _ in pairs] + [frames]
    return tuple(text for _, text in pairs), tuple(pairwise(bounds))


def truth_of(boxes_xywh: np.ndarray, visible: np.ndarray | None) -> Truth:
    """The truth of boxes (F, 4) and flags (F,), which are true where the target is visible.

    Without flags the target is present where its box has an area. A frame that is flagged as visible but has
    no box is `UNKNOWN`.
    """
    # A box of zeros, or with NaN, is how many data sets write that the target is absent.
    is_box = np.isfinite(boxes_xywh).all(axis=1) & (boxes_xywh[:, 2:] > 0).all(axis=1)
    if visible is None:
        return Truth(boxes_xywh, np.where(is_box, PRESENT, ABSENT).astype(np.int8))
    shown = np.where(is_box, PRESENT, UNKNOWN)
    return Truth(boxes_xywh, np.where(visible.astype(bool), shown, ABSENT).astype(np.int8))


def flags_of(path: Path, boxes: np.ndarray, largest: int = 1) -> np.ndarray:
    """The flags of a file, int64 (F,), one for each of the boxes (F, 4), from 0 to `largest`.

    Raises UserError where the file is missing, contains anything else, or another number of flags.
    """
    flags = read_flags(path, largest)
    if len(flags) != len(boxes):
        message = f"{counted(len(flags), 'flag')} for {counted(len(boxes), 'box')}"
        raise UserError(f"{path}: {message}; restore it from the data set")
    return flags


def truth_of_test(
    folder: Path, names: list[str], boxes_xywh: np.ndarray
) -> tuple[list[str], Truth, tuple[str, ...]]:
    """The frames of a test sequence, its truth and notes, from the boxes (F, 4) of its file.

    GOT-10k and TrackingNet publish only the first box of their test sequences; the rest is on a server. A
    single box is that of the first frame, and all later frames are unknown (NaN, `UNKNOWN`). Several boxes
    are one for each frame, for users who have the complete ground truth. Raises UserError where there are
    fewer frames than boxes.
    """
    # The complete ground truth, as the organisers of the benchmarks have it.
    if len(boxes_xywh) != 1:
        names, notes = fitted(folder, names, boxes_xywh)
        return names, truth_of(boxes_xywh, None), notes
    # Only the first frame is annotated, and the target is visible in it.
    later = len(names) - 1
    first = truth_of(boxes_xywh, np.ones(1, bool))
    boxes = np.concatenate([first.boxes_xywh, np.full((later, 4), np.nan, np.float32)])
    present = np.concatenate([first.present, np.full(later, UNKNOWN, np.int8)])
    return names, Truth(boxes, present), ()


FOLDER = "annos"


def attributes(path: Path, codes: str) -> dict[str, str]:
    """The attributes of a sequence for its metadata, as short codes such as `OV`; empty without the file.

    The file `path`, from an evaluation kit, holds a flag for each of the `codes`, a text of codes separated
    by blanks in the order of the flags. Raises UserError where their numbers differ.
    """
    if not path.exists():
        return {}
    # The codes are in the order of the flags in the file.
    flags, names = read_flags(path), codes.split()
    if len(flags) != len(names):
        raise UserError(
            f"{path}: {counted(len(flags), 'flag')} for {counted(len(names), 'attribute')}; restore it "
            "from the evaluation kit"
        )
    return {"attributes": " ".join(name for name, flag in zip(names, flags, strict=True) if flag)}
