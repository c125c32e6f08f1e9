"""Plots of curves: success, precision, and what else a protocol draws; over all, and by attribute."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from evaluation.report.means import attributes_of, curve_of, figure_of, metric_of, ranked
from evaluation.report.sheet import DIGITS
from evaluation.report.styles import label, line_style
from evaluation.scores import Curve, Evaluation

COLUMNS = 3  # of a grid of attributes
# All lengths are inches. Places are fixed: a legend beside a plot must not squeeze it.
PLOT = (3.9, 3.3)
SMALL_PLOT, CELL = (2.15, 1.8), (4.35, 2.6)  # a cell holds a plot, its legend, and titles


def curve_figure(evaluation: Evaluation, curve: Curve) -> Figure:
    """A curve of every tracker over all sequences, ranked in the legend by the figure in brackets."""
    figure = Figure(figsize=PLOT)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_title(label(_title(evaluation, curve.title), 60), fontsize=10)
    _draw(axes, evaluation, curve)
    return figure


def attribute_figure(evaluation: Evaluation, curve: Curve) -> Figure | None:
    """A grid of such plots, one an attribute; None where sequences have no attributes."""
    attributes = attributes_of(evaluation)
    if not attributes:
        return None
    columns = min(COLUMNS, len(attributes))
    rows = math.ceil(len(attributes) / columns)
    width, height = columns * CELL[0], rows * CELL[1]
    figure = Figure(figsize=(width, height))
    figure.text(0, 1.01, label(_title(evaluation, f"{curve.title} by attribute"), 90), fontsize=11)
    for number, (name, has) in enumerate(attributes.items()):
        left, low = number % columns * CELL[0], (rows - 1 - number // columns) * CELL[1] + 0.5
        axes = figure.add_axes((left / width, low / height, SMALL_PLOT[0] / width, SMALL_PLOT[1] / height))
        axes.set_title(label(f"{name} ({has.sum()})", 40), fontsize=9)
        _draw(axes, evaluation, curve, has, small=True)
    return figure


def _title(evaluation: Evaluation, what: str) -> str:
    return f"{what}: {evaluation.benchmark.name} ({evaluation.measures.protocol})"


def _draw(
    axes: Axes, evaluation: Evaluation, curve: Curve, chosen: np.ndarray | None = None, small: bool = False
) -> None:
    """Curves and legend; a tracker without this curve is in neither."""
    metric = metric_of(evaluation, curve.metric)
    drawn = [(i, scores) for i, scores in enumerate(evaluation.trackers) if curve.key in scores.curves]
    figures = [figure_of(scores, curve.metric, evaluation.benchmark, chosen) for _, scores in drawn]
    lines = [
        axes.plot(
            curve.thresholds, curve_of(scores, curve, evaluation.benchmark, chosen), **line_style(number)
        )[0]
        for number, scores in drawn
    ]  # fmt: skip
    order = ranked(figures, metric.higher_is_better)
    names = [f"[{figures[i]:.{DIGITS}f}] {label(drawn[i][1].tracker, 18 if small else 34)}" for i in order]
    _legend(axes, [lines[i] for i in order], names, metric.title, small)
    axes.set(xlim=(curve.thresholds[0], curve.thresholds[-1]), ylim=(0, 100))
    axes.set_xlabel(label(curve.x_title, 60))
    axes.set_ylabel(label(curve.y_title, 40))
    if small:
        axes.tick_params(labelsize=7)
        axes.xaxis.label.set_fontsize(7)
        axes.yaxis.label.set_fontsize(7)


def _legend(axes: Axes, lines: Sequence[Line2D], names: Sequence[str], title: str, small: bool) -> None:
    """A legend beside the plot, where it hides no curve; many names are written smaller."""
    largest, most = (6.5, 13) if small else (8.5, 20)
    size = max(3.5, min(largest, largest * most / max(1, len(names))))
    axes.legend(
        lines, names, title=label(f"[{title}]", 40), title_fontsize=size, alignment="left", fontsize=size,
        loc="upper left", bbox_to_anchor=(1.03, 1.0), borderaxespad=0, handlelength=2.6,
        labelspacing=0.35,
    )  # fmt: skip
