"""The published formulas of J and F, pixel by pixel, to compare with."""

import numpy as np


def plain_boundary(mask: np.ndarray) -> np.ndarray:
    """A pixel is on the boundary where it differs from its right, lower or lower right neighbour."""
    height, width = mask.shape
    found = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            near = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            found[y, x] = any(
                mask[y, x] != mask[row, column] for row, column in near if row < height and column < width
            )
    return found


def plain_f(truth: np.ndarray, result: np.ndarray, void: np.ndarray | None = None) -> float:
    """Precision and recall over pairs of boundary pixels no further apart than the tolerance."""
    kept = np.ones_like(truth) if void is None else ~void
    ours, theirs = plain_boundary(result & kept), plain_boundary(truth & kept)
    tolerance = np.ceil(0.008 * np.linalg.norm(truth.shape))
    if not ours.any() and not theirs.any():
        return 1.0
    if not ours.any() or not theirs.any():
        return 0.0
    first, second = np.argwhere(ours), np.argwhere(theirs)
    near = ((first[:, None] - second[None]) ** 2).sum(2) <= tolerance**2
    precision, recall = near.any(1).mean(), near.any(0).mean()
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def plain_j(truth: np.ndarray, result: np.ndarray, void: np.ndarray | None = None) -> float:
    kept = np.ones_like(truth) if void is None else ~void
    either = (truth | result) & kept
    return 1.0 if not either.any() else (truth & result & kept).sum() / either.sum()
