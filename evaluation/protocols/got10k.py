"""Protocol `got10k`: average overlap and success rates, as the GOT-10k toolkit counts.

`ExperimentGOT10k.report` and `rect_iou` of https://github.com/got-10k/toolkit (arXiv 1810.11981). Success at
0.75 is the server's, counted likewise. Where several runs lie beside one another, score one.
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
    "Pixels are exclusive (right = x + w); both boxes are first cut at the image's border, where its size is "
    "known. The first frame of each sequence, and frames in which nothing of the target is visible, are left "
    "out; overlaps of all others, of all sequences, are put together. AO is their mean; SR 0.5 and SR 0.75 "
    "the share of frames with overlap > 0.5 and > 0.75. A result with NaN overlaps by 0.",
    "https://github.com/got-10k/toolkit",
)


def counted_frames(truth: BoxTruth) -> np.ndarray:
    """Which frames count, bool (F,): not the first of a sequence, nor those without a target."""
    counted = np.ones(truth.num_frames, bool) if truth.absent is None else ~truth.absent
    counted &= ~np.isnan(truth.boxes_xywh).any(axis=0)
    counted[truth.starts[:-1]] = False
    return counted


def weights(truth: BoxTruth) -> np.ndarray:
    """How much each sequence counts: its counted frames, float64 (S,)."""
    return _per_sequence(counted_frames(truth), truth).astype(np.float64)


def _scorer(truth: BoxTruth) -> Scorer:
    sizes = (
        None if truth.sizes is None else np.repeat(truth.sizes.T.astype(np.float64), truth.lengths, axis=1)
    )
    return partial(_scores, truth, sizes, counted_frames(truth))


def _scores(
    truth: BoxTruth, sizes: np.ndarray | None, counted: np.ndarray, results: BoxResults
) -> TrackerScores:
    with np.errstate(all="ignore"):  # infinite sides
        overlap = np.nan_to_num(exclusive_overlap(results.boxes_xywh, truth.boxes_xywh, sizes), nan=0.0)
    parts = {"ao": overlap, **{key: (overlap > limit).astype(np.float64) for key, limit in RATES.items()}}
    frames = _per_sequence(counted, truth)
    overall, by_sequence = {}, {}
    for key, part in parts.items():
        overall[key] = 100 * float(part[counted].mean()) if counted.any() else np.nan
        by_sequence[key] = 100 * _ratio(_per_sequence(np.where(counted, part, 0.0), truth), frames)
    bins, row = Bins(THRESHOLDS), np.repeat(np.arange(len(frames)), truth.lengths)[counted]
    above = bins.count_above(bins.above(overlap[counted]), row, len(frames))
    curves = {"success": 100 * _ratio(above, frames[:, None])}
    shown = np.where(counted, overlap, np.nan).astype(np.float32)
    return TrackerScores(results.tracker, overall, by_sequence, curves, shown)


def _per_sequence(values: np.ndarray, truth: BoxTruth) -> np.ndarray:
    """Sums over the frames of each sequence, float64 (S,)."""
    return np.add.reduceat(values.astype(np.float64), truth.starts[:-1])


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Part of whole; NaN where the whole is nothing."""
    whole = np.broadcast_to(whole, part.shape)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


PROTOCOL = register_protocol(BoxProtocol(MEASURES, _scorer, weights=weights))
