"""What the referral challenge says of a tracker, from the pairs of all sequences."""

from dataclasses import dataclass

import numpy as np

from evaluation.absence import FOUND, WHILE, absence_scores
from evaluation.absence import METRICS as ABSENCE
from evaluation.masks.referral import Pairs
from evaluation.scores import Curve, Measures, Metric, TrackerScores

SIMILARITY = Metric("region_similarity", "Region similarity")
TOOLKIT = Metric("vot_analysis", "vot analysis")
THRESHOLDS = np.linspace(0, 1, 21)
CURVE = Curve("success", "Success", "Overlap threshold", "Pairs [%]", THRESHOLDS, SIMILARITY.key)
MEASURES = Measures(
    "votsr",
    (SIMILARITY, TOOLKIT, Metric("iou_present", "IoU when present", pooled=True), *ABSENCE),
    (CURVE,),
    "Over pairs of a prompt and an annotated frame, less the pixels of the ignore mask: the IoU of the "
    "masks, 1 where both are empty, 0 where one is. A sequence scores the mean of its pairs, all of them "
    "the mean weighted by their frames; beside it the toolkit's own number. The other figures are over the "
    "pairs of all sequences alike. Absence precision: of the empty results, those where the target is "
    "absent; absence recall: of the pairs where it is absent, those with an empty result. A target is found "
    f"from IoU {FOUND:g} on, and lost when it comes back after an absence or is not found for {WHILE} "
    "frames.",
    "https://github.com/votchallenge/toolkit (0.9.0, vot.analysis.referral)",
)


@dataclass(frozen=True, eq=False)
class SequencePairs:
    """A sequence's pairs for all trackers, whose rows stand tracker by tracker, and how long it is."""

    pairs: Pairs
    num_prompts: int
    num_frames: int

    def of(self, tracker: int) -> Pairs:
        """The pairs of one tracker, by its place."""
        return self.pairs.of(slice(tracker * self.num_prompts, (tracker + 1) * self.num_prompts))


def tracker_scores(scored: list[SequencePairs], tracker: int, name: str) -> TrackerScores:
    """A tracker's figures, all but the toolkit's."""
    parts = [each.of(tracker) for each in scored]
    by_sequence = [_figures([part]) for part in parts]
    similarity = np.array([figures[SIMILARITY.key] for figures in by_sequence])
    overall = _figures(parts)
    weights = [each.num_frames for each in scored]
    overall[SIMILARITY.key] = float(np.average(similarity, weights=weights))
    return TrackerScores(
        name,
        overall,
        {key: np.array([figures[key] for figures in by_sequence]) for key in overall},
        {CURVE.key: np.stack([_success(part) for part in parts])},
        np.concatenate([part.scores.ravel() for part in parts]).astype(np.float32),
    )


def _figures(parts: list[Pairs]) -> dict[str, float]:
    """Figures in percent over the pairs of some sequences, every pair alike; a row is a run of frames."""
    shown = np.concatenate([part.scores[:, part.annotated & ~part.absent].ravel() for part in parts])
    every = np.concatenate([part.scores[:, part.annotated].ravel() for part in parts])
    rows = [len(part.absent) for part in parts for _ in part.scores]
    scores, said = (
        np.concatenate([getattr(part, name).ravel() for part in parts]) for name in ("scores", "said_absent")
    )
    absent = np.concatenate([np.tile(part.absent, len(part.scores)) for part in parts])
    overall, _ = absence_scores(np.cumsum([0, *rows]), absent, said, scores >= FOUND, ~np.isnan(scores))
    present = 100 * float(shown.mean()) if shown.size else np.nan
    return {SIMILARITY.key: 100 * float(every.mean()), "iou_present": present, **overall}


def _success(part: Pairs) -> np.ndarray:
    """The share of a sequence's pairs in percent, float64 (T,), that score more than each threshold."""
    scores = part.scores[:, part.annotated].ravel()
    share: np.ndarray = 100 * (scores[:, None] > THRESHOLDS).mean(axis=0)
    return share
