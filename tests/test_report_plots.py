"""Plots: ranked legends, curves that are the means, styles that tell trackers apart, files that are alike."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from evaluation_miniature import FAIR, GOOD, MEASURES, POOR, evaluation, tracker
from matplotlib.axes import Axes

from evaluation.report.compare import MAX_NAMED, compare, delta_figure
from evaluation.report.plot_style import label, line_style, plot_settings, save
from evaluation.report.plots import attribute_figure, curve_figure, radar_figure, write_plots

SUCCESS, PRECISION = MEASURES.curves


def legend(axes: Axes) -> list[str]:
    found = axes.get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def test_the_legend_is_ranked_with_the_figure_in_brackets():
    (axes,) = curve_figure(evaluation(POOR, GOOD, FAIR), SUCCESS).axes
    assert legend(axes) == ["[50.0] good", "[42.4] fair", "[12.0] poor"]
    assert "Toy (toy)" in axes.get_title()


def test_the_curve_is_the_weighted_mean_over_sequences_that_count():
    weights = np.array([2.0, 1.0, 1.0, 1.0, 1.0, 5.0])
    (axes,) = curve_figure(evaluation(FAIR, weights=weights), SUCCESS).axes
    mean = np.average(FAIR.curves["success"][:5], axis=0, weights=weights[:5])
    np.testing.assert_allclose(axes.lines[0].get_ydata(), mean)


def test_a_panel_an_attribute_ranked_by_its_own_sequences():
    figure = attribute_figure(evaluation(), SUCCESS)
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == ["Occlusion (3)", "Blur (3)", "Small (3)"]
    assert legend(figure.axes[2]) == ["[51.7] good", "[47.5] fair", "[10.7] poor"]
    assert attribute_figure(evaluation(attributes=False), SUCCESS) is None


def test_a_tracker_looks_the_same_in_every_plot():
    (axes,) = curve_figure(evaluation(FAIR, GOOD), PRECISION).axes
    drawn = attribute_figure(evaluation(FAIR, GOOD), PRECISION)
    assert drawn is not None
    for other in drawn.axes:
        assert [line.get_color() for line in other.lines] == [line.get_color() for line in axes.lines]


def test_twenty_eight_trackers_are_told_apart_and_neighbours_twice():
    styles = [(style["color"], str(style["linestyle"])) for style in map(line_style, range(28))]
    assert len(set(styles)) == 28
    for (colour, dash), (next_colour, next_dash) in itertools.pairwise(styles):
        assert colour != next_colour and dash != next_dash


def test_no_legend_or_label_is_cut(tmp_path: Path):
    many = [tracker(f"{'very' * 9}_long_name_{i}", [50.0 - i] * 6) for i in range(24)]
    figure = curve_figure(evaluation(*many), SUCCESS)
    paths = save(figure, tmp_path / "plot")
    assert [path.suffix for path in paths] == [".png", ".pdf", ".svg"]
    text = paths[2].read_text()
    width, height = (float(text.split(f'{side}="')[1].split("pt")[0]) for side in ("width", "height"))
    box = figure.axes[0].get_legend().get_window_extent()
    axes = figure.axes[0].get_window_extent()
    assert (box.x1 - axes.x0) / figure.dpi * 72 < width
    assert (box.y1 - box.y0) / figure.dpi * 72 < height
    assert box.x0 > axes.x1  # beside the plot, over no curve


@pytest.mark.parametrize("name", ["$x$", r"$\frac{$", "_hidden", "a\x00b", r"\$", "<b>&amp;"])
def test_any_name_is_drawn_as_it_is(tmp_path: Path, name: str):
    figure = curve_figure(evaluation(tracker(name, [50.0] * 6)), SUCCESS)
    assert len(legend(figure.axes[0])) == 1
    save(figure, tmp_path / "plot")


def test_a_long_name_keeps_both_ends():
    assert label("a" * 30 + "b" * 30, 11) == "aaaaa…bbbbb"


def test_every_plot_has_its_files(tmp_path: Path):
    plots = write_plots(evaluation(), compare(evaluation(), "good", "fair"), tmp_path)
    assert {path.name for plot in plots for path in plot.files} == {
        f"{name}.{kind}"
        for name in ("success", "precision", "attributes_success", "attributes_precision", "radar_success",
                     "comparison_success")
        for kind in ("png", "pdf", "svg")
    }  # fmt: skip


def test_the_same_evaluation_gives_the_same_bytes(tmp_path: Path):
    for folder in ("a", "b"):
        with plot_settings():
            paths = save(curve_figure(evaluation(), SUCCESS), tmp_path / folder / "plot")
    for path in paths:
        assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes(), path.name


def test_the_radar_has_a_spoke_an_attribute_and_closes():
    figure = radar_figure(evaluation(), MEASURES.metrics[0])
    assert figure is not None
    (axes,) = figure.axes
    line = axes.lines[1]
    np.testing.assert_allclose(line.get_ydata(), [44.0, 43.5, 47.5, 44.0])
    low, high = axes.get_ylim()
    assert low <= 0.1 and high >= 50
    assert radar_figure(evaluation(attributes=False), MEASURES.metrics[0]) is None


@pytest.mark.parametrize("less_is_better", [False, True])
def test_a_bar_is_coloured_by_who_is_better(less_is_better: bool):
    found = compare(evaluation(), "good", "fair")[2 if less_is_better else 0]
    bars = delta_figure(found).axes[0].patches[: len(found.deltas)]
    colours = [bar.get_facecolor() for bar in bars]
    better = (found.deltas <= 0) if less_is_better else (found.deltas >= 0)
    assert len(set(colours)) == 1 + (not better.all())
    assert [colour == colours[int(np.argmax(better))] for colour in colours] == better.tolist()


def test_few_bars_have_names_and_many_have_none():
    found = compare(evaluation(), "good", "poor")[0]
    with plot_settings():
        few = delta_figure(found)
    assert [text.get_text() for text in few.axes[0].get_yticklabels()] == list(found.sequences)
    names = tuple(map(str, range(MAX_NAMED + 1)))
    deltas = np.linspace(5, -5, MAX_NAMED + 1)
    with plot_settings():
        many = delta_figure(dataclasses.replace(found, sequences=names, deltas=deltas))
    assert len(many.axes[0].get_yticklabels()) < 20
