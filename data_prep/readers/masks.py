"""Ground-truth masks: the truth that follows from them, mask files, and COCO's run-length encoding (RLE).

MeViS and SA-V store masks as RLE (https://github.com/cocodataset/cocoapi). A mask is `{"size": [height,
width], "counts": ...}`: the lengths of alternating runs of pixels, column by column, beginning with a run of
zeros. `counts` is a list of numbers or a string. In the string each number is a sequence of characters with
five bits each, the least significant first, offset by the character `0`. A sixth bit says that more
characters follow, and the fifth bit of the last character that the number is negative. From the fourth
number on, the difference to the number two places before is stored.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from configs.errors import UserError
from data_prep.files import check_regular
from data_prep.geometry import Size, box_of_mask, xyxy_to_xywh
from data_prep.sequence import ABSENT, PRESENT, UNKNOWN, Truth
from data_prep.video.images import UNREADABLE

REMEDY = "restore it from the data set"
NOWHERE = (np.nan,) * 4


def truth_of_masks(masks: Iterable[np.ndarray | None]) -> Truth:
    """The truth of masks (height, width), one for each frame: an empty one is absent, None is not annotated.

    The boxes are tight around the masks. Masks are taken one at a time, so an iterator of any length will do.
    """
    boxes, present = [], []
    for mask in masks:
        # No mask: not annotated. A mask without pixels: absent.
        box_xyxy = None if mask is None else box_of_mask(mask)
        boxes.append(NOWHERE if box_xyxy is None else xyxy_to_xywh(box_xyxy))
        present.append(UNKNOWN if mask is None else ABSENT if box_xyxy is None else PRESENT)
    return Truth(np.array(boxes, np.float32).reshape(-1, 4), np.array(present, np.int8))


def unknown(count: int) -> Truth:
    """The truth of `count` frames without annotation."""
    return truth_of_masks([None] * count)


def nowhere_note(truth: Truth, path: Path, target: str) -> tuple[str, ...]:
    """A note where a target has no pixel in any annotated frame. More often than not this is a fault."""
    seen = (truth.present == PRESENT).any() or not (truth.present == ABSENT).any()
    return () if seen else (f"{path}: {target} has no pixel in any frame; it is absent throughout",)


def read_mask(path: Path, size: Size, modes: tuple[str, ...] = ("P",), remedy: str = REMEDY) -> np.ndarray:
    """The values, uint8 (height, width), of a mask file of a frame of `size` (width, height).

    The values of palette images (`P`) are the indices, which are the ids of objects; the colours do not
    matter. A mask is read as it is stored, without its EXIF orientation, as the tools of these data sets do
    (with Pillow, or with IMREAD_UNCHANGED of OpenCV). Raises UserError, ending in `remedy`, where the file is
    missing or damaged, or not of these PIL modes, and where it is of another size.
    """
    try:
        check_regular(path)
        with Image.open(path) as image:
            mode, found, values = image.mode, image.size, np.array(image)
    except FileNotFoundError:
        raise UserError(f"{path}: mask is missing; {remedy}") from None
    except UNREADABLE as fault:
        reason = getattr(fault, "strerror", None) or fault
        raise UserError(f"{path}: mask cannot be read ({reason}); {remedy}") from None
    if mode not in modes:
        raise UserError(f"{path}: mask is a PNG of kind {mode} instead of {' or '.join(modes)}; {remedy}")
    if found != size:
        message = f"mask is {found[0]}x{found[1]}, but the frames are {size[0]}x{size[1]}"
        raise UserError(f"{path}: {message}; take frames and masks of one resolution")
    return values


def masks_of_id(folder: Path, names: Iterable[str], size: Size, number: int) -> Iterator[np.ndarray]:
    """The masks of object `number` in `<folder>/<name>.png`. Raises UserError as `read_mask` does."""
    for name in names:
        yield read_mask(folder / f"{name}.png", size) == number


LONGEST = 12  # characters of a number: 60 bits


def decode_rle(rle: Any, size: Size) -> np.ndarray:
    """The mask (height, width), bool, of a frame of `size` (width, height).

    Raises ValueError where `rle` is no such mask, is of another size, or its runs do not fill it.
    """
    try:
        # 1. Size and runs, from either form of `counts`.
        height, width = (int(side) for side in rle["size"])
        counts = rle["counts"]
        runs = unpack(counts) if isinstance(counts, str) else np.array(counts, np.int64)
    except (KeyError, TypeError, OverflowError):
        raise ValueError("there is no RLE mask with size and counts") from None
    if (width, height) != size:
        raise ValueError(f"the mask is {width}x{height}, but the frames are {size[0]}x{size[1]}")
    # 2. The runs must fill the mask exactly, or the file is damaged.
    filled = (runs >= 0).all() and (runs <= width * height).all() and runs.sum() == width * height
    if runs.ndim != 1 or not filled:
        raise ValueError(f"the runs do not fill a mask of {width}x{height}")
    # 3. Every second run is set. RLE goes down the columns, so the mask is transposed at the end.
    flat = np.repeat(np.arange(runs.size) % 2 == 1, runs)
    return flat.reshape(width, height).T


def unpack(text: str) -> np.ndarray:
    """The run lengths, int64 (count,), of a string of RLE. Raises ValueError where it is damaged."""
    # A character from "0" on holds six bits: five of a number, lowest first, and 32 where more characters
    # of the number follow (`rleToString` of COCO's API).
    bits = np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int64) - ord("0")
    if bits.size == 0:
        return bits
    # 1. Where the numbers begin: after each character without the bit that says that more follow.
    more = (bits & 32) > 0
    if (bits < 0).any() or (bits > 63).any() or more[-1]:
        raise ValueError("the packed runs are damaged")
    starts = np.flatnonzero(np.concatenate(([True], ~more[:-1])))
    lengths = np.diff(starts, append=bits.size)
    if lengths.max() > LONGEST:
        raise ValueError("the packed runs are damaged")
    # 2. Their values: five bits of each character, shifted to their place, and the sign.
    places = 5 * (np.arange(bits.size) - np.repeat(starts, lengths))
    numbers = np.add.reduceat((bits & 31) << places, starts)
    # Two's complement: the highest of the five bits of a number's last character is its sign.
    negative = (bits[starts + lengths - 1] & 16) > 0
    numbers -= np.where(negative, np.int64(1) << 5 * lengths, 0)
    # 3. Undo the differences, which are between numbers two places apart.
    numbers[1::2] = np.cumsum(numbers[1::2])
    # The first three numbers are stored as they are, so number 0 is not part of a sum.
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
