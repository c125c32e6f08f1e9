"""One-pass evaluation (OPE): success, precision and normalised precision, as OTB's toolkit and its successors
compute them.

A tracker runs once through a sequence, from the ground-truth box of the first frame. For each frame there are
three numbers: the overlap (IoU) of result and ground truth, the distance of their centres in pixels, and that
distance divided by width and height of the true box. A curve is the share of frames whose overlap is above a
threshold, or whose error is at most a threshold. All toolkits

1. repeat the previous result where a result is not a valid box,
2. replace the result of the first frame by the ground truth,
3. count, for each sequence and each threshold, the frames that pass.

They differ in the details that `OpeRules` holds. Frames are processed in chunks of whole sequences whose
intermediate values fit into the cache of a processor.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evaluation.boxes.bins import Bins
from evaluation.boxes.overlaps import InclusiveBoxes, centre_error, inclusive_overlap, normalised_error
from evaluation.boxes.ragged import BoxResults, BoxTruth, chunks


def has_no_area_or_any_nan(boxes_xywh: np.ndarray) -> np.ndarray:
    """Bool (N,): any of x, y, w, h is NaN, or w or h is 0 or less (LaSOT, TNL2K and TNLLT)."""
    return np.asarray(np.isnan(boxes_xywh).any(axis=0) | has_no_area(boxes_xywh))


def has_no_area_or_all_nan(boxes_xywh: np.ndarray) -> np.ndarray:
    """Bool (N,): all of x, y, w, h are NaN, or w or h is 0 or less (OTB)."""
    return np.asarray(np.isnan(boxes_xywh).all(axis=0) | has_no_area(boxes_xywh))


def has_no_area(boxes_xywh: np.ndarray) -> np.ndarray:
    """Bool (N,): w or h is 0 or less."""
    # NaN compares as False, so it is not counted here; the functions above test for it.
    return np.asarray((boxes_xywh[2] <= 0) | (boxes_xywh[3] <= 0))


def is_all_positive(boxes_xywh: np.ndarray) -> np.ndarray:
    """Bool (N,): x, y, w and h are all above 0. A box at the left or upper border, with x
    or y of 0, is not.
    """
    return np.asarray((boxes_xywh > 0).all(axis=0))


def has_area(boxes_xywh: np.ndarray) -> np.ndarray:
    """Bool (N,): w and h are above 0 (VPTracker)."""
    return np.asarray((boxes_xywh[2:] > 0).all(axis=0))


def repeat_previous(boxes_xywh: np.ndarray, invalid: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Boxes (4, F) in which each invalid box is replaced by the last valid one before it in its sequence.

    `invalid` is bool (F,). The first box of a sequence is never replaced, and is repeated even if it is
    invalid itself. `starts` int64 (S + 1,) holds where sequences begin.
    """
    if not invalid.any():
        return boxes_xywh
    # `source[i]` is the frame whose box frame `i` gets: the running maximum over the valid frames so far.
    # First frames count as valid, so nothing is taken from the sequence before.
    source = np.where(invalid, 0, np.arange(len(invalid)))
    source[starts[:-1]] = starts[:-1]
    return boxes_xywh.take(np.maximum.accumulate(source), axis=1)


# The values of `0:0.05:1` in Octave and NumPy. MATLAB builds a range from both ends, so five of its values
# differ in the last bit. Of the overlaps of boxes in whole pixels, only one of exactly 13/20 is affected.
OVERLAPS = np.arange(21) * 0.05
PIXEL_ERRORS = np.arange(51.0)
# `k / 100` is the float64 nearest to the decimal number; `k * 0.01` is not for every k.
NORM_ERRORS = np.arange(51) / 100
EPS = float(np.finfo(np.float64).eps)
SUCCESS, PRECISION, NORM_PRECISION = "success", "precision", "norm_precision"

Mask = np.ndarray


@dataclass(frozen=True)
class OpeRules:
    """The details in which toolkits differ. Boxes are float64 (4, N), masks bool (N,)."""

    is_invalid: Callable[[np.ndarray], Mask]
    """Which results are replaced by the previous one. None is where the true box has a NaN."""
    is_countable: Callable[[np.ndarray], Mask]
    """Which true boxes are valid. In other frames the overlap is -1, which is above no threshold."""
    overlaps: np.ndarray
    """The thresholds of the success curve."""
    error_without_truth: float = -1.0
    """The centre error in frames without a valid true box. -1 is within every threshold: such frames count
    as precise. The normalised error is -1 there in any case."""
    excludes_absent: bool = False
    """Whether frames in which the target is absent are in no numerator. Curves are divided by the number of
    all frames all the same."""
    skips_zero_curves: bool = True
    """Whether a sequence whose curve is zero everywhere is left out of the mean."""
    normalised: bool = True
    """Whether there is a curve of normalised precision."""
    clamps_negatives: bool = False
    """Whether negative numbers of a result become 0 before anything else."""


@dataclass(frozen=True, eq=False)
class _Chunk:
    """Consecutive sequences, and what can be computed of their ground truth once for all trackers."""

    sequences: slice
    frames: slice
    starts: np.ndarray
    row: np.ndarray  # the number of a frame's sequence within the chunk
    truth: InclusiveBoxes
    has_nan: Mask | None  # which true boxes have a NaN; None: none
    not_countable: np.ndarray  # indices of frames without a valid true box
    dropped: np.ndarray  # indices of frames that are in no numerator


class OpePass:
    """Computes the curves of trackers on one ground truth."""

    def __init__(self, truth: BoxTruth, rules: OpeRules) -> None:
        self.rules = rules
        self.lengths = truth.lengths
        bins = {
            SUCCESS: Bins(rules.overlaps),
            PRECISION: Bins(PIXEL_ERRORS),
            NORM_PRECISION: Bins(NORM_ERRORS),
        }
        self.bins = bins if rules.normalised else {key: bins[key] for key in (SUCCESS, PRECISION)}
        with np.errstate(all="ignore"):  # infinite sides
            self._chunks = [_make_chunk(truth, rules, *span) for span in chunks(truth.starts)]

    def rates(self, results: BoxResults) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The curves of one tracker, and its overlap in each frame.

        A curve is float64 (S, T), the share of the frames of a sequence that pass a threshold, from 0 to 1.
        The overlaps are float32 (F,), NaN where a frame does not count.
        """
        counts = {key: np.empty((len(self.lengths), bins.count)) for key, bins in self.bins.items()}
        # Only the report reads these, so float32 is enough; the counts are made of float64.
        overlaps = np.empty(int(self.lengths.sum()), np.float32)
        with np.errstate(all="ignore"):  # frames without a valid true box give 0/0; they are replaced by -1
            for stretch in self._chunks:
                self._count(stretch, results, counts, overlaps)
        # The toolkits add eps to the number of frames. It changes the result for sequences of one frame.
        return {key: count / (self.lengths[:, None] + EPS) for key, count in counts.items()}, overlaps

    def _count(
        self, part: _Chunk, results: BoxResults, counts: dict[str, np.ndarray], overlaps: np.ndarray
    ) -> None:
        # 1. Frames that are in no numerator: those of absent targets and those that the result does not have.
        missing = None if results.missing is None else results.missing[part.frames]
        left_out = part.dropped if missing is None else np.union1d(part.dropped, np.flatnonzero(missing))
        boxes = InclusiveBoxes.of(self._repaired(part, results.boxes_xywh[:, part.frames], missing))
        # 2. Overlaps. NaN is above no threshold and within none.
        overlap = inclusive_overlap(boxes, part.truth)
        overlap[part.not_countable] = -1.0
        overlap[left_out] = np.nan
        self._add(counts[SUCCESS], SUCCESS, part, overlap)
        overlaps_of_chunk = overlaps[part.frames]  # a view
        overlaps_of_chunk[:] = overlap
        # -1 serves to count; the report shows no overlap where there is no true box.
        overlaps_of_chunk[part.not_countable] = np.nan
        # 3. Errors of the centre, in pixels and in sides of the true box.
        error = centre_error(boxes, part.truth)
        error[part.not_countable] = self.rules.error_without_truth
        # NaN is written last: a frame in no numerator must not count where -1 is within every threshold.
        error[left_out] = np.nan
        self._add(counts[PRECISION], PRECISION, part, error)
        if self.rules.normalised:
            error = normalised_error(boxes, part.truth)
            error[part.not_countable] = -1.0
            error[left_out] = np.nan
            self._add(counts[NORM_PRECISION], NORM_PRECISION, part, error)

    def _repaired(self, part: _Chunk, boxes_xywh: np.ndarray, missing: Mask | None) -> np.ndarray:
        """Results in which invalid boxes repeat the previous one and, after that, the first box is the true
        one.

        The order matters: where the second result is invalid, it repeats the first *result*, not the ground
        truth.
        """
        clamped = self.rules.clamps_negatives
        # `maximum` makes a copy, so the arrays of the caller stay as they are.
        boxes_xywh = np.maximum(boxes_xywh, 0.0) if clamped else boxes_xywh
        invalid = self.rules.is_invalid(boxes_xywh)
        if missing is not None:
            invalid |= missing
        # As in the MATLAB toolkits: a result is repaired only where the true box has no NaN.
        if part.has_nan is not None:
            invalid &= ~part.has_nan
        repaired = repeat_previous(boxes_xywh, invalid, part.starts)
        # First boxes are overwritten below. Clamping and repeating have made a copy already.
        repaired = repaired.copy() if repaired is boxes_xywh and not clamped else repaired
        first = part.starts[:-1]
        repaired[:, first] = part.truth.boxes_xywh[:, first]
        return repaired

    def _add(self, counts: np.ndarray, curve: str, part: _Chunk, values: np.ndarray) -> None:
        """Write the counts of a chunk's sequences into `counts` (S, T)."""
        bins, rows = self.bins[curve], len(part.starts) - 1
        if curve == SUCCESS:
            # Overlaps pass above a threshold, errors pass up to it: a value that equals a threshold matters.
            counts[part.sequences] = bins.count_above(bins.above(values), part.row, rows)
        else:
            counts[part.sequences] = bins.count_within(bins.within(values), part.row, rows)


def _make_chunk(truth: BoxTruth, rules: OpeRules, first: int, stop: int) -> _Chunk:
    frames = slice(int(truth.starts[first]), int(truth.starts[stop]))
    starts = truth.starts[first : stop + 1] - truth.starts[first]
    boxes = np.ascontiguousarray(truth.boxes_xywh[:, frames])
    has_nan = np.isnan(boxes).any(axis=0)
    dropped = np.zeros(0, np.intp)
    if rules.excludes_absent and truth.absent is not None:
        dropped = np.flatnonzero(truth.absent[frames])
    return _Chunk(
        slice(first, stop),
        frames,
        starts,
        np.repeat(np.arange(stop - first), np.diff(starts)),
        InclusiveBoxes.of(boxes),
        has_nan if has_nan.any() else None,
        np.flatnonzero(~rules.is_countable(boxes)),
        dropped,
    )
