"""Protocols over boxes, and those of one-pass evaluation (OPE), whose metrics are
points or means of curves.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from evaluation.boxes.ope import (
    EPS,
    NORM_ERRORS,
    NORM_PRECISION,
    PIXEL_ERRORS,
    PRECISION,
    SUCCESS,
    OpePass,
    OpeRules,
)
from evaluation.boxes.ragged import BoxResults, BoxTruth
from evaluation.config import EvaluationSettings
from evaluation.scores import Curve, Evaluation, FrameSource, Measures, Metric, TrackerScores

Scorer = Callable[[BoxResults], TrackerScores]
SUCCESS_METRIC = Metric(SUCCESS, "Success (AUC)")
PRECISION_METRIC = Metric(PRECISION, "Precision (20 px)")
NORM_PRECISION_METRIC = Metric(NORM_PRECISION, "Norm. precision (0.2)")
OPE_METRICS = (SUCCESS_METRIC, PRECISION_METRIC, NORM_PRECISION_METRIC)
# The curve of each metric, and the index of the threshold whose value it is; None: the mean of the curve
# (AUC).
# Index 20 is an error of 20 pixels and of 0.2 sides; 10 and 15 are overlaps of 0.5 and 0.75.
METRIC_SOURCES: dict[str, tuple[str, int | None]] = {
    SUCCESS: (SUCCESS, None),
    PRECISION: (PRECISION, 20),
    NORM_PRECISION: (NORM_PRECISION, 20),
    "op50": (SUCCESS, 10),
    "op75": (SUCCESS, 15),
}


@dataclass(frozen=True)
class BoxProtocol:
    """A protocol over boxes.

    `scorer(truth)` does what is needed once for a ground truth, and returns a function that scores one
    tracker. `absent_flag` is the number that means *absent* in a toolkit's `annos/absent`; None where the
    protocol does not define it. With `needs_flags` a missing folder of flags is an error. With `accepts_nan`
    results may be NaN, as some trackers write absence. `weights(truth)` are the weights of sequences, float64
    (S,); None: equal weights.
    """

    measures: Measures
    scorer: Callable[[BoxTruth], Scorer]
    absent_flag: int | None = None
    needs_flags: bool = False
    accepts_nan: bool = True
    weights: Callable[[BoxTruth], np.ndarray] | None = None

    @property
    def name(self) -> str:
        """The option of `protocol=`."""
        return self.measures.protocol

    def evaluate(self, settings: EvaluationSettings) -> Evaluation:
        """See `evaluation.protocols.registry.EvaluationProtocol`."""
        # Imported here, because that module imports this one.
        from evaluation.boxes.evaluation import evaluate_boxes

        return evaluate_boxes(self, settings)

    def frame_source(self, settings: EvaluationSettings) -> FrameSource | None:
        """See `evaluation.protocols.registry.EvaluationProtocol`."""
        if not settings.data:  # only an index knows where the frames lie
            return None
        from evaluation.report.frame_sources import IndexFrames

        return IndexFrames.of(settings)


def ope_protocol(
    name: str, rules: OpeRules, formula: str, source: str, metrics: tuple[Metric, ...] = OPE_METRICS
) -> BoxProtocol:
    """A protocol of one-pass evaluation that counts by `rules`.

    `metrics` are some of `METRIC_SOURCES`. Flags of absence are added by `with_flags`, other fields by
    `dataclasses.replace`.
    """
    measures = Measures(name, metrics, _curves(rules), formula, source)

    def scorer(truth: BoxTruth) -> Scorer:
        counter = OpePass(truth, rules)
        return lambda results: _ope_scores(results, counter, metrics, truth)

    return BoxProtocol(measures, scorer)


def with_flags(protocol: BoxProtocol, absent_flag: int) -> BoxProtocol:
    """The same protocol with flags of absence: it needs `annos/absent`, where `absent_flag`
    means *absent*.
    """
    return replace(protocol, absent_flag=absent_flag, needs_flags=True)


def _curves(rules: OpeRules) -> tuple[Curve, ...]:
    """The curves that rules produce."""
    success = Curve(SUCCESS, "Success", "Overlap threshold", "Success rate (%)", rules.overlaps, SUCCESS)
    precision = Curve(
        PRECISION, "Precision", "Location error threshold (pixels)", "Precision (%)", PIXEL_ERRORS, PRECISION
    )
    normalised = Curve(
        NORM_PRECISION,
        "Normalised precision",
        "Normalised location error threshold",
        "Precision (%)",
        NORM_ERRORS,
        NORM_PRECISION,
    )
    return (success, precision, normalised) if rules.normalised else (success, precision)


def _ope_scores(
    results: BoxResults, counter: OpePass, metrics: tuple[Metric, ...], truth: BoxTruth
) -> TrackerScores:
    """The metrics of one tracker from its curves."""
    rates, overlaps = counter.rates(results)
    counts = {key: _counting(rate, counter.rules, results, truth) for key, rate in rates.items()}
    curves = {key: np.where(counts[key][:, None], 100 * rate, np.nan) for key, rate in rates.items()}
    overall, by_sequence = {}, {}
    for metric in metrics:
        # `rate` (S, T) is the curve of each sequence, from 0 to 1.
        curve, place = METRIC_SOURCES[metric.key]
        rate, counted = rates[curve], counts[curve]
        of_each = rate.mean(axis=1) if place is None else rate[:, place]
        by_sequence[metric.key] = np.where(counted, 100 * of_each, np.nan)
        # As in the toolkits: first the mean curve over sequences, then its value at a threshold or its mean.
        mean = rate[counted].mean(axis=0) if counted.any() else np.full(rate.shape[1], np.nan)
        overall[metric.key] = 100 * float(mean.mean() if place is None else mean[place])
    return TrackerScores(results.tracker, overall, by_sequence, curves, overlaps)


def _counting(rate: np.ndarray, rules: OpeRules, results: BoxResults, truth: BoxTruth) -> np.ndarray:
    """Which sequences count, bool (S,).

    The MATLAB toolkits leave out sequences whose curve is zero everywhere. A sequence with missing results
    counts all the same: leaving it out would raise the score of a tracker that did not finish.
    """
    if not rules.skips_zero_curves:
        return np.ones(len(rate), bool)
    # The toolkits write `sum(aa, 2) > eps`.
    counted: np.ndarray = rate.sum(axis=1) > EPS
    if results.missing is not None:
        # `reduceat` relies on sequences of one frame or more: for an empty one it returns an element, not 0.
        counted |= np.add.reduceat(results.missing.astype(np.int64), truth.starts[:-1]) > 0
    return counted
