"""Masks and frames, as trackers compare them."""

from dataclasses import replace

import numpy as np

from data_prep.geometry import Box, area, box_of_mask, is_inside, round_box
from models.interfaces import MaskResult

# A frame is thinned to about this many rows and columns to see whether it has changed.
THUMBNAIL = 16


def box_or(result: MaskResult, fallback: Box) -> Box:
    """The box of the mask; without a mask, the last known box."""
    return (box_of_mask(result.mask) if result.mask is not None else None) or fallback


def or_filled_box(result: MaskResult, box_xyxy: Box, frame: np.ndarray) -> MaskResult:
    """The result; if the mask head found no mask in a box that is relied on, with the box filled as mask."""
    if result.mask is not None and area(box_xyxy) > 0:
        return result
    mask = np.zeros(frame.shape[:2], bool)  # (H, W)
    size = frame.shape[1], frame.shape[0]
    if is_inside(box_xyxy, size):
        left, top, right, bottom = map(int, round_box(box_xyxy, size))
        mask[top:bottom, left:right] = True
    return replace(result, mask=mask if mask.any() else None)


def area_ratio(first: np.ndarray, second: np.ndarray) -> float:
    """How many times as large the larger one of two masks is."""
    # `count_nonzero` is many times as fast as `sum` for bool.
    areas = [max(1.0, float(np.count_nonzero(mask))) for mask in (first, second)]
    return max(areas) / min(areas)


def has_changed(before: np.ndarray | None, now: np.ndarray, threshold: float) -> bool:
    """Whether two frames differ: the mean absolute difference of a grid of pixels, between 0 and 1."""
    if before is None:
        return True
    rows, columns = (max(1, side // THUMBNAIL) for side in now.shape[:2])
    # (H, W, 3) -> about (16, 16, 3). int16, since differences of uint8 would wrap around.
    first, second = (frame[::rows, ::columns].astype(np.int16) for frame in (before, now))
    return float(np.abs(first - second).mean()) / 255 >= threshold
