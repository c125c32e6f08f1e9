"""What a protocol over boxes is, and the one-pass evaluations (OPE) that make figures of curves."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from evaluation.boxes.ope import EPS, NORM_PRECISION, PIXELS, PRECISION, SHARES, SUCCESS, OpePass, OpeRules
from evaluation.boxes.ragged import BoxResults, BoxTruth
from evaluation.config import EvaluationSettings
from evaluation.scores import Curve, Evaluation, FrameSource, Measures, Metric, TrackerScores

Scorer = Callable[[BoxResults], TrackerScores]
SUCCESS_METRIC = Metric(SUCCESS, "Success (AUC)")
PRECISION_METRIC = Metric(PRECISION, "Precision (20 px)")
NORM_PRECISION_METRIC = Metric(NORM_PRECISION, "Norm. precision (0.2)")
OPE_METRICS = (SUCCESS_METRIC, PRECISION_METRIC, NORM_PRECISION_METRIC)
Figure = tuple[str, int | None]  # of a curve: its value at a threshold's place, or its mean
FIGURES: dict[str, Figure] = {
    SUCCESS: (SUCCESS, None),
    PRECISION: (PRECISION, 20),
    NORM_PRECISION: (NORM_PRECISION, 20),
    "op50": (SUCCESS, 10),
    "op75": (SUCCESS, 15),
}


@dataclass(frozen=True)
class BoxProtocol:
    """A protocol over boxes.

    `scorer(truth)` prepares a truth and gives a function that scores one tracker. `absent_flag` is the number
    that says *absent* in a toolkit's `annos/absent`, None where the protocol reads no flags; with
    `needs_flags` it cannot do without. `takes_nan`: a result may be NaN, as a tracker writes it that has
    none. `weights(truth)`: how much each sequence counts, float64 (S,); None: all alike.
    """

    measures: Measures
    scorer: Callable[[BoxTruth], Scorer]
    absent_flag: int | None = None
    needs_flags: bool = False
    takes_nan: bool = True
    weights: Callable[[BoxTruth], np.ndarray] | None = None

    @property
    def name(self) -> str:
        """The option of `protocol=`."""
        return self.measures.protocol

    def evaluate(self, settings: EvaluationSettings) -> Evaluation:
        """See `evaluation.protocols.registry.EvaluationProtocol`."""
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
    """A protocol that counts as `rules` say; its `absent_flag` and the like are set with `replace`."""
    measures = Measures(name, metrics, _curves(rules), formula, source)

    def scorer(truth: BoxTruth) -> Scorer:
        counter = OpePass(truth, rules)
        return lambda results: _ope_scores(results, counter, metrics, truth)

    return BoxProtocol(measures, scorer)


def with_flags(protocol: BoxProtocol, absent_flag: int) -> BoxProtocol:
    """The same protocol, which needs the flags of `annos/absent`."""
    return replace(protocol, absent_flag=absent_flag, needs_flags=True)


def _curves(rules: OpeRules) -> tuple[Curve, ...]:
    success = Curve(SUCCESS, "Success", "Overlap threshold", "Success rate (%)", rules.overlaps, SUCCESS)
    precision = Curve(
        PRECISION, "Precision", "Location error threshold (pixels)", "Precision (%)", PIXELS, PRECISION
    )
    normalised = Curve(
        NORM_PRECISION,
        "Normalised precision",
        "Normalised location error threshold",
        "Precision (%)",
        SHARES,
        NORM_PRECISION,
    )
    return (success, precision, normalised) if rules.normalised else (success, precision)


def _ope_scores(
    results: BoxResults, counter: OpePass, metrics: tuple[Metric, ...], truth: BoxTruth
) -> TrackerScores:
    rates, overlaps = counter.rates(results)
    counts = {key: _counting(rate, counter.rules, results, truth) for key, rate in rates.items()}
    curves = {key: np.where(counts[key][:, None], 100 * rate, np.nan) for key, rate in rates.items()}
    overall, by_sequence = {}, {}
    for metric in metrics:
        curve, place = FIGURES[metric.key]
        rate, counted = rates[curve], counts[curve]
        of_each = rate.mean(axis=1) if place is None else rate[:, place]
        by_sequence[metric.key] = np.where(counted, 100 * of_each, np.nan)
        mean = rate[counted].mean(axis=0) if counted.any() else np.full(rate.shape[1], np.nan)
        overall[metric.key] = 100 * float(mean.mean() if place is None else mean[place])
    return TrackerScores(results.tracker, overall, by_sequence, curves, overlaps)


def _counting(rate: np.ndarray, rules: OpeRules, results: BoxResults, truth: BoxTruth) -> np.ndarray:
    """Which sequences count, bool (S,). One that has results missing does, though it has nothing else."""
    if not rules.leaves_out_zero:
        return np.ones(len(rate), bool)
    counted: np.ndarray = rate.sum(axis=1) > EPS
    if results.missing is not None:
        counted |= np.add.reduceat(results.missing.astype(np.int64), truth.starts[:-1]) > 0
    return counted
