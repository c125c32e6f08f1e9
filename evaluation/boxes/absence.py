"""Absence figures of box results: a frame is said absent where its box is none."""

from dataclasses import replace

import numpy as np

from evaluation.absence import FOUND, METRICS, absence_scores
from evaluation.boxes.overlaps import Inclusive, inclusive_overlap
from evaluation.boxes.ragged import BoxResults, BoxTruth, is_box
from evaluation.scores import Metric, TrackerScores


class Absence:
    """The figures of `evaluation.absence` on one truth; none where its target is never absent.

    The target is absent where the benchmark's flags say so, or, where it has none, where the true box is
    no box. Results are taken as they were written: a protocol that repeats the previous box has lost what
    the tracker said of absence.
    """

    def __init__(self, truth: BoxTruth) -> None:
        self.starts = truth.starts
        self.absent = ~is_box(truth.boxes_xywh) if truth.absent is None else truth.absent
        self.metrics: tuple[Metric, ...] = METRICS if self.absent.any() else ()
        with np.errstate(all="ignore"):  # infinite sides
            self._truth = Inclusive.of(truth.boxes_xywh) if self.metrics else None

    def beside(self, scores: TrackerScores, results: BoxResults) -> TrackerScores:
        """The scores with these figures beside the protocol's own."""
        if self._truth is None:
            return scores
        said = ~is_box(results.boxes_xywh)
        with np.errstate(all="ignore"):
            found = ~said & (inclusive_overlap(Inclusive.of(results.boxes_xywh), self._truth) >= FOUND)
        known = None if results.missing is None else ~results.missing
        overall, by_sequence = absence_scores(self.starts, self.absent, said, found, known)
        return replace(scores, overall=scores.overall | overall, by_sequence=scores.by_sequence | by_sequence)
