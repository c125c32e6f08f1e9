"""The result of an evaluation: metrics of each sequence and over all, and the curves behind them.

Every percentage and every curve is from 0 to 100. Tables, plots and reports are made from an `Evaluation`
alone, so a protocol that returns one has them all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

import numpy as np

from data_prep.geometry import Box


@dataclass(frozen=True)
class Metric:
    """A metric: its key in `scores.json`, its title in a table, and whether higher values are better.

    A `pooled` metric is computed over the frames or losses of all sequences together. The mean of its values
    over sequences is another number, so two trackers are not compared by it sequence by sequence.
    """

    key: str
    title: str
    higher_is_better: bool = True
    unit: str = "%"
    pooled: bool = False


@dataclass(frozen=True, eq=False)
class Curve:
    """The share of frames that pass a threshold, as a function of the threshold.

    `thresholds` is float64 (T,), rising. `metric` is the key of the metric that summarises the curve; legends
    rank trackers by it.
    """

    key: str
    title: str
    x_title: str
    y_title: str
    thresholds: np.ndarray
    metric: str


@dataclass(frozen=True)
class Measures:
    """What a protocol measures. `metrics` are in the order of a table's columns; the first one ranks
    trackers.

    `formula` states in a few sentences how frames are counted, `source` the publication or tool that defines
    it.
    """

    protocol: str
    metrics: tuple[Metric, ...]
    curves: tuple[Curve, ...]
    formula: str
    source: str


@dataclass(frozen=True, eq=False)
class TrackerScores:
    """The scores of one tracker on the S sequences of a benchmark.

    `overall` holds the values of `scores.json` by the key of the metric. `by_sequence` holds float64 (S,) by
    the key of the metric, NaN where a sequence does not count. `curves` holds float64 (S, T) by the key of
    the curve, a row of NaN where a sequence does not count. `frame_overlap` float32 (F,) is the IoU of each
    frame of all sequences (see `Benchmark.starts`), NaN where a frame does not count. It is empty where the
    protocol computes no overlaps.
    """

    tracker: str
    overall: dict[str, float]
    by_sequence: dict[str, np.ndarray]
    curves: dict[str, np.ndarray] = field(default_factory=dict)
    frame_overlap: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))


@dataclass(frozen=True, eq=False)
class Benchmark:
    """The S sequences that trackers were scored on.

    The frames of all sequences are numbered through: those of sequence `i` are from `starts[i]` up to
    `starts[i + 1]`, where `starts` is int64 (S + 1,). `attributes` holds bool (S,) by name: which sequences
    have the attribute. `weights` float64 (S,) are the weights of sequences in a mean over them; None: equal
    weights.
    """

    name: str
    sequences: tuple[str, ...]
    starts: np.ndarray
    attributes: dict[str, np.ndarray] = field(default_factory=dict)
    weights: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The scores of some trackers on one benchmark by one protocol, the best tracker first.

    `notes` are remarks on the files that were read, one line each.
    """

    measures: Measures
    benchmark: Benchmark
    trackers: tuple[TrackerScores, ...]
    notes: tuple[str, ...] = ()


Region = Box | np.ndarray | None
"""Where a target is in a frame: a box xywh in its pixels, a mask (height, width), or None for absence."""


@dataclass(frozen=True, eq=False)
class FrameView:
    """One frame as a report shows it: the image, the ground truth, and the results of some trackers.

    `frame_index` is the frame's place in its video, from 0. `image` is RGB uint8 (height, width, 3).
    `expression` is the text that describes the target in this frame; empty where there is none.
    """

    frame_index: int
    image: np.ndarray
    truth: Region
    results: Mapping[str, Region]
    expression: str


FrameSource = Callable[[int, int, tuple[str, ...]], FrameView]
"""`source(sequence, frame, trackers)` reads one frame with the results of these trackers.

`sequence` and `frame` count from 0, as in `Benchmark.starts`."""


def weighted_mean(
    values: np.ndarray, weights: np.ndarray | None = None, chosen: np.ndarray | None = None
) -> np.ndarray:
    """The mean of values (S,) or (S, T) over sequences, without those that are NaN.

    `weights` (S,) are the weights of sequences (None: equal). `chosen` bool (S,) selects sequences (None:
    all). NaN where no sequence counts.
    """
    if chosen is not None:
        values, weights = values[chosen], None if weights is None else weights[chosen]
    share = np.ones(len(values)) if weights is None else weights
    # (S,) -> (S, 1) for curves. A sequence without a value has weight 0, so that it changes no mean.
    share = np.where(np.isnan(values), 0.0, share.reshape(-1, *[1] * (values.ndim - 1)))
    total = share.sum(axis=0)
    summed = (np.nan_to_num(values) * share).sum(axis=0)
    return np.divide(summed, total, out=np.full(np.shape(summed), np.nan), where=total > 0)


def mean_curve(
    scores: TrackerScores, curve: Curve, benchmark: Benchmark, chosen: np.ndarray | None = None
) -> np.ndarray:
    """The curve (T,) of a tracker, as the mean over sequences; `chosen` bool (S,) selects some of them."""
    return weighted_mean(scores.curves[curve.key], benchmark.weights, chosen)


def metric_value(
    scores: TrackerScores, metric: str, benchmark: Benchmark, chosen: np.ndarray | None = None
) -> float:
    """The value of a metric over all sequences, or over those that are `chosen`; NaN where there is none."""
    # A protocol may pool frames or weight sequences: its own value over all is not a mean of `by_sequence`.
    if chosen is None:
        return scores.overall.get(metric, np.nan)
    if metric not in scores.by_sequence:
        return np.nan
    return float(weighted_mean(scores.by_sequence[metric], benchmark.weights, chosen))


def ranked(values: Sequence[float], higher_is_better: bool = True) -> list[int]:
    """The indices of values from the best to the worst. Equal ones keep their order, and NaN comes last."""
    # NaN compares with nothing, so it is sorted by a flag of its own.
    sign = -1 if higher_is_better else 1
    return sorted(range(len(values)), key=lambda i: (np.isnan(values[i]), sign * values[i]))


def json_number(value: float) -> float | None:
    """A value for JSON, which has neither NaN nor infinity; None for these."""
    return float(value) if isfinite(value) else None


def metric_of(evaluation: Evaluation, key: str) -> Metric:
    """The metric with this key. Raises StopIteration where the protocol has no such metric."""
    return next(metric for metric in evaluation.measures.metrics if metric.key == key)


def attributes_of(evaluation: Evaluation) -> dict[str, np.ndarray]:
    """The attributes that at least one sequence has: which sequences have it, bool (S,), by name."""
    return {name: has for name, has in evaluation.benchmark.attributes.items() if has.any()}
