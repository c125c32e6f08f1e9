"""One line of a result or truth file: a mask, as the VOT toolkit writes and reads it.

`m<x0>,<y0>,<w>,<h>,<runs>` is a window of the frame, given by its top left corner and its size in pixels,
and the run lengths of its pixels, row by row, beginning with zeros. Any other line (`0`, a box) is not a
mask. In a truth file `decode_truth` also reads rectangles `x,y,width,height` and polygons
`x1,y1,x2,y2,x3,y3,...`.

The toolkit (0.9.0, `vot.region.shapes.Mask`) reads a window whose only pixels are in its first column as an
empty mask, so a mask one pixel wide would be lost if it were written tightly. `encode_mask` therefore begins
such a window one column earlier, where x0 may be -1, and `decode_mask` reads as the toolkit does.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from data_prep.geometry import Size

ABSENT = "0"
SHOWN = 40  # characters of a faulty line that a message shows
LARGEST_WINDOW = 2**30  # pixels; a line with a larger window is damaged
# A window is only decoded up to 16 times the pixels of the frame: a short line could otherwise fill the
# memory.
MOST_FRAMES = 16
SMALL_WINDOW = 2**24  # pixels of a window that is decoded for a frame of any size
FARTHEST = 2**30  # pixels; larger coordinates of a rectangle or polygon are a fault


@dataclass(frozen=True)
class Window:
    """The part of a mask that is not empty: its left and top in the frame, and its pixels, bool
    (height, width).
    """

    left: int
    top: int
    pixels: np.ndarray


class Runs(NamedTuple):
    """The numbers of a mask line: its window, and the lengths of its runs, int64 (count,)."""

    left: int
    top: int
    width: int
    height: int
    lengths: np.ndarray


EMPTY = Window(0, 0, np.zeros((0, 0), bool))


def encode_mask(mask: np.ndarray | None) -> str:
    """The line for a mask (height, width), in which the target is not zero; `0` where it is None or empty."""
    if mask is None:
        return ABSENT
    mask = mask.astype(bool, copy=False)
    columns = mask.shape[1]
    # 1. The runs of the whole frame. They are few, so everything else follows from them, and the pixels are
    #    read only once.
    begins, ends = _runs_of_ones(mask) if columns > 1 else _single_pixels(mask)
    if begins.size == 0:
        return ABSENT
    begin_rows, begin_columns = np.divmod(begins, columns)
    last_rows, last_columns = np.divmod(ends - 1, columns)
    # 2. The tight window. A run that goes on in the next row touches both sides of the frame.
    top, height = int(begin_rows[0]), int(last_rows[-1] + 1 - begin_rows[0])
    left, right = int(begin_columns.min()), int(last_columns.max()) + 1
    if (begin_rows != last_rows).any():
        left, right = 0, columns
    if right - left == 1:  # see the docstring of the module
        left -= 1
    width = right - left
    # 3. The runs in the window. If its rows are shorter than those of the frame, a run may follow the one
    #    before without a gap.
    begins = (begin_rows - top) * width + begin_columns - left
    ends = (last_rows - top) * width + last_columns - left + 1
    gaps = begins[1:] != ends[:-1]
    if not gaps.all():
        begins, ends = begins[np.insert(gaps, 0, True)], ends[np.append(gaps, True)]
    # 4. The lengths of zeros and ones in turn, without the zeros after the last run if there are none.
    lengths = np.empty(2 * begins.size + 1, np.int32)
    lengths[0] = begins[0]
    np.subtract(begins[1:], ends[:-1], out=lengths[2:-1:2])
    np.subtract(ends, begins, out=lengths[1::2])
    lengths[-1] = width * height - ends[-1]
    runs = _comma_separated(lengths if lengths[-1] else lengths[:-1])
    return f"m{left},{top},{width},{height},{runs}"


def _runs_of_ones(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the runs of true pixels begin, and where they end (exclusive), counted row by row; int32
    (runs,) each.
    """
    # 1. 64 pixels become the bits of an integer, the first of them its lowest bit, so the steps that follow
    #    touch less memory. There is at least one zero beyond the last pixel, so the last run ends.
    packed = np.packbits(pixels, bitorder="little")
    words = np.zeros(pixels.size // 64 + 1, "<u8")
    words.view(np.uint8)[: packed.size] = packed
    # 2. A bit is set where a pixel differs from the one before; the pixel before the first counts as zero.
    changed = words ^ (words << 1)
    changed[1:] ^= words[:-1] >> 63
    # 3. The indices of these pixels. Words and then bytes without a change are left out first. `flatnonzero`
    #    is several times as fast for bool as for integers.
    busy = np.flatnonzero(changed != 0).astype(np.int32)
    changed_bytes = changed[busy].view(np.uint8)
    nonzero = np.flatnonzero(changed_bytes != 0).astype(np.int32)
    bits = np.flatnonzero(np.unpackbits(changed_bytes[nonzero], bitorder="little").view(bool))
    # Bit 8 * i + j is bit j of the i-th of these bytes; byte 8 * i + j is byte j of the i-th of these words.
    first_pixels = (busy[nonzero >> 3] << 6) + ((nonzero & 7) << 3)
    bits = bits.astype(np.int32)
    edges = first_pixels[bits >> 3] + (bits & 7)
    return edges[::2], edges[1::2]


def _single_pixels(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each true pixel as a run. In a frame one pixel wide no run goes on in the next row, because the window
    is two pixels wide.
    """
    begins = np.flatnonzero(pixels).astype(np.int32)
    return begins, begins + 1


# The texts of the numbers below 1,000, each with its comma and filled up to 4 bytes with zeros, and of those
# below 10,000 with 8 bytes. They are read as integers, because numpy gathers these faster than texts. Most
# runs are short, and half of the bytes take half of the time.
_SHORT = np.array([f"{number}," for number in range(1_000)], "S4").view(np.uint32)
_LONG = np.array([f"{number}," for number in range(10_000)], "S8").view(np.uint64)
_AT_ONCE = 4096  # numbers; their texts fit into the fastest cache of a processor core


def _comma_separated(numbers: np.ndarray) -> str:
    """The non-negative integers (count,) as text: `3,0,12`.

    For masks with many runs, `",".join(map(str, numbers))` takes more than ten times as long.
    """
    parts = [_with_commas(numbers[begin : begin + _AT_ONCE]) for begin in range(0, numbers.size, _AT_ONCE)]
    return b"".join(parts)[:-1].decode("ascii")


def _with_commas(numbers: np.ndarray) -> bytes:
    """The non-negative integers (count,), each followed by a comma."""
    table = _SHORT if numbers.max() < _SHORT.size else _LONG
    texts, width = table.take(numbers, mode="clip").tobytes(), table.itemsize
    pieces, begin = [], 0
    # Numbers that the table does not have are written one by one. The zeros between them are deleted.
    large = np.flatnonzero(numbers >= table.size)
    for index, number in zip(large.tolist(), numbers[large].tolist(), strict=True):
        pieces += [texts[begin : width * index].translate(None, b"\0"), b"%d," % number]
        begin = width * (index + 1)
    pieces.append(texts[begin:].translate(None, b"\0"))
    return b"".join(pieces)


def encode_empty(size: Size) -> str:
    """The line of a truth file for a frame that is annotated as absent: an empty mask of the frame's size."""
    width, height = size
    return f"m0,0,{width},{height},{width * height}"


def decode_window(line: str, size: Size) -> Window | None:
    """The window that the toolkit reads from a line, for a frame of `size`; None where the line is not a
    mask.

    Pixels outside the frame are dropped. Raises ValueError where the line cannot be parsed, or its runs do
    not fit into its window (the toolkit would write beyond the end of its array).
    """
    runs = read_runs(line)
    if runs is None:
        return None
    left, top, width, height, lengths = runs
    if width * height > max(MOST_FRAMES * size[0] * size[1], SMALL_WINDOW):
        raise ValueError(f"a window of {width}x{height} is far larger than a frame of {size[0]}x{size[1]}")
    # Runs may end early: the rest of the window is empty.
    flat = np.zeros(width * height, bool)
    # Runs alternate and begin with zeros, so those at odd places are set.
    flat[: lengths.sum()] = np.repeat(np.arange(lengths.size) % 2 == 1, lengths)
    pixels = flat.reshape(height, width)
    # As the toolkit reads it: a mask in the first column alone is empty (see the docstring of the module).
    return EMPTY if not pixels[:, 1:].any() else _clipped(Window(left, top, pixels), size)


def read_runs(line: str) -> Runs | None:
    """The numbers of a line; None where it is not a mask. Raises ValueError as `decode_window` does."""
    if not line.startswith("m"):
        _check_numbers(line)
        return None
    try:
        # Python integers have no limit, so huge numbers are compared before any array is made.
        left, top, width, height, *lengths = map(int, line[1:].split(","))
    except ValueError:
        raise ValueError(f"{_shown(line)} is no mask: m, then left, top, width, height, runs") from None
    filled = sum(lengths)
    if min(width, height, *lengths, 0) < 0 or not filled <= width * height <= LARGEST_WINDOW:
        raise ValueError(f"runs of {filled} pixels do not fit a window of {width}x{height}")
    return Runs(left, top, width, height, np.array(lengths, np.int64))


def _check_numbers(line: str) -> list[float]:
    """The numbers of a line that is not a mask."""
    if not line:
        raise ValueError("the line is empty")
    try:
        numbers = [float(number) for number in line.split(",")]
    except ValueError:
        raise ValueError(f"{_shown(line)} is no region") from None
    if len(numbers) == 1 and not math.isfinite(numbers[0]):  # a code; the toolkit fails at this one
        raise ValueError(f"{_shown(line)} is no region")
    return numbers


def is_shape(line: str) -> bool:
    """Whether a line consists of several numbers: a rectangle or polygon, neither a mask nor a code."""
    return not line.startswith("m") and "," in line


def decode_truth(line: str, size: Size) -> np.ndarray | None:
    """The mask (height, width; bool) of a line of a truth file; None where the frame is not annotated.

    A rectangle or polygon is filled as by the toolkit's `vot.region`. NaN in it, or a code such as `0`,
    means a frame without annotation. Raises ValueError as `decode_window` does, and for numbers that are
    none of these.
    """
    if line.startswith("m"):
        return decode_mask(line, size)
    numbers = _check_numbers(line)
    if len(numbers) == 1 or any(map(math.isnan, numbers)):
        return None
    # A rectangle has four numbers; a polygon an even number of them, six or more.
    if len(numbers) < 4 or len(numbers) % 2 or not all(abs(number) < FARTHEST for number in numbers):
        raise ValueError(f"{_shown(line)} is no region: a mask, a rectangle x,y,width,height or a polygon")
    if len(numbers) == 4:
        if min(numbers[2:]) < 0:
            raise ValueError(f"{_shown(line)} is a rectangle with a negative side")
        return _filled_rectangle(np.array(numbers, np.float32), size)
    return _filled_polygon(np.array(numbers, np.float32).reshape(-1, 2), size)


def _filled_rectangle(box_xywh: np.ndarray, size: Size) -> np.ndarray:
    """The pixels of a rectangle, rounded down: x of 10.4 with a width of 5.5 is the columns 10 to 14."""
    mask = np.zeros((size[1], size[0]), bool)
    # In the precision of the toolkit: float32 for the corner, float64 for the far side.
    first, last = box_xywh[:2], (box_xywh[:2] + box_xywh[2:]).astype(np.float64) - 1
    if (first > np.subtract(size, 1)).any() or (last < 0).any():
        return mask
    (left, top), (right, bottom) = np.maximum(first, 0).astype(int), (last + 1).astype(int)
    mask[top:bottom, left:right] = True
    return mask


def _filled_polygon(points: np.ndarray, size: Size) -> np.ndarray:
    """The pixels of a polygon (corners, 2), by the toolkit's own function, because its rounding is
    unusual.
    """
    from vot.region.raster import rasterize_polygon  # here, since the import takes seconds

    filled: np.ndarray = rasterize_polygon(points, (0, 0, size[0] - 1, size[1] - 1))
    return filled.astype(bool)


def _shown(line: str) -> str:
    return repr(line if len(line) <= SHOWN else f"{line[:SHOWN]}…")


def _clipped(window: Window, size: Size) -> Window:
    """The part of a window inside a frame of `size`."""
    # Cut off what lies left of and above the frame, then what lies right of and below it.
    left, top = max(-window.left, 0), max(-window.top, 0)
    right, bottom = max(size[0] - window.left, left), max(size[1] - window.top, top)
    return Window(window.left + left, window.top + top, window.pixels[top:bottom, left:right])


def decode_mask(line: str, size: Size) -> np.ndarray | None:
    """The mask (height, width; bool) of a line for a frame of `size`; None where the line is not a mask.

    Raises ValueError as `decode_window` does.
    """
    window = decode_window(line, size)
    return None if window is None else whole(window, size)


def whole(window: Window, size: Size) -> np.ndarray:
    """The mask (height, width; bool) of a frame of `size` that contains a window."""
    mask = np.zeros((size[1], size[0]), bool)
    height, width = window.pixels.shape
    mask[window.top : window.top + height, window.left : window.left + width] = window.pixels
    return mask
