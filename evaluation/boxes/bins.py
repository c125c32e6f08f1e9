"""How many values are above, or within, each of many thresholds: by counting into bins, in one pass.

The counts are exactly those of comparing every value with every threshold, `value > t` or `value <= t`,
also where a value equals a threshold to the last bit.
"""

import numpy as np

ULP = float(np.finfo(np.float64).eps)


class Bins:
    """Bins between T thresholds, float64 (T,), that rise evenly from 0, but for their rounding.

    A value's bin is the number of thresholds that are less than it: 0 to T.
    """

    def __init__(self, thresholds: np.ndarray) -> None:
        self.thresholds = np.asarray(thresholds, np.float64)
        self.count = len(self.thresholds)
        self._scale = _scale(self.thresholds)

    def above(self, values: np.ndarray) -> np.ndarray:
        """Bins of values, int64 (N,): `value > t` holds for so many thresholds. NaN is above none."""
        scaled = np.fmax(values, 0.0)
        scaled *= self._scale
        index = np.minimum(scaled, self.count - 1, out=scaled).astype(np.intp)
        return np.asarray(index + (values > self.thresholds.take(index)))

    def within(self, values: np.ndarray) -> np.ndarray:
        """Bins of values, int64 (N,): `value <= t` holds from this threshold on. NaN is within none."""
        scaled = np.fmin(values, self.thresholds[-1])
        scaled *= self._scale
        index = np.maximum(scaled, 0.0, out=scaled).astype(np.intp)
        return np.asarray(index + ~(values <= self.thresholds.take(index)))

    def count_above(self, bins: np.ndarray, row: np.ndarray, rows: int) -> np.ndarray:
        """How many of the values in each row are above each threshold, int64 (rows, T), from `above`.

        `row` int64 (N,) says which row a value belongs to.
        """
        return np.asarray(self._count(bins, row, rows)[:, :0:-1].cumsum(axis=1)[:, ::-1])

    def count_within(self, bins: np.ndarray, row: np.ndarray, rows: int) -> np.ndarray:
        """How many of the values in each row are within each threshold, int64 (rows, T), from `within`."""
        return np.asarray(self._count(bins, row, rows)[:, :-1].cumsum(axis=1))

    def _count(self, bins: np.ndarray, row: np.ndarray, rows: int) -> np.ndarray:
        width = self.count + 1
        return np.bincount(bins + width * row, minlength=width * rows).reshape(rows, width)


def _scale(thresholds: np.ndarray) -> float:
    """A factor that takes no threshold below its own place, and none to the next one's.

    Multiplication rounds but keeps order: a value above threshold k is then taken to k or more, and one
    below threshold k + 1 to k + 1 at most, so that a single comparison tells its bin.
    """
    places = np.arange(len(thresholds))
    near = (len(thresholds) - 1) / thresholds[-1]
    for ulps in range(64):
        scale = float(near * (1 + ulps * ULP))
        if (np.floor(thresholds * scale) == places).all():
            return scale
    raise ValueError("thresholds that do not rise evenly from 0")
