"""Overlaps of boxes and distances of their centres.

Two conventions of pixels are in use. With *inclusive* coordinates (`right = x + w - 1`), as in OTB's toolkit
and its successors, a box covers the pixels from x to right. With *exclusive* ones (`right = x + w`), as in
GOT-10k's toolkit, a box is an area of the plane. Overlaps and distances are the same numbers in both, but
they are rounded differently. Each protocol computes as its toolkit does, so that the results agree to the
last bit.
"""

from dataclasses import dataclass

import numpy as np

TINY = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class InclusiveBoxes:
    """N boxes (4, N) with the numbers that several measures need, float64 (N,).

    `right` and `bottom` are the last pixels of a box, `center_x` and `center_y` its centre.
    """

    boxes_xywh: np.ndarray
    left: np.ndarray
    top: np.ndarray
    width: np.ndarray
    height: np.ndarray
    right: np.ndarray
    bottom: np.ndarray
    area: np.ndarray
    center_x: np.ndarray
    center_y: np.ndarray

    @staticmethod
    def of(boxes_xywh: np.ndarray) -> "InclusiveBoxes":
        """From boxes (4, N)."""
        x, y, width, height = boxes_xywh
        # Sums in the order of the toolkits: floating-point addition rounds differently in another order.
        last_x, last_y = width - 1, height - 1
        right, bottom = x + width - 1, y + height - 1
        center_x, center_y = x + last_x / 2, y + last_y / 2
        area = width * height
        return InclusiveBoxes(boxes_xywh, x, y, width, height, right, bottom, area, center_x, center_y)


def inclusive_overlap(boxes: InclusiveBoxes, truth: InclusiveBoxes) -> np.ndarray:
    """Intersection over union of each pair of boxes, float64 (N,).

    It equals `calc_rect_int.m` of the LaSOT toolkit (https://github.com/HengLan/LaSOT_Evaluation_Toolkit) to
    the last bit. MATLAB's `min` and `max` of a NaN and a number are the number, as NumPy's `fmin` and `fmax`.
    """
    shared = _shared_side(boxes.left, boxes.right, truth.left, truth.right)
    shared *= _shared_side(boxes.top, boxes.bottom, truth.top, truth.bottom)
    # In place: this is the innermost loop of all box protocols, and new arrays cost more than the arithmetic.
    union = boxes.area + truth.area
    union -= shared
    # Two boxes without area give 0/0, NaN, which is above no threshold.
    return np.divide(shared, union, out=shared)


def _shared_side(
    first: np.ndarray, last: np.ndarray, true_first: np.ndarray, true_last: np.ndarray
) -> np.ndarray:
    """The number of pixels that two intervals have in common, float64 (N,); both ends are inclusive."""
    shared = np.fmin(last, true_last)
    shared -= np.fmax(first, true_first)
    shared += 1
    return np.fmax(shared, 0, out=shared)


def centre_error(boxes: InclusiveBoxes, truth: InclusiveBoxes) -> np.ndarray:
    """The distance of the centres of each pair of boxes in pixels, float64 (N,)."""
    return _length(boxes.center_x - truth.center_x, boxes.center_y - truth.center_y)


def _length(across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """The length of N vectors, float64 (N,). The given arrays are overwritten."""
    across *= across
    down *= down
    across += down
    return np.sqrt(across, out=across)


def normalised_error(boxes: InclusiveBoxes, truth: InclusiveBoxes) -> np.ndarray:
    """The distance of the centres in widths and heights of the true box, float64 (N,).

    TrackingNet (arXiv 1803.10794) introduced it. Both centres are divided before they are subtracted, as the
    toolkits do: dividing the difference would round differently.
    """
    across, down = boxes.center_x / truth.width, boxes.center_y / truth.height
    across -= truth.center_x / truth.width
    down -= truth.center_y / truth.height
    return _length(across, down)


def exclusive_overlap(
    boxes_xywh: np.ndarray, truth_xywh: np.ndarray, sizes: np.ndarray | None = None
) -> np.ndarray:
    """Intersection over union of each pair of boxes (4, N) and (4, N), float64 (N,), with exclusive
    coordinates.

    It is `rect_iou` of https://github.com/got-10k/toolkit. With `sizes` (2, N), width and height of the
    frames, both boxes are cropped to the frame first. The result is NaN where a box has a NaN.
    """
    if sizes is not None:
        boxes_xywh, truth_xywh = _cut(boxes_xywh, sizes), _cut(truth_xywh, sizes)
    # Both axes at once, (2, N). Unlike `fmin` above, `minimum` and `maximum` keep NaN.
    ends, true_ends = boxes_xywh[:2] + boxes_xywh[2:], truth_xywh[:2] + truth_xywh[2:]
    sides = np.minimum(ends, true_ends) - np.maximum(boxes_xywh[:2], truth_xywh[:2])
    shared = np.maximum(sides, 0).prod(axis=0)
    # TINY avoids 0/0 for two empty boxes, as in the toolkit.
    union = boxes_xywh[2:].prod(axis=0) + truth_xywh[2:].prod(axis=0) - shared
    return np.clip(shared / (union + TINY), 0.0, 1.0)


def _cut(boxes_xywh: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Boxes cropped to their frames: first the corner is moved inside, then width and height are limited.

    As in the toolkit, the sides are not shortened by as much as the corner was moved.
    """
    corner = np.clip(boxes_xywh[:2], 0, sizes)
    return np.concatenate([corner, np.clip(boxes_xywh[2:], 0, sizes - corner)])
