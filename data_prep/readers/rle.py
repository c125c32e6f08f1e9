"""COCO's run lengths (RLE), the form in which MeViS and SA-V keep masks (https://github.com/cocodataset/cocoapi).

A mask is `{"size": [height, width], "counts": …}`: the lengths of alternating runs of pixels, column by
column, zeros first. `counts` is a list of numbers, or the text that packs them: a number is a chain of
characters of five bits each, least first, from `0` on, where a sixth bit says that more follow and the last
one's fifth bit that it is negative. From the fourth number on, the difference to the last but one is packed.
"""

from typing import Any

import numpy as np

from data_prep.geometry import Size

LONGEST = 12  # characters a number: 60 bits


def decode_rle(rle: Any, size: Size) -> np.ndarray:
    """The mask (height, width), bool, of a frame of `size` (width, height).

    Raises ValueError where `rle` is no such mask, is of another size, or its runs do not fill it.
    """
    try:
        height, width = (int(side) for side in rle["size"])
        counts = rle["counts"]
        runs = unpack(counts) if isinstance(counts, str) else np.array(counts, np.int64)
    except (KeyError, TypeError, OverflowError):
        raise ValueError("there is no RLE mask with size and counts") from None
    if (width, height) != size:
        raise ValueError(f"the mask is {width}x{height}, but the frames are {size[0]}x{size[1]}")
    filled = (runs >= 0).all() and (runs <= width * height).all() and runs.sum() == width * height
    if runs.ndim != 1 or not filled:
        raise ValueError(f"the runs do not fill a mask of {width}x{height}")
    flat = np.repeat(np.arange(runs.size) % 2 == 1, runs)
    return flat.reshape(width, height).T


def unpack(text: str) -> np.ndarray:
    """The run lengths, int64 (count,), of a packed text. Raises ValueError where it is not one."""
    bits = np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int64) - ord("0")
    if bits.size == 0:
        return bits
    more = (bits & 32) > 0
    if (bits < 0).any() or (bits > 63).any() or more[-1]:
        raise ValueError("the packed runs are damaged")
    starts = np.flatnonzero(np.concatenate(([True], ~more[:-1])))
    lengths = np.diff(starts, append=bits.size)
    if lengths.max() > LONGEST:
        raise ValueError("the packed runs are damaged")
    places = 5 * (np.arange(bits.size) - np.repeat(starts, lengths))
    numbers = np.add.reduceat((bits & 31) << places, starts)
    negative = (bits[starts + lengths - 1] & 16) > 0
    numbers -= np.where(negative, np.int64(1) << 5 * lengths, 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
