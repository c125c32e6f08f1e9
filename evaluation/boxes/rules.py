"""Which boxes, float64 (4, N), the toolkits take for results, and which for truths to compare with."""

import numpy as np


def has_no_area_or_any_nan(boxes_xywh: np.ndarray) -> np.ndarray:
    """Bool (N,): any of x, y, w, h is NaN, or w or h is not above 0 (LaSOT, TNL2K and TNLLT)."""
    return np.asarray(np.isnan(boxes_xywh).any(axis=0) | has_no_area(boxes_xywh))


def has_no_area_or_all_nan(boxes_xywh: np.ndarray) -> np.ndarray:
    """Bool (N,): all of x, y, w, h are NaN, or w or h is not above 0 (OTB)."""
    return np.asarray(np.isnan(boxes_xywh).all(axis=0) | has_no_area(boxes_xywh))


def has_no_area(boxes_xywh: np.ndarray) -> np.ndarray:
    """Bool (N,): w or h is 0 or less."""
    return np.asarray((boxes_xywh[2] <= 0) | (boxes_xywh[3] <= 0))


def is_all_positive(boxes_xywh: np.ndarray) -> np.ndarray:
    """Bool (N,): x, y, w and h are all above 0. A box at the left or upper border is not, with x or y 0."""
    return np.asarray((boxes_xywh > 0).all(axis=0))


def has_area(boxes_xywh: np.ndarray) -> np.ndarray:
    """Bool (N,): w and h are above 0 (VPTracker)."""
    return np.asarray((boxes_xywh[2:] > 0).all(axis=0))
