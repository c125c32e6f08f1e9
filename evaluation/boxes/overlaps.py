"""How well two boxes agree: their overlap, and how far apart their centres are.

Two ways of counting pixels are in use. Where right and bottom are *inclusive* (`right = x + w - 1`), as in
the OTB toolkit and all that came from it, two boxes that share an edge line overlap by one pixel's width;
where they are exclusive (`right = x + w`), as in GOT-10k's, they do not.
"""

from dataclasses import dataclass

import numpy as np

TINY = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Inclusive:
    """N boxes, (4, N), with what is counted from them again and again, float64 (N,): the last pixels, the
    area, the centre.
    """

    boxes_xywh: np.ndarray
    left: np.ndarray
    top: np.ndarray
    width: np.ndarray
    height: np.ndarray
    right: np.ndarray
    bottom: np.ndarray
    area: np.ndarray
    middle_x: np.ndarray
    middle_y: np.ndarray

    @staticmethod
    def of(boxes_xywh: np.ndarray) -> "Inclusive":
        """From boxes (4, N)."""
        x, y, width, height = boxes_xywh
        last_x, last_y = width - 1, height - 1
        right, bottom = x + width - 1, y + height - 1
        middle_x, middle_y = x + last_x / 2, y + last_y / 2
        area = width * height
        return Inclusive(boxes_xywh, x, y, width, height, right, bottom, area, middle_x, middle_y)


def inclusive_overlap(boxes: Inclusive, truth: Inclusive) -> np.ndarray:
    """Intersection over union of each pair, float64 (N,).

    As `calc_rect_int.m` of the LaSOT toolkit counts it, MATLAB's `min` and `max` included: of a NaN and a
    number they take the number. https://github.com/HengLan/LaSOT_Evaluation_Toolkit
    """
    shared = _shared_side(boxes.left, boxes.right, truth.left, truth.right)
    shared *= _shared_side(boxes.top, boxes.bottom, truth.top, truth.bottom)
    union = boxes.area + truth.area
    union -= shared
    return np.divide(shared, union, out=shared)


def _shared_side(
    first: np.ndarray, last: np.ndarray, true_first: np.ndarray, true_last: np.ndarray
) -> np.ndarray:
    """How many pixels two stretches share, float64 (N,)."""
    shared = np.fmin(last, true_last)
    shared -= np.fmax(first, true_first)
    shared += 1
    return np.fmax(shared, 0, out=shared)


def centre_error(boxes: Inclusive, truth: Inclusive) -> np.ndarray:
    """Distance of the centres in pixels, float64 (N,)."""
    return _length(boxes.middle_x - truth.middle_x, boxes.middle_y - truth.middle_y)


def _length(across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Of vectors, float64 (N,); the arrays given are used up."""
    across *= across
    down *= down
    across += down
    return np.sqrt(across, out=across)


def normalised_error(boxes: Inclusive, truth: Inclusive) -> np.ndarray:
    """The same with each side measured in widths and heights of the true box.

    Either centre is divided before they are subtracted, as the toolkits do: it rounds otherwise than the
    difference divided.
    """
    across, down = boxes.middle_x / truth.width, boxes.middle_y / truth.height
    across -= truth.middle_x / truth.width
    down -= truth.middle_y / truth.height
    return _length(across, down)


def exclusive_overlap(
    boxes_xywh: np.ndarray, truth_xywh: np.ndarray, sizes: np.ndarray | None = None
) -> np.ndarray:
    """Intersection over union of each pair of (4, N) and (4, N), float64 (N,), as GOT-10k's `rect_iou`.

    `sizes` (2, N), width and height of each frame: both boxes are first cut at its border. NaN where a box
    has one. https://github.com/got-10k/toolkit
    """
    if sizes is not None:
        boxes_xywh, truth_xywh = _cut(boxes_xywh, sizes), _cut(truth_xywh, sizes)
    ends, true_ends = boxes_xywh[:2] + boxes_xywh[2:], truth_xywh[:2] + truth_xywh[2:]
    sides = np.minimum(ends, true_ends) - np.maximum(boxes_xywh[:2], truth_xywh[:2])
    shared = np.maximum(sides, 0).prod(axis=0)
    union = boxes_xywh[2:].prod(axis=0) + truth_xywh[2:].prod(axis=0) - shared
    return np.clip(shared / (union + TINY), 0.0, 1.0)


def _cut(boxes_xywh: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The part of each box that lies in its frame: the corner moves in, then the sides end at the border."""
    corner = np.clip(boxes_xywh[:2], 0, sizes)
    return np.concatenate([corner, np.clip(boxes_xywh[2:], 0, sizes - corner)])
