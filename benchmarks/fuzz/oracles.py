"""Oracles: does a mutated file still mean the same, something else, or is it invalid?

They share no code with the commands. An oracle that read files with the same code would share its faults.
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
    """The meaning of a mutated file, compared with the file before."""

    SAME = "the same"  # results must be the same, or a problem must be reported
    OTHER = "another"  # a valid file with other content: results may differ
    WRONG = "wrong"  # an invalid file: results must be the same, or a problem must be reported


Oracle = Callable[[bytes, bytes | None], Meaning]
# A mask of VOT: `0` where the target is absent, or left, top, width and height of a window, and the lengths
# of runs in it, of background and target in turn.
MASK = re.compile(rb"0|m-?\d+(,-?\d+){4,}")
LIMIT = 1e6  # pixels, more than any frame has


def any_file(before: bytes, after: bytes | None) -> Meaning:
    """A file in a format without a way to tell valid content from invalid content."""
    return Meaning.SAME if before == after else Meaning.OTHER


def picture(before: bytes, after: bytes | None) -> Meaning:
    """A frame or a mask as an image. It must decode completely, with the same size."""
    pixels = None if after is None else _pixels(after)
    # The pixels are compared and not the bytes: metadata of an image may change without an effect.
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
    """The last frame of a folder. Nothing says how many frames there are, so it may be missing."""
    return Meaning.OTHER if after is None else picture(before, after)


def boxes(before: bytes, after: bytes | None) -> Meaning:
    """One box a line: the same number of lines, four finite numbers each, no negative width or height."""
    return _numbers(before, after, 4)


def flags(before: bytes, after: bytes | None) -> Meaning:
    """One flag a line, 0 or 1."""
    return _numbers(before, after, 1)


def _numbers(before: bytes, after: bytes | None, columns: int) -> Meaning:
    rows, old = None if after is None else _rows(after, columns), _rows(before, columns)
    assert old is not None
    # Readers allow blank lines at the end, CR LF, and other separators, so numbers are compared.
    if rows is None or len(rows) != len(old):
        return Meaning.WRONG
    if rows == old:
        return Meaning.SAME
    sound = all(_sound(row) for row in rows)
    return Meaning.OTHER if sound else Meaning.WRONG


def _sound(row: list[float]) -> bool:
    if not all(math.isfinite(number) and abs(number) < LIMIT for number in row):
        return False
    # A flag is 0 or 1. A box has no negative width or height; it may begin outside of the frame.
    return row[0] in (0, 1) if len(row) == 1 else min(row[2:]) >= 0


def _rows(content: bytes, columns: int) -> list[list[float]] | None:
    """The numbers of each line of a text. None if a line has another number of them."""
    try:
        # `utf-8-sig` drops a byte order mark.
        lines = content.decode("utf-8-sig").rstrip().split("\n")
        rows = [[float(word) for word in re.split(r"[,\s]+", line.strip())] for line in lines]
    except ValueError:
        return None
    return rows if all(len(row) == columns for row in rows) else None


def masks(before: bytes, after: bytes | None) -> Meaning:
    """One mask a line, whose run lengths fit its window."""
    lines, old = None if after is None else _lines(after), _lines(before)
    if lines is None or len(lines) != len(old) or not all(map(fits, lines)):
        return Meaning.WRONG
    return Meaning.SAME if lines == old else Meaning.OTHER


def _lines(content: bytes) -> list[bytes]:
    return [line.strip() for line in content.rstrip().split(b"\n")]


def fits(line: bytes) -> bool:
    """Whether a line is a mask in the format of VOT results."""
    if not MASK.fullmatch(line) or len(line) > 1_000_000:
        return False
    if line == b"0":
        return True
    numbers = line[1:].split(b",")
    if max(map(len, numbers)) > 20:  # Python converts no more than 4,300 digits
        return False
    _, _, width, height, *runs = map(int, numbers)
    # Run lengths may end early: the rest of the window is background.
    return min(width, height, *runs) >= 0 and sum(runs) <= width * height


def structure(before: bytes, after: bytes | None) -> Meaning:
    """A JSON file."""
    try:
        if after is None:
            return Meaning.WRONG
        return Meaning.SAME if _strict(after) == _strict(before) else Meaning.OTHER
    except (ValueError, RecursionError):
        return Meaning.WRONG


def _strict(content: bytes) -> Any:
    return json.loads(content.decode("utf-8-sig"))


def tensors(before: bytes, after: bytes | None) -> Meaning:
    """A safetensors file: the same names and shapes, all values finite floating-point numbers."""
    try:
        found = None if after is None else load(after)
    except (SafetensorError, ValueError, KeyError, TypeError):
        found = None
    old = load(before)
    if found is None or found.keys() != old.keys():
        return Meaning.WRONG
    if any(found[name].shape != old[name].shape or not _finite(found[name]) for name in old):
        return Meaning.WRONG
    # Another floating-point type with equal values means the same.
    equal = all(torch.equal(found[name].double(), old[name].double()) for name in old)
    return Meaning.SAME if equal else Meaning.OTHER


def _finite(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and bool(torch.isfinite(tensor).all())


def whole(before: bytes, after: bytes | None) -> Meaning:
    """A file with a checksum: every change can be detected."""
    return Meaning.SAME if before == after else Meaning.WRONG
