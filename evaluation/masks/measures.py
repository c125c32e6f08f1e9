"""Region similarity J and boundary measure F of masks, frame by frame, and what DAVIS says of a video.

As the DAVIS benchmark has them (https://arxiv.org/abs/1704.00675) and its published code counts
(https://github.com/davisvideochallenge/davis2017-evaluation), which the evaluations of Ref-DAVIS17 and
MeViS use as well. Masks are (height, width), not zero where the target is. Void pixels count nowhere.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

TOLERANCE = 0.008  # of the frame's diagonal: how far apart boundaries may lie and still match
RECALLED = 0.5
BINS = 4
SQUARE = np.ones((2, 2), np.uint8)


def region_similarity(truth: np.ndarray, result: np.ndarray, void: np.ndarray | None = None) -> float:
    """J: pixels in both over pixels in either; 1 where both are empty."""
    truth, result = _without(truth, void), _without(result, void)
    shared = cv2.countNonZero(truth & result)
    either = cv2.countNonZero(truth | result)
    return shared / either if either else 1.0


@dataclass(frozen=True, eq=False)
class Outline:
    """A mask's boundary: its pixels, uint8 (height, width), their number, and what lies close to them.

    `close` is 1 within the tolerance of the boundary, in the part `window` of the frame; 0 elsewhere.
    """

    pixels: np.ndarray
    count: int
    window: tuple[slice, slice]
    close: np.ndarray


def outline_of(mask: np.ndarray, void: np.ndarray | None = None) -> Outline:
    """The boundary of a mask: pixels that differ from the one to the right, below, or right below.

    Where the frame ends nothing differs, so a mask that fills the frame has no boundary. The tolerance is
    the smallest whole number of pixels that is at least `TOLERANCE` of the frame's diagonal.
    """
    cleared = _without(mask, void)
    height, width = cleared.shape
    pixels = cv2.morphologyEx(
        cleared, cv2.MORPH_GRADIENT, SQUARE, anchor=(0, 0), borderType=cv2.BORDER_REPLICATE
    )
    radius = math.ceil(TOLERANCE * math.hypot(height, width))
    left, top, box_width, box_height = cv2.boundingRect(pixels)
    window = (
        slice(max(top - radius, 0), top + box_height + radius),
        slice(max(left - radius, 0), left + box_width + radius),
    )
    close = cv2.dilate(np.ascontiguousarray(pixels[window]), _disk(radius))
    return Outline(pixels, cv2.countNonZero(pixels), window, close)


def boundary_measure(truth: Outline, result: Outline) -> float:
    """F: the harmonic mean of boundary precision and recall; 1 where there is no boundary in either."""
    if not truth.count or not result.count:
        return float(truth.count == result.count)
    precision = _matched(result, truth) / result.count
    recall = _matched(truth, result) / truth.count
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _matched(outline: Outline, other: Outline) -> int:
    """How many pixels of an outline lie close to the other."""
    return cv2.countNonZero(outline.pixels[other.window] & other.close)


def _without(mask: np.ndarray, void: np.ndarray | None) -> np.ndarray:
    """A mask as zeros and ones, uint8 and contiguous, less the void pixels."""
    kept = mask != 0 if void is None else (mask != 0) & (void == 0)
    return np.ascontiguousarray(kept).view(np.uint8)


@lru_cache(maxsize=8)
def _disk(radius: int) -> np.ndarray:
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk: np.ndarray = (rows**2 + columns**2 <= radius**2).astype(np.uint8)
    return disk


class Statistics(NamedTuple):
    """Of the values of a video's frames: mean, share above one half, and how much they sink."""

    mean: float
    recall: float
    decay: float


def statistics(values: np.ndarray) -> Statistics:
    """Mean, recall and decay of float64 (F,); NaN where there is no frame.

    Decay is the mean of the first quarter of the frames less that of the last; the quarters share the
    frames at which they meet. (The published code keeps the quarters' ends in eight bits, which turns
    about in videos of more than 256 frames; here they do not.)
    """
    if not values.size:
        return Statistics(math.nan, math.nan, math.nan)
    ends = (np.round(np.linspace(1, values.size, BINS + 1) + 1e-10) - 1).astype(np.int64)
    first, last = values[ends[0] : ends[1] + 1], values[ends[-2] : ends[-1] + 1]
    return Statistics(
        float(values.mean()), float((values > RECALLED).mean()), float(first.mean() - last.mean())
    )
