"""What an edited file means beside what it meant: the same, something else, or something a check could catch.

Written without the code that is tested: a judge that read files as the commands do would share their faults.
"""

import json
import math
import re
from collections.abc import Callable
from enum import Enum
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load


class Meaning(Enum):
    """Of an edited file, beside the file before."""

    SAME = "the same"  # results are the same, or the edit is told of
    OTHER = "another"  # a valid input of its own: results may be anything valid
    WRONG = "wrong"  # a check can see it: results are the same, or the edit is told of


Judge = Callable[[bytes, bytes | None], Meaning]
MASK = re.compile(rb"0|m-?\d+(,-?\d+){4,}")
LIMIT = 1e6  # a side longer than any frame's


def any_file(before: bytes, after: bytes | None) -> Meaning:
    """A file of which nothing more can be said."""
    return Meaning.SAME if before == after else Meaning.OTHER


def picture(before: bytes, after: bytes | None) -> Meaning:
    """A frame or a mask: to be decoded whole, of the same size."""
    pixels = None if after is None else _pixels(after)
    old = _pixels(before)
    assert old is not None
    if pixels is None or pixels.shape != old.shape:
        return Meaning.WRONG
    return Meaning.SAME if np.array_equal(pixels, old) else Meaning.OTHER


def _pixels(content: bytes) -> np.ndarray | None:
    try:
        return np.asarray(Image.open(BytesIO(content)).convert("RGB"))
    except Exception:  # Pillow raises whatever a decoder does
        return None


def last_picture(before: bytes, after: bytes | None) -> Meaning:
    """The last frame of a folder, which nothing says should be there."""
    return Meaning.OTHER if after is None else picture(before, after)


def boxes(before: bytes, after: bytes | None) -> Meaning:
    """A box a line: as many lines of four numbers, finite, with sides that are not negative."""
    return _numbers(before, after, 4)


def flags(before: bytes, after: bytes | None) -> Meaning:
    """A 0 or 1 a line, or separated by commas."""
    return _numbers(before, after, 1)


def _numbers(before: bytes, after: bytes | None, columns: int) -> Meaning:
    rows, old = None if after is None else _rows(after, columns), _rows(before, columns)
    assert old is not None
    if rows is None or len(rows) != len(old):
        return Meaning.WRONG
    if rows == old:
        return Meaning.SAME
    sound = all(_sound(row) for row in rows)
    return Meaning.OTHER if sound else Meaning.WRONG


def _sound(row: list[float]) -> bool:
    if not all(math.isfinite(number) and abs(number) < LIMIT for number in row):
        return False
    return row[0] in (0, 1) if len(row) == 1 else min(row[2:]) >= 0


def _rows(content: bytes, columns: int) -> list[list[float]] | None:
    """The numbers of a text, line by line; None where a line does not hold as many."""
    try:
        lines = content.decode("utf-8-sig").rstrip().split("\n")
        rows = [[float(word) for word in re.split(r"[,\s]+", line.strip())] for line in lines]
    except ValueError:
        return None
    return rows if all(len(row) == columns for row in rows) else None


def masks(before: bytes, after: bytes | None) -> Meaning:
    """A mask a line, whose runs fit its window."""
    lines, old = None if after is None else _lines(after), _lines(before)
    if lines is None or len(lines) != len(old) or not all(map(fits, lines)):
        return Meaning.WRONG
    return Meaning.SAME if lines == old else Meaning.OTHER


def _lines(content: bytes) -> list[bytes]:
    return [line.strip() for line in content.rstrip().split(b"\n")]


def fits(line: bytes) -> bool:
    """Whether a line is a mask as results hold them."""
    if not MASK.fullmatch(line) or len(line) > 1_000_000:
        return False
    if line == b"0":
        return True
    numbers = line[1:].split(b",")
    if max(map(len, numbers)) > 20:  # Python converts no more than 4,300 digits
        return False
    _, _, width, height, *runs = map(int, numbers)
    return min(width, height, *runs) >= 0 and sum(runs) <= width * height


def structure(before: bytes, after: bytes | None) -> Meaning:
    """A JSON file: must be one."""
    try:
        if after is None:
            return Meaning.WRONG
        return Meaning.SAME if _strict(after) == _strict(before) else Meaning.OTHER
    except (ValueError, RecursionError):
        return Meaning.WRONG


def _strict(content: bytes) -> Any:
    return json.loads(content.decode("utf-8-sig"))


def tensors(before: bytes, after: bytes | None) -> Meaning:
    """Weights: as many of the same names and shapes, all finite."""
    try:
        found = None if after is None else load(after)
    except (SafetensorError, ValueError, KeyError, TypeError):
        found = None
    old = load(before)
    if found is None or found.keys() != old.keys():
        return Meaning.WRONG
    if any(found[name].shape != old[name].shape or not _finite(found[name]) for name in old):
        return Meaning.WRONG
    equal = all(torch.equal(found[name].double(), old[name].double()) for name in old)
    return Meaning.SAME if equal else Meaning.OTHER


def _finite(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and bool(torch.isfinite(tensor).all())


def whole(before: bytes, after: bytes | None) -> Meaning:
    """A file with a sum of its own: any change can be seen."""
    return Meaning.SAME if before == after else Meaning.WRONG
