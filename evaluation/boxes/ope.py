"""One-pass evaluation (OPE): success, precision and normalised precision, as the family of toolkits that
came from OTB's counts them.

All of them repeat the previous result where one is no box, put the true box into the first frame, and count
in how many frames of a sequence the overlap exceeds each threshold, or the error of the centre is within
it. They differ in what `OpeRules` holds. Frames are counted in stretches whose values stay in the cache.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evaluation.boxes.bins import Bins
from evaluation.boxes.overlaps import Inclusive, centre_error, inclusive_overlap, normalised_error
from evaluation.boxes.ragged import BoxResults, BoxTruth, chunks


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


def repeat_previous(boxes_xywh: np.ndarray, invalid: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Boxes (4, F) in which an invalid one, bool (F,), is the last valid one before it in its sequence.

    A sequence's first box is never replaced, and repeated even where it is invalid itself.
    """
    if not invalid.any():
        return boxes_xywh
    source = np.where(invalid, 0, np.arange(len(invalid)))
    source[starts[:-1]] = starts[:-1]
    return boxes_xywh.take(np.maximum.accumulate(source), axis=1)


# What `0:0.05:1` gives in Octave and NumPy. MATLAB builds a range from both ends, so that five of its values
# differ by the last bit; of overlaps of whole-number boxes only one of exactly 13/20 falls otherwise.
OVERLAPS = np.arange(21) * 0.05
PIXELS = np.arange(51.0)
SHARES = np.arange(51) / 100
EPS = float(np.finfo(np.float64).eps)
SUCCESS, PRECISION, NORM_PRECISION = "success", "precision", "norm_precision"

Mask = np.ndarray


@dataclass(frozen=True)
class OpeRules:
    """What differs between toolkits. Boxes are float64 (4, N), masks bool (N,).

    `is_invalid(results)` says which results the previous one replaces; none does where the true box has a
    NaN. `is_countable(truth)` says which true boxes can be compared with; in other frames the overlap is -1,
    above no threshold, and the error -1 as well, within every threshold, or infinite with
    `error_without_truth`. `drops_absent`: frames whose target is absent are in no numerator, though a curve
    is divided by all frames. `leaves_out_zero`: a sequence whose whole curve is zero does not count.
    `lifts_negatives`: negative numbers of a result become 0 first.
    """

    is_invalid: Callable[[np.ndarray], Mask]
    is_countable: Callable[[np.ndarray], Mask]
    overlaps: np.ndarray
    error_without_truth: float = -1.0
    drops_absent: bool = False
    leaves_out_zero: bool = True
    normalised: bool = True
    lifts_negatives: bool = False


@dataclass(frozen=True, eq=False)
class _Stretch:
    """Whole sequences of a truth, and what is known of them before any result is."""

    sequences: slice
    frames: slice
    starts: np.ndarray
    row: np.ndarray  # which of its sequences a frame belongs to
    truth: Inclusive
    has_nan: Mask | None  # true boxes with a NaN
    not_countable: np.ndarray  # places
    dropped: np.ndarray  # places


class OpePass:
    """Counts curves of trackers on one truth.

    `rates(results)` gives the share of all frames by curve, float64 (S, T), and the overlap of each frame,
    float32 (F,), NaN where a frame does not count.
    """

    def __init__(self, truth: BoxTruth, rules: OpeRules) -> None:
        self.rules = rules
        self.lengths = truth.lengths
        bins = {SUCCESS: Bins(rules.overlaps), PRECISION: Bins(PIXELS), NORM_PRECISION: Bins(SHARES)}
        self.bins = bins if rules.normalised else {key: bins[key] for key in (SUCCESS, PRECISION)}
        with np.errstate(all="ignore"):  # infinite sides
            self._stretches = [_stretch(truth, rules, *span) for span in chunks(truth.starts)]

    def rates(self, results: BoxResults) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """See the class."""
        counts = {key: np.empty((len(self.lengths), bins.count)) for key, bins in self.bins.items()}
        overlaps = np.empty(int(self.lengths.sum()), np.float32)
        with np.errstate(all="ignore"):  # a frame without a true box gives 0/0, and is not counted
            for stretch in self._stretches:
                self._count(stretch, results, counts, overlaps)
        # The toolkits add eps to the length; it shows where a sequence has one frame.
        return {key: count / (self.lengths[:, None] + EPS) for key, count in counts.items()}, overlaps

    def _count(
        self, part: _Stretch, results: BoxResults, counts: dict[str, np.ndarray], overlaps: np.ndarray
    ) -> None:
        missing = None if results.missing is None else results.missing[part.frames]
        out = part.dropped if missing is None else np.union1d(part.dropped, np.flatnonzero(missing))
        boxes = Inclusive.of(self._mended(part, results.boxes_xywh[:, part.frames], missing))
        overlap = inclusive_overlap(boxes, part.truth)
        overlap[part.not_countable] = -1.0
        overlap[out] = np.nan
        self._add(counts[SUCCESS], SUCCESS, part, overlap)
        shown = overlaps[part.frames]
        shown[:] = overlap
        shown[part.not_countable] = np.nan
        error = centre_error(boxes, part.truth)
        error[part.not_countable] = self.rules.error_without_truth
        error[out] = np.nan
        self._add(counts[PRECISION], PRECISION, part, error)
        if self.rules.normalised:
            error = normalised_error(boxes, part.truth)
            error[part.not_countable] = -1.0
            error[out] = np.nan
            self._add(counts[NORM_PRECISION], NORM_PRECISION, part, error)

    def _mended(self, part: _Stretch, boxes_xywh: np.ndarray, missing: Mask | None) -> np.ndarray:
        """Results with the previous one in place of an invalid one, *then* the truth in the first frame."""
        own = self.rules.lifts_negatives
        boxes_xywh = np.maximum(boxes_xywh, 0.0) if own else boxes_xywh
        invalid = self.rules.is_invalid(boxes_xywh)
        if missing is not None:
            invalid |= missing
        if part.has_nan is not None:
            invalid &= ~part.has_nan
        mended = repeat_previous(boxes_xywh, invalid, part.starts)
        mended = mended.copy() if mended is boxes_xywh and not own else mended
        first = part.starts[:-1]
        mended[:, first] = part.truth.boxes_xywh[:, first]
        return mended

    def _add(self, counts: np.ndarray, curve: str, part: _Stretch, values: np.ndarray) -> None:
        bins, rows = self.bins[curve], len(part.starts) - 1
        if curve == SUCCESS:
            counts[part.sequences] = bins.count_above(bins.above(values), part.row, rows)
        else:
            counts[part.sequences] = bins.count_within(bins.within(values), part.row, rows)


def _stretch(truth: BoxTruth, rules: OpeRules, first: int, stop: int) -> _Stretch:
    frames = slice(int(truth.starts[first]), int(truth.starts[stop]))
    starts = truth.starts[first : stop + 1] - truth.starts[first]
    boxes = np.ascontiguousarray(truth.boxes_xywh[:, frames])
    has_nan = np.isnan(boxes).any(axis=0)
    dropped = np.zeros(0, np.intp)
    if rules.drops_absent and truth.absent is not None:
        dropped = np.flatnonzero(truth.absent[frames])
    return _Stretch(
        slice(first, stop),
        frames,
        starts,
        np.repeat(np.arange(stop - first), np.diff(starts)),
        Inclusive.of(boxes),
        has_nan if has_nan.any() else None,
        np.flatnonzero(~rules.is_countable(boxes)),
        dropped,
    )
