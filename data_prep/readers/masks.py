"""A truth from masks: what is said of a target frame by frame, as the boxes of its pixels."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from configs.errors import UserError
from data_prep.files import check_regular
from data_prep.geometry import Size, box_of_mask, xyxy_to_xywh
from data_prep.images import UNREADABLE
from data_prep.sequence import ABSENT, PRESENT, UNKNOWN, Truth

MEND = "restore it from the data set"
NOWHERE = (np.nan,) * 4


def truth_of_masks(masks: Iterable[np.ndarray | None]) -> Truth:
    """The truth of masks (height, width), one a frame: empty is absent, None is not annotated.

    A box is as wide as its mask, from the first column to the last; they are taken one at a time.
    """
    boxes, present = [], []
    for mask in masks:
        box_xyxy = None if mask is None else box_of_mask(mask)
        boxes.append(NOWHERE if box_xyxy is None else xyxy_to_xywh(box_xyxy))
        present.append(UNKNOWN if mask is None else ABSENT if box_xyxy is None else PRESENT)
    return Truth(np.array(boxes, np.float32).reshape(-1, 4), np.array(present, np.int8))


def unknown(count: int) -> Truth:
    """The truth of `count` frames of which nobody says anything."""
    return truth_of_masks([None] * count)


def nowhere_note(truth: Truth, path: Path, target: str) -> tuple[str, ...]:
    """A note where a target has no pixel in any annotated frame, which is more often a fault than meant."""
    seen = (truth.present == PRESENT).any() or not (truth.present == ABSENT).any()
    return () if seen else (f"{path}: {target} has no pixel in any frame; it is absent throughout",)


def read_mask(path: Path, size: Size, modes: tuple[str, ...] = ("P",), mend: str = MEND) -> np.ndarray:
    """The values, uint8 (height, width), of a mask file of a frame of `size` (width, height).

    Palette images (`P`) give the indices, which are the ids of objects; their colours mean nothing. A mask
    is read as it is stored, whatever its EXIF: so do the tools of these data sets, with Pillow, and OpenCV
    with IMREAD_UNCHANGED. Raises UserError, which ends in `mend`, where the file is missing or damaged, or
    not of these PIL modes, and where it is of another size.
    """
    try:
        check_regular(path)
        with Image.open(path) as image:
            mode, found, values = image.mode, image.size, np.array(image)
    except FileNotFoundError:
        raise UserError(f"{path}: mask is missing; {mend}") from None
    except UNREADABLE as fault:
        reason = getattr(fault, "strerror", None) or fault
        raise UserError(f"{path}: mask cannot be read ({reason}); {mend}") from None
    if mode not in modes:
        raise UserError(f"{path}: mask is a PNG of kind {mode} instead of {' or '.join(modes)}; {mend}")
    if found != size:
        told = f"mask is {found[0]}x{found[1]}, but the frames are {size[0]}x{size[1]}"
        raise UserError(f"{path}: {told}; take frames and masks of one resolution")
    return values


def masks_of_id(folder: Path, names: Iterable[str], size: Size, number: int) -> Iterator[np.ndarray]:
    """The masks of object `number` in `<folder>/<name>.png`. Raises UserError as `read_mask` does."""
    for name in names:
        yield read_mask(folder / f"{name}.png", size) == number
