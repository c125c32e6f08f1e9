"""The radar of attributes: a spoke an attribute, a line a tracker."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.projections.polar import PolarAxes

from evaluation.report.means import attributes_of, figure_of
from evaluation.report.styles import label, line_style
from evaluation.scores import Evaluation, Metric

FEWEST = 3  # spokes
STEP = 10.0  # between rings


def radar_figure(evaluation: Evaluation, metric: Metric) -> Figure | None:
    """The figures of every tracker by attribute, all spokes on one scale; None for under three attributes.

    Beside an attribute stand the lowest and the highest figure of any tracker.
    """
    attributes = attributes_of(evaluation)
    figures = np.array([
        [figure_of(scores, metric.key, evaluation.benchmark, has) for has in attributes.values()]
        for scores in evaluation.trackers
    ])  # fmt: skip
    if len(attributes) < FEWEST or not np.isfinite(figures).any():
        return None
    figure = Figure(figsize=(5.6, 5.6))
    axes = figure.add_subplot(projection="polar")
    assert isinstance(axes, PolarAxes)
    angles = np.linspace(0, 2 * np.pi, len(attributes), endpoint=False)
    for number, (scores, row) in enumerate(zip(evaluation.trackers, figures, strict=True)):
        closed = (np.append(angles, 2 * np.pi), np.append(row, row[0]))
        axes.plot(*closed, label=f" {label(scores.tracker, 24)}", **line_style(number))
    _scale(axes, figures)
    _spokes(axes, angles, [_spoke(name, column) for name, column in zip(attributes, figures.T, strict=True)])
    title = f"{metric.title} by attribute: {evaluation.benchmark.name} ({evaluation.measures.protocol})"
    axes.set_title(label(title, 70), fontsize=10, pad=40)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, fontsize=8.5, handlelength=2.6)
    return figure


def _spoke(name: str, figures: np.ndarray) -> str:
    known = figures[np.isfinite(figures)]
    extent = f"{known.min():.1f}–{known.max():.1f}" if len(known) else "–"
    return f"{label(name, 24)}\n({extent})"


def _scale(axes: PolarAxes, figures: np.ndarray) -> None:
    """Rings a round number apart, from below the lowest figure to above the highest."""
    low = STEP * np.floor(np.nanmin(figures) / STEP - 0.5)
    high = STEP * np.ceil(np.nanmax(figures) / STEP)
    low = max(low, 0.0) if np.nanmin(figures) >= 0 else low
    axes.set_ylim(low, max(high, low + STEP))
    rings = np.arange(low, high + 1, STEP if high - low <= 6 * STEP else 2 * STEP)
    axes.set_rgrids(rings.tolist(), [""] * len(rings))
    between = np.pi / figures.shape[1]  # two spokes: fewest lines bend there
    for ring in rings:
        axes.text(
            between, ring, f"{ring:g}", fontsize=7, color="#444444", ha="center", va="center", zorder=4,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )  # fmt: skip


def _spokes(axes: PolarAxes, angles: np.ndarray, names: list[str]) -> None:
    """Names outside the circle, turned away from it so that none lies on the plot."""
    axes.set_theta_offset(np.pi / 2)
    axes.set_theta_direction(-1)
    axes.set_xticks(angles, [])
    for angle, name in zip(angles, names, strict=True):
        across, up = np.sin(angle), np.cos(angle)
        axes.annotate(
            name, (0.5 + 0.53 * across, 0.5 + 0.53 * up), xycoords="axes fraction", fontsize=8,
            ha="center" if abs(across) < 0.05 else "left" if across > 0 else "right",
            va="center" if abs(up) < 0.9 else "bottom" if up > 0 else "top", annotation_clip=False,
        )  # fmt: skip
