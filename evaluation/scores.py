"""What a protocol says of trackers: figures of each sequence and over all, the curves behind them, and means.

Every figure and every curve is in percent. Tables, plots and reports are made from this alone, so a
protocol that fills it in has them all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from data_prep.geometry import Box


@dataclass(frozen=True)
class Metric:
    """One figure: its key in `scores.json`, what it is called in a table, whether more is better.

    `pooled`: over the frames or losses of all sequences together. Their means over sequences say something
    else, so two trackers are not compared by it sequence by sequence.
    """

    key: str
    title: str
    higher_is_better: bool = True
    unit: str = "%"
    pooled: bool = False


@dataclass(frozen=True, eq=False)
class Curve:
    """A share of frames against a threshold. `metric` is the key of the figure that ranks trackers by it.

    `thresholds` float64 (T,), rising.
    """

    key: str
    title: str
    x_title: str
    y_title: str
    thresholds: np.ndarray
    metric: str


@dataclass(frozen=True)
class Measures:
    """What a protocol measures: `metrics` in the order of a table's columns, the first one ranks trackers.

    `formula` says in a few plain sentences how frames are counted, `source` where that comes from.
    """

    protocol: str
    metrics: tuple[Metric, ...]
    curves: tuple[Curve, ...]
    formula: str
    source: str


@dataclass(frozen=True, eq=False)
class TrackerScores:
    """One tracker on the S sequences of a benchmark.

    `overall` by metric key: what `scores.json` holds. `by_sequence` float64 (S,) by metric key, NaN where
    a sequence does not count. `curves` float64 (S, T) by curve key, a row of NaN where a sequence does not
    count. `frame_overlap` float32 (F,): IoU of each frame, NaN where it does not count, a sequence's frames
    being those from `Benchmark.starts` on; empty where the protocol has none.
    """

    tracker: str
    overall: dict[str, float]
    by_sequence: dict[str, np.ndarray]
    curves: dict[str, np.ndarray] = field(default_factory=dict)
    frame_overlap: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))


@dataclass(frozen=True, eq=False)
class Benchmark:
    """The sequences that trackers were scored on: S names, where their frames start, their attributes.

    `starts` int64 (S + 1,). `attributes` bool (S,) by name: which sequences have it. `weights` float64 (S,):
    how much each counts where a mean is taken over sequences; None: all alike.
    """

    name: str
    sequences: tuple[str, ...]
    starts: np.ndarray
    attributes: dict[str, np.ndarray] = field(default_factory=dict)
    weights: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One protocol on one benchmark for some trackers, best first, and what was noticed on the way."""

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
