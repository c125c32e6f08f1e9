"""All plots of a report, and their files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from evaluation.report.compare import Comparison
from evaluation.report.compare_plot import delta_figure
from evaluation.report.curves import attribute_figure, curve_figure
from evaluation.report.radar import radar_figure
from evaluation.report.styles import plot_settings, save
from evaluation.scores import Evaluation

CURVES, RADAR, ATTRIBUTE_CURVES, DELTAS = "curves", "radar", "attribute_curves", "deltas"


@dataclass(frozen=True)
class Plot:
    """A plot that lies in files, one a format; `group` is where it stands in the page."""

    group: str
    title: str
    files: tuple[Path, ...]

    @property
    def svg(self) -> Path:
        """The file that the page shows."""
        return next(path for path in self.files if path.suffix == ".svg")


def write_plots(evaluation: Evaluation, comparisons: list[Comparison], folder: Path) -> list[Plot]:
    """Draw and write everything that can be drawn of an evaluation."""
    written = []
    with plot_settings():
        for group, name, title, figure in _figures(evaluation, comparisons):
            if figure is not None:
                written.append(Plot(group, title, tuple(save(figure, folder / name))))
    return written


def _figures(
    evaluation: Evaluation, comparisons: list[Comparison]
) -> Iterator[tuple[str, str, str, Figure | None]]:
    """Group, name of the files, title, and the plot: None where there is nothing to draw."""
    first = evaluation.measures.metrics[0]
    for curve in evaluation.measures.curves:
        yield CURVES, curve.key, curve.title, curve_figure(evaluation, curve)
    yield RADAR, f"radar_{first.key}", f"{first.title} by attribute", radar_figure(evaluation, first)
    for curve in evaluation.measures.curves:
        title = f"{curve.title} by attribute"
        yield ATTRIBUTE_CURVES, f"attributes_{curve.key}", title, attribute_figure(evaluation, curve)
    for each in comparisons[:1]:
        yield DELTAS, f"comparison_{each.metric.key}", each.title, delta_figure(each)
