"""The plots of a report: curves of success and precision, the radar of attributes, and their files."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.projections.polar import PolarAxes

from evaluation.report.compare import Comparison, delta_figure
from evaluation.report.plot_style import label, line_style, plot_settings, save
from evaluation.report.tables import DIGITS
from evaluation.scores import (
    Curve,
    Evaluation,
    Metric,
    attributes_of,
    mean_curve,
    metric_of,
    metric_value,
    ranked,
)

COLUMNS = 3  # of the grid of attributes
# Sizes in inches (width, height). They are fixed, because a layout by matplotlib would narrow the axes to
# make room for the legend beside them, and plots of one report would differ in size.
PLOT = (3.9, 3.3)
SMALL_PLOT, CELL = (2.15, 1.8), (4.35, 2.6)  # a cell holds axes, legend and titles


def curve_figure(evaluation: Evaluation, curve: Curve) -> Figure:
    """One curve of all trackers over all sequences; the legend ranks trackers by the value in brackets."""
    figure = Figure(figsize=PLOT)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_title(label(_title(evaluation, curve.title), 60), fontsize=10)
    _draw(axes, evaluation, curve)
    return figure


def attribute_figure(evaluation: Evaluation, curve: Curve) -> Figure | None:
    """A grid of such plots, one for each attribute; None where sequences have no attributes."""
    attributes = attributes_of(evaluation)
    if not attributes:
        return None
    columns = min(COLUMNS, len(attributes))
    rows = math.ceil(len(attributes) / columns)
    width, height = columns * CELL[0], rows * CELL[1]
    figure = Figure(figsize=(width, height))
    figure.text(0, 1.01, label(_title(evaluation, f"{curve.title} by attribute"), 90), fontsize=11)
    for number, (name, has) in enumerate(attributes.items()):
        # Axes are placed row by row from the top; figure coordinates begin at the bottom.
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
    """Draw curves and legend over the `chosen` sequences, bool (S,); trackers without this curve are left
    out.
    """
    metric = metric_of(evaluation, curve.metric)
    # The number of a tracker is its rank, which decides its colour and dash; so it is kept here.
    drawn = [(i, scores) for i, scores in enumerate(evaluation.trackers) if curve.key in scores.curves]
    figures = [metric_value(scores, curve.metric, evaluation.benchmark, chosen) for _, scores in drawn]
    lines = [
        axes.plot(
            curve.thresholds, mean_curve(scores, curve, evaluation.benchmark, chosen), **line_style(number)
        )[0]
        for number, scores in drawn
    ]  # fmt: skip
    # Over all sequences this is the order of trackers. By attribute it may be another one.
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
    """A legend beside the axes, where it hides no curve. The more names, the smaller the font."""
    largest, fitting = (6.5, 13) if small else (8.5, 20)  # font size, and how many names fit at that size
    size = max(3.5, min(largest, largest * fitting / max(1, len(names))))
    axes.legend(
        lines, names, title=label(f"[{title}]", 40), title_fontsize=size, alignment="left", fontsize=size,
        loc="upper left", bbox_to_anchor=(1.03, 1.0), borderaxespad=0, handlelength=2.6,
        labelspacing=0.35,
    )  # fmt: skip


MIN_SPOKES = 3
RING_STEP = 10.0  # distance of rings


def radar_figure(evaluation: Evaluation, metric: Metric) -> Figure | None:
    """A radar chart of a metric by attribute: a spoke for each attribute, a line for each tracker.

    All spokes have one scale. Below the name of an attribute are the lowest and the highest value of all
    trackers. None where there are fewer than three attributes, or no values.
    """
    attributes = attributes_of(evaluation)
    figures = np.array([
        [metric_value(scores, metric.key, evaluation.benchmark, has) for has in attributes.values()]
        for scores in evaluation.trackers
    ])  # fmt: skip
    if len(attributes) < MIN_SPOKES or not np.isfinite(figures).any():
        return None
    figure = Figure(figsize=(5.6, 5.6))
    axes = figure.add_subplot(projection="polar")
    assert isinstance(axes, PolarAxes)
    angles = np.linspace(0, 2 * np.pi, len(attributes), endpoint=False)
    for number, (scores, row) in enumerate(zip(evaluation.trackers, figures, strict=True)):
        # The first point is repeated to close the polygon.
        closed = (np.append(angles, 2 * np.pi), np.append(row, row[0]))
        axes.plot(*closed, label=f" {label(scores.tracker, 24)}", **line_style(number))
    _scale(axes, figures)
    _spokes(axes, angles, [_spoke(name, column) for name, column in zip(attributes, figures.T, strict=True)])
    # Names may contain `$`, which `label` escapes.
    title = f"{metric.title} by attribute: {evaluation.benchmark.name} ({evaluation.measures.protocol})"
    axes.set_title(label(title, 70), fontsize=10, pad=40)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, fontsize=8.5, handlelength=2.6)
    return figure


def _spoke(name: str, figures: np.ndarray) -> str:
    known = figures[np.isfinite(figures)]
    extent = f"{known.min():.1f}–{known.max():.1f}" if len(known) else "–"
    return f"{label(name, 24)}\n({extent})"


def _scale(axes: PolarAxes, figures: np.ndarray) -> None:
    """Rings at multiples of `RING_STEP`, from below the lowest value to above the highest."""
    # At least half a step of room: at the centre all spokes meet, and lines cannot be told apart.
    low = RING_STEP * np.floor(np.nanmin(figures) / RING_STEP - 0.5)
    high = RING_STEP * np.ceil(np.nanmax(figures) / RING_STEP)
    # Scores begin at 0, but decay may be negative.
    low = max(low, 0.0) if np.nanmin(figures) >= 0 else low
    axes.set_ylim(low, max(high, low + RING_STEP))
    rings = np.arange(low, high + 1, RING_STEP if high - low <= 6 * RING_STEP else 2 * RING_STEP)
    axes.set_rgrids(rings.tolist(), [""] * len(rings))
    # Half-way between the first two spokes, where the lines have no corners.
    between = np.pi / figures.shape[1]
    for ring in rings:
        axes.text(
            between, ring, f"{ring:g}", fontsize=7, color="#444444", ha="center", va="center", zorder=4,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )  # fmt: skip


def _spokes(axes: PolarAxes, angles: np.ndarray, names: list[str]) -> None:
    """Names outside the circle, aligned away from it so that none covers the plot."""
    # The first spoke points up, and the others follow clockwise.
    axes.set_theta_offset(np.pi / 2)
    axes.set_theta_direction(-1)
    axes.set_xticks(angles, [])
    for angle, name in zip(angles, names, strict=True):
        across, up = np.sin(angle), np.cos(angle)
        # In fractions of the axes the circle has its centre at 0.5 and a radius of 0.5.
        axes.annotate(
            name, (0.5 + 0.53 * across, 0.5 + 0.53 * up), xycoords="axes fraction", fontsize=8,
            ha="center" if abs(across) < 0.05 else "left" if across > 0 else "right",
            va="center" if abs(up) < 0.9 else "bottom" if up > 0 else "top", annotation_clip=False,
        )  # fmt: skip


CURVES, RADAR, ATTRIBUTE_CURVES, DELTAS = "curves", "radar", "attribute_curves", "deltas"


@dataclass(frozen=True)
class Plot:
    """A plot that was written: its files, one for each format, and the section of the page (`group`)."""

    group: str
    title: str
    files: tuple[Path, ...]

    @property
    def svg(self) -> Path:
        """The file that is embedded in the page."""
        return next(path for path in self.files if path.suffix == ".svg")


def write_plots(evaluation: Evaluation, comparisons: list[Comparison], folder: Path) -> list[Plot]:
    """Draw and write all plots of an evaluation."""
    written = []
    with plot_settings():
        for group, name, title, figure in _figures(evaluation, comparisons):
            if figure is not None:
                written.append(Plot(group, title, tuple(save(figure, folder / name))))
    return written


def _figures(
    evaluation: Evaluation, comparisons: list[Comparison]
) -> Iterator[tuple[str, str, str, Figure | None]]:
    """Yield group, name of the files, title and figure of each plot; the figure is None if it has no data."""
    first = evaluation.measures.metrics[0]
    for curve in evaluation.measures.curves:
        yield CURVES, curve.key, curve.title, curve_figure(evaluation, curve)
    yield RADAR, f"radar_{first.key}", f"{first.title} by attribute", radar_figure(evaluation, first)
    for curve in evaluation.measures.curves:
        title = f"{curve.title} by attribute"
        yield ATTRIBUTE_CURVES, f"attributes_{curve.key}", title, attribute_figure(evaluation, curve)
    for each in comparisons[:1]:
        yield DELTAS, f"comparison_{each.metric.key}", each.title, delta_figure(each)
