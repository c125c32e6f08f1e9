"""The text files that lie beside a sequence's frames: boxes, flags and words, however they are separated."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np

from configs.errors import UserError
from data_prep.files import read_text
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
