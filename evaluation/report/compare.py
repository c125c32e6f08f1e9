"""Two trackers side by side: what each sequence says, and how sure the difference of their means is.

The interval is a paired percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap,
1993, §13.3): sequences are drawn with replacement, both trackers' figures of a sequence together, since
a sequence that is hard for one is mostly hard for the other.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from configs.errors import UserError, did_you_mean
from configs.terminal import counted
from evaluation.report.plot_style import BETTER, WORSE, label
from evaluation.report.tables import DIGITS, Column, Sheet
from evaluation.scores import Evaluation, Metric, TrackerScores, mean_over

RESAMPLES, LEVEL, SEED = 10_000, 0.95, 0
BLOCK = 1_000_000  # drawn sequence numbers held at a time


@dataclass(frozen=True, eq=False)
class Comparison:
    """Tracker `a` against `b` by one metric, on the N sequences that count for both.

    `of_a`, `of_b` and `deltas` = a - b float64 (N,), sorted by falling delta as `sequences` are; `mean`
    is the mean delta, `low` and `high` its interval, NaN where there are fewer than two sequences.
    """

    a: str
    b: str
    metric: Metric
    sequences: tuple[str, ...]
    of_a: np.ndarray
    of_b: np.ndarray
    deltas: np.ndarray
    mean: float
    low: float
    high: float

    @property
    def unit(self) -> str:
        """The unit of a difference: percent are points."""
        return "points" if self.metric.unit == "%" else self.metric.unit

    @property
    def title(self) -> str:
        """What is compared."""
        return f"{self.a} − {self.b}, {self.metric.title}"

    def words(self) -> str:
        """The comparison in one line."""
        ahead = self.deltas if self.metric.higher_is_better else -self.deltas
        counts = f"better on {(ahead > 0).sum()} sequences, worse on {(ahead < 0).sum()}, equal on "
        return (
            f"{self.metric.title}: {self.a} − {self.b} = {signed(self.mean)} {self.unit} ({self.interval});"
            f" {self.a} is {counts}{(ahead == 0).sum()}. {self._verdict()}"
        )

    @property
    def interval(self) -> str:
        """The interval in words."""
        if np.isnan(self.low):
            return "no interval from one sequence"
        return f"{LEVEL:.0%} interval {signed(self.low)} to {signed(self.high)}"

    def _verdict(self) -> str:
        if np.isnan(self.low) or self.low <= 0 <= self.high:
            return "Which is better cannot be told from these sequences."
        return f"{self.a if (self.mean > 0) == self.metric.higher_is_better else self.b} is better."

    def sheet(self, about: tuple[tuple[str, str], ...]) -> Sheet:
        """A row a sequence, from where `a` is furthest above `b` to where it is furthest below."""
        columns = (
            Column("sequence", "Sequence"),
            Column(self.a, self.a),
            Column(self.b, self.b),
            Column("difference", "Difference", self.unit),
        )
        figures = (self.of_a.tolist(), self.of_b.tolist(), self.deltas.tolist())
        rows = tuple(zip(self.sequences, *figures, strict=True))
        return Sheet(self.title, columns, rows, (*about, ("metric", self.metric.key)))


def signed(value: float) -> str:
    """A difference as people read it, with its sign."""
    words = f"{value:+.{DIGITS}f}"
    return words[1:] if float(words) == 0 else words.replace("-", "−")


def compare(evaluation: Evaluation, a: str, b: str) -> list[Comparison]:
    """Compare two trackers by every metric that is a mean over sequences, where some count for both.

    Raises UserError for a tracker that was not scored, and for one compared with itself.
    """
    if a == b:
        raise UserError(f"compare=[{a},{b}]: is one tracker; name two")
    ours, theirs = _named(evaluation, a), _named(evaluation, b)
    return [
        _by_metric(evaluation, ours, theirs, metric)
        for metric in evaluation.measures.metrics
        if not metric.pooled
        and metric.key in ours.by_sequence
        and metric.key in theirs.by_sequence
        and np.isfinite(ours.by_sequence[metric.key] - theirs.by_sequence[metric.key]).any()
    ]


def _named(evaluation: Evaluation, name: str) -> TrackerScores:
    for scores in evaluation.trackers:
        if scores.tracker == name:
            return scores
    names = [scores.tracker for scores in evaluation.trackers]
    near = did_you_mean(name, names) or f"; there are {', '.join(names)}"
    raise UserError(f"compare: no tracker {name!r} was scored{near}")


def _by_metric(
    evaluation: Evaluation, ours: TrackerScores, theirs: TrackerScores, metric: Metric
) -> Comparison:
    of_a, of_b = ours.by_sequence[metric.key], theirs.by_sequence[metric.key]
    weights = evaluation.benchmark.weights
    counts = np.isfinite(of_a - of_b) if weights is None else np.isfinite(of_a - of_b) & (weights > 0)
    counting = np.flatnonzero(counts)
    deltas = (of_a - of_b)[counting]
    order = counting[np.argsort(-deltas, kind="stable")]
    deltas = (of_a - of_b)[order]
    shares = np.ones(len(order)) if weights is None else weights[order]
    low, high = bootstrap_interval(deltas, shares)
    names = tuple(evaluation.benchmark.sequences[i] for i in order)
    mean = float(mean_over(deltas, shares))
    return Comparison(
        ours.tracker, theirs.tracker, metric, names, of_a[order], of_b[order], deltas, mean, low, high
    )


def bootstrap_interval(deltas: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """The interval of the weighted mean of `deltas` (N,) under resampling; NaN for fewer than two.

    The same numbers give the same interval: the draws are seeded.
    """
    count = len(deltas)
    if count < 2:
        return np.nan, np.nan
    random, means = np.random.default_rng(SEED), []
    step = max(1, BLOCK // count)
    for start in range(0, RESAMPLES, step):
        drawn = random.integers(count, size=(min(step, RESAMPLES - start), count))
        means.append((deltas * weights)[drawn].sum(axis=1) / weights[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


NAMED = 40  # sequences up to which every bar has its name


def delta_figure(comparison: Comparison) -> Figure:
    """A bar a sequence, the mean as a line and its interval as a band."""
    count = len(comparison.deltas)
    named = count <= NAMED
    size = (6.4, 1.6 + 0.17 * count) if named else (7.6, 3.6)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(label(comparison.title, 80), fontsize=10)
    words = [f"{label(comparison.a)} better", f"{label(comparison.b)} better"]
    words.append(f"mean {signed(comparison.mean)}, {comparison.interval}")
    ahead = comparison.deltas if comparison.metric.higher_is_better else -comparison.deltas
    colours = np.where(ahead >= 0, BETTER, WORSE)
    (_named_bars if named else _bars)(axes, comparison, colours)
    figure.legend(
        [Patch(color=BETTER), Patch(color=WORSE), Patch(color="#bbbbbb")],
        words,
        loc="outside lower center", ncols=3, fontsize=8.5,
    )  # fmt: skip
    return figure


def _named_bars(axes: Axes, comparison: Comparison, colours: np.ndarray) -> None:
    """Lying bars with names, the best at the top."""
    places = np.arange(len(comparison.deltas))
    axes.barh(places, comparison.deltas, color=colours, height=0.75)
    axes.set_yticks(places, [label(name, 40) for name in comparison.sequences], fontsize=7)
    axes.set_ylim(len(places) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.axvline(0, color="black", linewidth=0.8)
    if not np.isnan(comparison.low):
        axes.axvspan(comparison.low, comparison.high, color="#bbbbbb", alpha=0.6, zorder=0.5)
    axes.axvline(comparison.mean, color="#444444", linewidth=1.0, linestyle="--")
    axes.set_xlabel(f"difference ({comparison.unit})")


def _bars(axes: Axes, comparison: Comparison, colours: np.ndarray) -> None:
    """Standing bars without names, for many sequences."""
    count = len(comparison.deltas)
    # Edges of the same colour: neighbours would else be parted by hair lines of the ground.
    axes.bar(np.arange(1, count + 1), comparison.deltas, 1.0, color=colours, edgecolor=colours, linewidth=0.4)
    axes.set_xlim(0, count + 1)
    axes.grid(axis="x", visible=False)
    axes.axhline(0, color="black", linewidth=0.8)
    if not np.isnan(comparison.low):
        axes.axhspan(comparison.low, comparison.high, color="#bbbbbb", alpha=0.6, zorder=0.5)
    axes.axhline(comparison.mean, color="#444444", linewidth=1.0, linestyle="--")
    axes.set_xlabel(f"{counted(count, 'sequence')}, sorted by difference")
    axes.set_ylabel(f"difference ({comparison.unit})")
