"""The plot of two trackers' differences, sorted, a bar a sequence."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from configs.terminal import counted
from evaluation.report.compare import Comparison, signed
from evaluation.report.styles import BETTER, WORSE, label

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
