"""Protocol `got10k`: average overlap and success rates, as the GOT-10k toolkit computes them.

It follows `ExperimentGOT10k.report` and `rect_iou` of https://github.com/got-10k/toolkit (arXiv 1810.11981).
The toolkit reports the success rate at 0.5; the benchmark's server also reports it at 0.75. The toolkit
averages over several runs of a tracker. Here each run is scored like a tracker of its own.
"""

from functools import partial

import numpy as np

from evaluation.boxes.bins import Bins
from evaluation.boxes.overlaps import exclusive_overlap
from evaluation.boxes.protocol import BoxProtocol, Scorer
from evaluation.boxes.ragged import BoxResults, BoxTruth
from evaluation.protocols.registry import register_protocol
from evaluation.scores import Curve, Measures, Metric, TrackerScores

THRESHOLDS = np.linspace(0, 1, 101)
METRICS = (Metric("ao", "AO"), Metric("sr50", "SR 0.5"), Metric("sr75", "SR 0.75"))
RATES = {"sr50": 0.5, "sr75": 0.75}
MEASURES = Measures(
    "got10k",
    METRICS,
    (Curve("success", "Success", "Overlap threshold", "Success rate (%)", THRESHOLDS, "ao"),),
    "Coordinates are exclusive (right = x + w). Both boxes are first cropped to the image, if its size is "
    "known. The first frame of each sequence, and frames in which the target is not visible, are left out. "
    "All other frames of all sequences have equal weight. AO is the mean of their overlaps; SR 0.5 and SR "
    "0.75 are the shares of frames with overlap > 0.5 and > 0.75. The overlap of a result with NaN is 0.",
    "https://github.com/got-10k/toolkit",
)


def counted_frames(truth: BoxTruth) -> np.ndarray:
    """Which frames count, bool (F,): all but the first of each sequence and those without a target."""
    counted = np.ones(truth.num_frames, bool) if truth.absent is None else ~truth.absent
    counted &= ~np.isnan(truth.boxes_xywh).any(axis=0)
    # The first box is given to the tracker.
    counted[truth.starts[:-1]] = False
    return counted


def weights(truth: BoxTruth) -> np.ndarray:
    """The weight of each sequence in a mean, float64 (S,): the number of its frames that count."""
    return _per_sequence(counted_frames(truth), truth).astype(np.float64)


def _scorer(truth: BoxTruth) -> Scorer:
    """See `BoxProtocol.scorer`."""
    # (S, 2) -> (2, F): for each box the size of its frame.
    sizes = (
        None if truth.sizes is None else np.repeat(truth.sizes.T.astype(np.float64), truth.lengths, axis=1)
    )
    return partial(_scores, truth, sizes, counted_frames(truth))


def _scores(
    truth: BoxTruth, sizes: np.ndarray | None, counted: np.ndarray, results: BoxResults
) -> TrackerScores:
    with np.errstate(all="ignore"):  # infinite sides
        overlap = np.nan_to_num(exclusive_overlap(results.boxes_xywh, truth.boxes_xywh, sizes), nan=0.0)
    # 1. The values of frames whose means are the metrics: (F,) each.
    parts = {"ao": overlap, **{key: (overlap > limit).astype(np.float64) for key, limit in RATES.items()}}
    frames = _per_sequence(counted, truth)
    overall, by_sequence = {}, {}
    for key, part in parts.items():
        overall[key] = 100 * float(part[counted].mean()) if counted.any() else np.nan
        # Frames that do not count add 0 to the sum, and are not in `frames`.
        by_sequence[key] = 100 * _ratio(_per_sequence(np.where(counted, part, 0.0), truth), frames)
    # 2. The success curve of each sequence, (S, T); frames that do not count are left out of it.
    bins, row = Bins(THRESHOLDS), np.repeat(np.arange(len(frames)), truth.lengths)[counted]
    above = bins.count_above(bins.above(overlap[counted]), row, len(frames))
    curves = {"success": 100 * _ratio(above, frames[:, None])}
    frame_overlap = np.where(counted, overlap, np.nan).astype(np.float32)
    return TrackerScores(results.tracker, overall, by_sequence, curves, frame_overlap)


def _per_sequence(values: np.ndarray, truth: BoxTruth) -> np.ndarray:
    """Sums over the frames of each sequence: (F,) -> float64 (S,)."""
    return np.add.reduceat(values.astype(np.float64), truth.starts[:-1])


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The ratio of part and whole; NaN where the whole is 0."""
    whole = np.broadcast_to(whole, part.shape)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


PROTOCOL = register_protocol(BoxProtocol(MEASURES, _scorer, weights=weights))
