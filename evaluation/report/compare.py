"""The comparison of two trackers: their difference on each sequence, and a confidence interval of its mean.

The interval is a paired percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap,
1993, §13.3). Sequences are resampled with replacement. The values of both trackers on a sequence are kept
together, because a sequence that is hard for one tracker is usually hard for the other too: the interval of a
paired difference is narrower than that of two independent means.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from configs.errors import UserError, did_you_mean
from configs.terminal import counted
from evaluation.report.plot_style import BETTER, WORSE, label
from evaluation.report.tables import DIGITS, Column, Table
from evaluation.scores import Evaluation, Metric, TrackerScores, weighted_mean

RESAMPLES, LEVEL, SEED = 10_000, 0.95, 0
BLOCK = 1_000_000  # resampled indices that are held in memory at a time


@dataclass(frozen=True, eq=False)
class Comparison:
    """Tracker `a` compared with `b` by one metric, on the N sequences that count for both.

    `sequences` are sorted by falling difference. `of_a`, `of_b` and `deltas` (a - b) are float64 (N,) in the
    same order. `mean` is the mean difference, from `low` to `high` is its confidence interval. Both are NaN
    where there are fewer than two sequences.
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
        """The unit of a difference: differences of percentages are percentage points."""
        return "points" if self.metric.unit == "%" else self.metric.unit

    @property
    def title(self) -> str:
        """The names of both trackers and of the metric."""
        return f"{self.a} − {self.b}, {self.metric.title}"

    def summary(self) -> str:
        """The comparison in one line of text."""
        # `deltas` are a - b in the unit of the metric; `ahead` is above 0 where `a` is better.
        ahead = self.deltas if self.metric.higher_is_better else -self.deltas
        counts = f"better on {(ahead > 0).sum()} sequences, worse on {(ahead < 0).sum()}, equal on "
        return (
            f"{self.metric.title}: {self.a} − {self.b} = {signed(self.mean)} {self.unit} ({self.interval});"
            f" {self.a} is {counts}{(ahead == 0).sum()}. {self._verdict()}"
        )

    @property
    def interval(self) -> str:
        """The confidence interval as text."""
        if np.isnan(self.low):
            return "no interval from one sequence"
        return f"{LEVEL:.0%} interval {signed(self.low)} to {signed(self.high)}"

    def _verdict(self) -> str:
        if np.isnan(self.low) or self.low <= 0 <= self.high:
            return "The interval contains 0: these sequences do not show which tracker is better."
        return f"{self.a if (self.mean > 0) == self.metric.higher_is_better else self.b} is better."

    def table(self, about: tuple[tuple[str, str], ...]) -> Table:
        """A row for each sequence, the one with the largest difference in favour of `a` first."""
        columns = (
            Column("sequence", "Sequence"),
            Column(self.a, self.a),
            Column(self.b, self.b),
            Column("difference", "Difference", self.unit),
        )
        figures = (self.of_a.tolist(), self.of_b.tolist(), self.deltas.tolist())
        rows = tuple(zip(self.sequences, *figures, strict=True))
        return Table(self.title, columns, rows, (*about, ("metric", self.metric.key)))


def signed(value: float) -> str:
    """A difference as text with its sign; zero has none."""
    text = f"{value:+.{DIGITS}f}"
    # Values that round to 0, and -0.0, have no sign. U+2212 is the minus sign, which is longer than a hyphen.
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def compare(evaluation: Evaluation, a: str, b: str) -> list[Comparison]:
    """Compare two trackers by every metric that is a mean over sequences and has values of both.

    Raises UserError for a tracker that was not scored, and for a tracker that is compared with itself.
    """
    if a == b:
        raise UserError(f"compare=[{a},{b}]: names one tracker twice; name two trackers")
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
    # 1. The sequences that count for both trackers. With weights of 0 a sequence does not count.
    counts = np.isfinite(of_a - of_b) if weights is None else np.isfinite(of_a - of_b) & (weights > 0)
    counting = np.flatnonzero(counts)
    deltas = (of_a - of_b)[counting]
    # 2. Sort them by falling difference; a stable sort keeps the order of equal ones.
    order = counting[np.argsort(-deltas, kind="stable")]
    deltas = (of_a - of_b)[order]
    # 3. The mean difference and its interval, with the weights of the sequences.
    shares = np.ones(len(order)) if weights is None else weights[order]
    low, high = bootstrap_interval(deltas, shares)
    names = tuple(evaluation.benchmark.sequences[i] for i in order)
    mean = float(weighted_mean(deltas, shares))
    return Comparison(
        ours.tracker, theirs.tracker, metric, names, of_a[order], of_b[order], deltas, mean, low, high
    )


def bootstrap_interval(deltas: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """The confidence interval of the weighted mean of `deltas` (N,); NaN for fewer than two of them.

    The same deltas give the same interval, because the random numbers are seeded.
    """
    count = len(deltas)
    if count < 2:
        return np.nan, np.nan
    random, means = np.random.default_rng(SEED), []
    # 1. The means of all resamples, computed in blocks to bound the memory: (resamples of a block, N) ->
    #    means.
    step = max(1, BLOCK // count)
    for start in range(0, RESAMPLES, step):
        # The weight of a sequence is drawn with its difference, so each mean has the weights of its own
        # sample.
        drawn = random.integers(count, size=(min(step, RESAMPLES - start), count))
        means.append((deltas * weights)[drawn].sum(axis=1) / weights[drawn].sum(axis=1))
    # 2. The percentile interval: quantiles of the resampled means, without a bias correction.
    low, high = np.quantile(np.concatenate(means), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


MAX_NAMED = 40  # sequences; with more of them the bars have no names


def delta_figure(comparison: Comparison) -> Figure:
    """A bar for each sequence, the mean as a dashed line, and its confidence interval as a band."""
    count = len(comparison.deltas)
    named = count <= MAX_NAMED
    size = (6.4, 1.6 + 0.17 * count) if named else (7.6, 3.6)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(label(comparison.title, 80), fontsize=10)
    texts = [f"{label(comparison.a)} better", f"{label(comparison.b)} better"]
    texts.append(f"mean {signed(comparison.mean)}, {comparison.interval}")
    ahead = comparison.deltas if comparison.metric.higher_is_better else -comparison.deltas
    colours = np.where(ahead >= 0, BETTER, WORSE)
    (_named_bars if named else _bars)(axes, comparison, colours)
    figure.legend(
        [Patch(color=BETTER), Patch(color=WORSE), Patch(color="#bbbbbb")],
        texts,
        loc="outside lower center", ncols=3, fontsize=8.5,
    )  # fmt: skip
    return figure


def _named_bars(axes: Axes, comparison: Comparison, colours: np.ndarray) -> None:
    """Horizontal bars with the names of the sequences, the largest difference at the top."""
    places = np.arange(len(comparison.deltas))
    axes.barh(places, comparison.deltas, color=colours, height=0.75)
    axes.set_yticks(places, [label(name, 40) for name in comparison.sequences], fontsize=7)
    # An inverted axis: the first sequence is at the top.
    axes.set_ylim(len(places) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.axvline(0, color="black", linewidth=0.8)
    if not np.isnan(comparison.low):
        # Behind the bars, whose `zorder` is 1.
        axes.axvspan(comparison.low, comparison.high, color="#bbbbbb", alpha=0.6, zorder=0.5)
    axes.axvline(comparison.mean, color="#444444", linewidth=1.0, linestyle="--")
    axes.set_xlabel(f"difference ({comparison.unit})")


def _bars(axes: Axes, comparison: Comparison, colours: np.ndarray) -> None:
    """Vertical bars without names, for many sequences."""
    count = len(comparison.deltas)
    # Edges have the colour of the bar. Without them a thin line of background shows between two bars.
    axes.bar(np.arange(1, count + 1), comparison.deltas, 1.0, color=colours, edgecolor=colours, linewidth=0.4)
    axes.set_xlim(0, count + 1)
    axes.grid(axis="x", visible=False)
    axes.axhline(0, color="black", linewidth=0.8)
    if not np.isnan(comparison.low):
        axes.axhspan(comparison.low, comparison.high, color="#bbbbbb", alpha=0.6, zorder=0.5)
    axes.axhline(comparison.mean, color="#444444", linewidth=1.0, linestyle="--")
    axes.set_xlabel(f"{counted(count, 'sequence')}, sorted by difference")
    axes.set_ylabel(f"difference ({comparison.unit})")
