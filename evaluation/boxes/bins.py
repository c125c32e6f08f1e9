"""Counting, for each of many thresholds, the values above it or within it, by a histogram in one pass.

The counts equal those of comparing every value with every threshold (`value > t` or `value <= t`) exactly,
also where a value equals a threshold to the last bit. Comparing F values with T thresholds takes F·T steps;
the histogram takes F, and a cumulative sum over its bins gives the counts.
"""

import numpy as np

ULP = float(np.finfo(np.float64).eps)


class Bins:
    """The bins between T thresholds, float64 (T,), which rise evenly from 0 up to rounding.

    The bin of a value is the number of thresholds that are less than it, from 0 to T.
    """

    def __init__(self, thresholds: np.ndarray) -> None:
        self.thresholds = np.asarray(thresholds, np.float64)
        self.count = len(self.thresholds)
        self._scale = _scale(self.thresholds)

    def above(self, values: np.ndarray) -> np.ndarray:
        """The number of thresholds t with `value > t`, int64 (N,), for N values; 0 for NaN."""
        # The truncated product is the right bin or the one below it (see `_scale`); one comparison decides.
        scaled = np.fmax(values, 0.0)
        scaled *= self._scale
        # `fmax` above turned NaN into 0, whose comparison below is False: NaN is above no threshold.
        # Clipped before the cast, because casting infinity to an integer is undefined.
        index = np.minimum(scaled, self.count - 1, out=scaled).astype(np.intp)
        return np.asarray(index + (values > self.thresholds.take(index)))

    def within(self, values: np.ndarray) -> np.ndarray:
        """The index of the first threshold t with `value <= t`, int64 (N,), for N values; T for NaN."""
        # `fmin` turns NaN into the last threshold, and the comparison below is False for it: so NaN gets T.
        scaled = np.fmin(values, self.thresholds[-1])
        scaled *= self._scale
        # A negative value (-1 stands for a frame without a true box) is within the first threshold.
        index = np.maximum(scaled, 0.0, out=scaled).astype(np.intp)
        return np.asarray(index + ~(values <= self.thresholds.take(index)))

    def count_above(self, bins: np.ndarray, row: np.ndarray, rows: int) -> np.ndarray:
        """How many values of each row are above each threshold, int64 (rows, T).

        `bins` (N,) comes from `above`; `row` int64 (N,) is the number of each value's row.
        """
        # Bin k holds the values above exactly k thresholds. So those above threshold k are in the bins after
        # bin k: a cumulative sum from the right, without bin 0.
        return np.asarray(self._count(bins, row, rows)[:, :0:-1].cumsum(axis=1)[:, ::-1])

    def count_within(self, bins: np.ndarray, row: np.ndarray, rows: int) -> np.ndarray:
        """How many values of each row are within each threshold, int64 (rows, T); `bins` comes
        from `within`.
        """
        # The values within threshold k are in the bins up to k; the last bin, T, is within none.
        return np.asarray(self._count(bins, row, rows)[:, :-1].cumsum(axis=1))

    def _count(self, bins: np.ndarray, row: np.ndarray, rows: int) -> np.ndarray:
        """The histogram of each row, int64 (rows, T + 1)."""
        # One `bincount` for all rows: each row has a range of `width` bins of its own.
        width = self.count + 1
        return np.bincount(bins + width * row, minlength=width * rows).reshape(rows, width)


def _scale(thresholds: np.ndarray) -> float:
    """A factor with `floor(threshold[k] * factor) == k` for every k.

    Rounded multiplication is monotonic. So a value from threshold k up to threshold k + 1 is mapped to k, or
    by rounding to k + 1, and a single comparison with a threshold decides its bin. The quotient of the last
    index and the last threshold may be some units in the last place too small, hence the search.
    """
    places = np.arange(len(thresholds))
    near = (len(thresholds) - 1) / thresholds[-1]
    for ulps in range(64):
        scale = float(near * (1 + ulps * ULP))
        if (np.floor(thresholds * scale) == places).all():
            return scale
    raise ValueError("the thresholds must rise evenly from 0")
