"""Means over sequences, and who is ahead: what every table and plot of a report counts alike."""

from collections.abc import Sequence

import numpy as np

from evaluation.scores import Benchmark, Curve, Evaluation, Metric, TrackerScores


def mean_over(
    values: np.ndarray, weights: np.ndarray | None = None, chosen: np.ndarray | None = None
) -> np.ndarray:
    """The mean over sequences, (S,) or (S, T): those that are `chosen`, bool (S,), and are not NaN.

    `weights` (S,) is how much each sequence counts. NaN where no sequence counts.
    """
    if chosen is not None:
        values, weights = values[chosen], None if weights is None else weights[chosen]
    share = np.ones(len(values)) if weights is None else weights
    # A sequence counts or does not; a curve of NaN is one that does not.
    share = np.where(np.isnan(values), 0.0, share.reshape(-1, *[1] * (values.ndim - 1)))
    total = share.sum(axis=0)
    summed = (np.nan_to_num(values) * share).sum(axis=0)
    return np.divide(summed, total, out=np.full(np.shape(summed), np.nan), where=total > 0)


def curve_of(
    scores: TrackerScores, curve: Curve, benchmark: Benchmark, chosen: np.ndarray | None = None
) -> np.ndarray:
    """A tracker's curve (T,), the mean over sequences."""
    return mean_over(scores.curves[curve.key], benchmark.weights, chosen)


def figure_of(
    scores: TrackerScores, metric: str, benchmark: Benchmark, chosen: np.ndarray | None = None
) -> float:
    """A tracker's figure over all, or over the sequences that are `chosen`; NaN where it has none."""
    if chosen is None:
        return scores.overall.get(metric, np.nan)
    if metric not in scores.by_sequence:
        return np.nan
    return float(mean_over(scores.by_sequence[metric], benchmark.weights, chosen))


def ranked(values: Sequence[float], higher_is_better: bool = True) -> list[int]:
    """Places in `values` from the best to the worst, equals as they stand; those that are NaN come last."""
    sign = -1 if higher_is_better else 1
    return sorted(range(len(values)), key=lambda i: (np.isnan(values[i]), sign * values[i]))


def metric_of(evaluation: Evaluation, key: str) -> Metric:
    """The metric with this key."""
    return next(metric for metric in evaluation.measures.metrics if metric.key == key)


def attributes_of(evaluation: Evaluation) -> dict[str, np.ndarray]:
    """The attributes that at least one sequence has, bool (S,) by name."""
    return {name: has for name, has in evaluation.benchmark.attributes.items() if has.any()}
