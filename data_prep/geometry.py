"""Boxes and the sizes of images.

A box is a tuple of four floats. Its kind is part of its name everywhere:

- `box_xyxy`: left, top, right, bottom; right and bottom are exclusive, so `right - left` is the width;
- `box_xywh`: left, top, width, height.

Coordinates are pixels of the original frame, unless a name says `resized`. Pixel (0, 0) covers the area from
(0, 0) to (1, 1), so a box around that pixel alone is (0, 0, 1, 1) in both kinds.
"""

import math

import numpy as np

Box = tuple[float, float, float, float]
Size = tuple[int, int]  # width, height, as in PIL


def xywh_to_xyxy(box_xywh: Box) -> Box:
    """Left, top, width, height to left, top, right, bottom."""
    x, y, width, height = box_xywh
    return x, y, x + width, y + height


def xyxy_to_xywh(box_xyxy: Box) -> Box:
    """Left, top, right, bottom to left, top, width, height."""
    left, top, right, bottom = box_xyxy
    return left, top, right - left, bottom - top


def area(box_xyxy: Box) -> float:
    """Area in square pixels; 0 where right is left of left, or bottom above top."""
    left, top, right, bottom = box_xyxy
    return max(0.0, right - left) * max(0.0, bottom - top)


def center(box_xyxy: Box) -> tuple[float, float]:
    """The centre of a box, x and y."""
    left, top, right, bottom = box_xyxy
    return (left + right) / 2, (top + bottom) / 2


def iou(first_xyxy: Box, second_xyxy: Box) -> float:
    """Intersection over union of two boxes; 0 where both are empty."""
    # The overlap of two boxes has the larger of their left and top sides and the smaller of the others.
    overlap = (
        max(first_xyxy[0], second_xyxy[0]),
        max(first_xyxy[1], second_xyxy[1]),
        min(first_xyxy[2], second_xyxy[2]),
        min(first_xyxy[3], second_xyxy[3]),
    )
    shared = area(overlap)
    union = area(first_xyxy) + area(second_xyxy) - shared
    return shared / union if union > 0 else 0.0


def mask_iou(first: np.ndarray | None, second: np.ndarray | None) -> float:
    """Intersection over union of two masks, bool (height, width); None stands for an empty mask.

    0 where both are empty.
    """
    if first is None or second is None:
        return 0.0
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 0.0


def clamp(box_xyxy: Box, size: Size) -> Box:
    """The part of a box that lies inside an image of `size` (width, height); possibly of zero area."""
    width, height = size
    left, top, right, bottom = box_xyxy
    return (
        min(max(left, 0.0), float(width)),
        min(max(top, 0.0), float(height)),
        min(max(right, 0.0), float(width)),
        min(max(bottom, 0.0), float(height)),
    )


def round_box(box_xyxy: Box, size: Size) -> Box:
    """The part of a box inside a grid of `size` (width, height), in whole units and at least one unit wide
    and high.

    Corners are rounded. A side that would have no length becomes the unit that contains its middle, so no
    corner moves by more than one unit, and a box at the right or bottom edge gets the last unit. A box
    outside the grid gets the nearest unit; call `is_inside` first where that matters.
    """
    left, top, right, bottom = clamp(box_xyxy, size)
    (left, right), (top, bottom) = _round_side(left, right, size[0]), _round_side(top, bottom, size[1])
    return left, top, right, bottom


def _round_side(start: float, stop: float, length: int) -> tuple[float, float]:
    # The usual case: the rounded side has a length.
    if round(start) < round(stop):
        return float(round(start)), float(round(stop))
    # Otherwise take the unit around the middle; a side at the far end of the grid gets the last unit.
    unit = min(math.floor((start + stop) / 2), length - 1)
    return float(unit), float(unit + 1)


def is_inside(box_xyxy: Box, size: Size) -> bool:
    """Whether some of a box lies inside an image of `size` (width, height); false for an empty box."""
    return area(clamp(box_xyxy, size)) > 0


def rescale(box_xyxy: Box, from_size: Size, to_size: Size) -> Box:
    """The same place in the same image after it is resized from `from_size` to `to_size` (width, height)."""
    # Each axis by its own ratio, since resizing may change the shape of an image.
    x_ratio, y_ratio = to_size[0] / from_size[0], to_size[1] / from_size[1]
    left, top, right, bottom = box_xyxy
    return left * x_ratio, top * y_ratio, right * x_ratio, bottom * y_ratio


def enlarge(box_xyxy: Box, factor: float, size: Size | None = None) -> Box:
    """A box with `factor` times the sides and the same centre, clamped to an image of `size` if given."""
    x, y = center(box_xyxy)
    half_width = (box_xyxy[2] - box_xyxy[0]) * factor / 2
    half_height = (box_xyxy[3] - box_xyxy[1]) * factor / 2
    grown = (x - half_width, y - half_height, x + half_width, y + half_height)
    return grown if size is None else clamp(grown, size)


def jittered(rng: np.random.Generator, box_xyxy: Box, share: float) -> Box:
    """A box with every side moved by up to `share` of the box's length; it may reach beyond its image."""
    left, top, right, bottom = box_xyxy
    lengths = right - left, bottom - top
    # Left and right move by shares of the width, top and bottom by shares of the height.
    shift = rng.uniform(-share, share, 4) * (*lengths, *lengths)
    x0, y0, x1, y1 = (float(side + by) for side, by in zip(box_xyxy, shift, strict=True))
    return x0, y0, x1, y1


def box_of_mask(mask: np.ndarray) -> Box | None:
    """The tight box (xyxy) around the true pixels of a mask (height, width); None where there are none."""
    # Two passes over the mask: the rows with any pixel, then the columns.
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
