"""Region similarity J and boundary measure F of masks in single frames, and the statistics of a video.

They are those of DAVIS 2017 (https://arxiv.org/abs/1704.00675) as its published code computes them
(https://github.com/davisvideochallenge/davis2017-evaluation); the evaluations of Ref-DAVIS17 and MeViS use
the same code. Masks are arrays (height, width) that are not zero where the target is. Void pixels are
ignored.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

TOLERANCE = 0.008  # of the diagonal of the frame: pixels of two boundaries match up to this distance
RECALL_THRESHOLD = 0.5
BINS = 4  # decay compares the first and the last of so many parts of a video
SQUARE = np.ones((2, 2), np.uint8)


def region_similarity(truth: np.ndarray, result: np.ndarray, void: np.ndarray | None = None) -> float:
    """J, the intersection over union of two masks; 1 where both are empty."""
    truth, result = _without(truth, void), _without(result, void)
    shared = cv2.countNonZero(truth & result)
    either = cv2.countNonZero(truth | result)
    return shared / either if either else 1.0


@dataclass(frozen=True, eq=False)
class Boundary:
    """The boundary of a mask: its pixels, uint8 (height, width), their number, and the area around them.

    `nearby` is uint8, 1 within the tolerance of the boundary. It covers the part `window` of the frame; all
    pixels outside the window are farther away.
    """

    pixels: np.ndarray
    count: int
    window: tuple[slice, slice]
    nearby: np.ndarray


def boundary_of(mask: np.ndarray, void: np.ndarray | None = None) -> Boundary:
    """The boundary of a mask: the pixels that differ from their neighbour to the right, below, or diagonally
    below.

    Pixels outside the frame count as equal, so a mask that fills the frame has no boundary. The tolerance is
    `TOLERANCE` times the diagonal of the frame, rounded up to whole pixels.
    """
    cleared = _without(mask, void)
    height, width = cleared.shape
    # 1. The morphological gradient with a 2x2 square anchored at its upper left is exactly these differences.
    pixels = cv2.morphologyEx(
        cleared, cv2.MORPH_GRADIENT, SQUARE, anchor=(0, 0), borderType=cv2.BORDER_REPLICATE
    )
    # 2. Dilate the boundary by a disk. Only the bounding box of the result is computed: most masks are small.
    radius = math.ceil(TOLERANCE * math.hypot(height, width))
    # The box is (0, 0, 0, 0) where there is no boundary; the window then is a corner without set pixels.
    # A slice may end beyond the array. A negative start would count from its end, hence `max`.
    left, top, box_width, box_height = cv2.boundingRect(pixels)
    window = (
        slice(max(top - radius, 0), top + box_height + radius),
        slice(max(left - radius, 0), left + box_width + radius),
    )
    nearby = cv2.dilate(np.ascontiguousarray(pixels[window]), _disk(radius))
    return Boundary(pixels, cv2.countNonZero(pixels), window, nearby)


def boundary_measure(truth: Boundary, result: Boundary) -> float:
    """F, the harmonic mean of the precision and recall of boundary pixels; 1 where neither mask has a
    boundary.

    The published code matches boundaries by dilation, which approximates a bipartite matching.
    """
    # Where one of the boundaries is empty, the published code sets precision to 1 and recall to 0, or the
    # reverse; then F is 0.
    if not truth.count or not result.count:
        return float(truth.count == result.count)
    precision = _matched(result, truth) / result.count
    recall = _matched(truth, result) / truth.count
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _matched(boundary: Boundary, other: Boundary) -> int:
    """The number of pixels of a boundary that are within the tolerance of another one."""
    return cv2.countNonZero(boundary.pixels[other.window] & other.nearby)


def _without(mask: np.ndarray, void: np.ndarray | None) -> np.ndarray:
    """A mask without its void pixels as zeros and ones, uint8 and contiguous, as OpenCV needs it."""
    kept = mask != 0 if void is None else (mask != 0) & (void == 0)
    # A view of bool as uint8 needs no copy: True is stored as 1.
    return np.ascontiguousarray(kept).view(np.uint8)


@lru_cache(maxsize=8)
def _disk(radius: int) -> np.ndarray:
    """A disk of ones, uint8 (2 * radius + 1, 2 * radius + 1)."""
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk: np.ndarray = (rows**2 + columns**2 <= radius**2).astype(np.uint8)
    return disk


class Statistics(NamedTuple):
    """The statistics of the values of a video's frames: mean, share above one half, and decline over time."""

    mean: float
    recall: float
    decay: float


def statistics(values: np.ndarray) -> Statistics:
    """Mean, recall and decay of values float64 (F,); NaN where there is no frame.

    Decay is the mean of the first quarter of the frames minus that of the last quarter. Neighbouring quarters
    share the frame between them. (The published code stores the ends of the quarters in eight bits, which
    overflow in videos of more than 256 frames. This code does not reproduce that.)
    """
    if not values.size:
        return Statistics(math.nan, math.nan, math.nan)
    # The ends of the quarters as the published code computes them, with MATLAB's rounding of halves upwards.
    # `np.round` rounds halves to even numbers, so a little is added.
    ends = (np.round(np.linspace(1, values.size, BINS + 1) + 1e-10) - 1).astype(np.int64)
    first, last = values[ends[0] : ends[1] + 1], values[ends[-2] : ends[-1] + 1]
    return Statistics(
        float(values.mean()), float((values > RECALL_THRESHOLD).mean()), float(first.mean() - last.mean())
    )
