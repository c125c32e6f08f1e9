"""What a protocol says of trackers: figures of each sequence and over all, and the curves behind them.

Every figure and every curve is in percent. Tables, plots and reports are made from this alone, so a
protocol that fills it in has them all.
"""

from dataclasses import dataclass, field

import numpy as np


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
