"""The text files that lie beside a sequence's frames: boxes, flags and words, however they are separated.

Flags that must be as many as the boxes they speak of.

Test splits that give the target's first box alone (GOT-10k, TrackingNet): the rest is on a server.

What an evaluation kit's folder `annos` says of sequences, where it lies in the root of its data set.
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
MEND = "restore it from the data set"
TIMED = re.compile(r"(\d+)[ \t]+(\S.*)")


def read_boxes(path: Path) -> np.ndarray:
    """Boxes of a file, a line each, float32 (frames, 4) as they stand there.

    Numbers may be separated by commas, semicolons, tabs or blanks, a line at a time. Raises UserError
    where the file is missing or empty or a line is not four numbers (NaN is one); blank lines at the end
    are none.
    """
    lines = read_text(path, MEND).rstrip().translate(SEPARATORS).splitlines()
    if not lines:
        raise UserError(f"{path}: holds no boxes; {MEND}")
    try:
        numbers = np.array(" ".join(lines).split(), np.float32)
        if numbers.size == 4 * len(lines):
            boxes = numbers.reshape(-1, 4)
            if all(len(line.split()) == 4 for line in lines):
                return boxes
    except ValueError:
        pass
    raise UserError(_faulty_line(path, lines))


def _faulty_line(path: Path, lines: list[str]) -> str:
    """What is wrong with the first line that is no box."""
    for number, line in enumerate(lines, start=1):
        parts = line.split()
        try:
            if len([float(part) for part in parts]) == 4:
                continue
        except ValueError:
            pass
        return f"{path}: line {number} is not four numbers ({line.strip()[:40]!r}); {MEND}"
    raise AssertionError("called for a file with a fault")


def read_flags(path: Path) -> np.ndarray:
    """Whole numbers of a file, int64 (count,): one a line, or all on one line with commas.

    Raises UserError where the file is missing or holds anything else.
    """
    parts = read_text(path, MEND).translate(SEPARATORS).split()
    try:
        flags = np.array(parts, np.float64)
    except ValueError:
        flags = np.array([np.nan])  # none, as those below
    if not (np.isfinite(flags) & (flags == np.rint(flags))).all():
        raise UserError(f"{path}: holds something else than flags; {MEND}")
    return flags.astype(np.int64)


def read_expressions(path: Path, frames: int) -> tuple[tuple[str, ...], tuple[Span, ...] | None]:
    """The words of a file and of which frames each is true; no words at all where the file is empty.

    A text is one expression, its lines joined. A file that begins with `0 <text>`, or whose every line is
    `<frame> <text>`, is one of `read_timed_expressions`. Raises UserError where the file is missing.
    """
    lines = [line.strip() for line in read_text(path, MEND).splitlines() if line.strip()]
    if lines and (lines[0].startswith("0 ") or (len(lines) > 1 and all(map(TIMED.fullmatch, lines)))):
        return read_timed_expressions(path, frames)
    text = " ".join(lines)
    return ((text,) if text else ()), None


def read_timed_expressions(path: Path, frames: int) -> tuple[tuple[str, ...], tuple[Span, ...]]:
    """The words of a file with a line `<frame> <text>` whenever they change, and of which frames they are.

    Each text is true from its frame (counted from 0) until that of the next one, and of none of the `frames`
    where it begins after the last. Raises UserError where the file is missing or a line is none of these.
    """
    pairs = []
    for number, line in enumerate(read_text(path, MEND).splitlines(), start=1):
        match = TIMED.fullmatch(line.strip())
        if match is not None:
            pairs.append((int(match[1]), match[2]))
        elif line.strip():
            raise UserError(f"{path}: line {number} is not `<frame> <text>` ({line.strip()[:40]!r}); {MEND}")
    pairs.sort()
    bounds = [min(start, frames) for start, _ in pairs] + [frames]
    return tuple(words for _, words in pairs), tuple(pairwise(bounds))


def truth_of(boxes_xywh: np.ndarray, visible: np.ndarray | None) -> Truth:
    """Boxes (F, 4) and flags (F,), true where the target is to be seen, as a truth.

    Without flags a target is there where its box is one. A frame that is flagged as showing the target
    but has no box for it is `UNKNOWN`.
    """
    is_box = np.isfinite(boxes_xywh).all(axis=1) & (boxes_xywh[:, 2:] > 0).all(axis=1)
    if visible is None:
        return Truth(boxes_xywh, np.where(is_box, PRESENT, ABSENT).astype(np.int8))
    shown = np.where(is_box, PRESENT, UNKNOWN)
    return Truth(boxes_xywh, np.where(visible.astype(bool), shown, ABSENT).astype(np.int8))


def flags_of(path: Path, boxes: np.ndarray) -> np.ndarray:
    """Whole numbers of a file, int64 (F,), one for each of the boxes (F, 4).

    Raises UserError where the file is missing, holds something else, or another count.
    """
    flags = read_flags(path)
    if len(flags) != len(boxes):
        told = f"{counted(len(flags), 'flag')} for {counted(len(boxes), 'box')}"
        raise UserError(f"{path}: {told}; restore it from the data set")
    return flags


def truth_of_test(
    folder: Path, names: list[str], boxes_xywh: np.ndarray
) -> tuple[list[str], Truth, tuple[str, ...]]:
    """The frames of a test sequence, its truth and notes, from the boxes (F, 4) of its file.

    One box is the first frame's; of all later frames nothing is known (NaN, `UNKNOWN`). More boxes are
    one a frame, as in the other splits, for who has the whole truth. Raises UserError where there are
    fewer frames than boxes.
    """
    if len(boxes_xywh) != 1:
        names, notes = fitted(folder, names, boxes_xywh)
        return names, truth_of(boxes_xywh, None), notes
    later = len(names) - 1
    first = truth_of(boxes_xywh, np.ones(1, bool))
    boxes = np.concatenate([first.boxes_xywh, np.full((later, 4), np.nan, np.float32)])
    present = np.concatenate([first.present, np.full(later, UNKNOWN, np.int8)])
    return names, Truth(boxes, present), ()


FOLDER = "annos"


def attributes(path: Path, codes: str) -> dict[str, str]:
    """The attributes of a sequence for its metadata, as the field's short codes; none without the file.

    `path` holds a flag for each of the `codes`, which stand in its order with blanks between them. Raises
    UserError where their counts differ.
    """
    if not path.exists():
        return {}
    flags, names = read_flags(path), codes.split()
    if len(flags) != len(names):
        raise UserError(
            f"{path}: {counted(len(flags), 'flag')} for {counted(len(names), 'attribute')}; restore it "
            "from the evaluation kit"
        )
    return {"attributes": " ".join(name for name, flag in zip(names, flags, strict=True) if flag)}
