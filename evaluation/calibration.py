"""How far predicted probabilities are from what happens."""

import numpy as np

BINS = 10


def calibration_error(
    predicted: np.ndarray, happened: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """The expected calibration error of predictions from 0 to 1, with bins of equal width (Guo et al. 2017,
    https://arxiv.org/abs/1706.04599).

    `predicted` (N,) are the predictions. `happened` (N,) is what was predicted: True or False, or a value
    from 0 to 1, such as a true IoU. `weights` (N,) sum to 1; None: all are equal. NaN where there is no
    prediction. Raises ValueError for a negative prediction.
    """
    if not len(predicted):
        return float("nan")
    shares = np.full(len(predicted), 1 / len(predicted)) if weights is None else weights
    bins = np.minimum((predicted * BINS).astype(int), BINS - 1)
    # In each bin, the weighted sum of differences is the difference of the means times the weight of the bin.
    differences = np.bincount(bins, shares * (predicted - happened), BINS)
    return float(np.abs(differences).sum())
