"""Writing the results of an evaluation: scores.json, tables, plots, a comparison, and the HTML page."""

import json
from pathlib import Path

from data_prep.files import write_whole
from evaluation.report.compare import Comparison
from evaluation.report.compare import compare as compare_trackers
from evaluation.report.frame_selection import PictureSource
from evaluation.report.html_page import page
from evaluation.report.plot_style import FORMATS
from evaluation.report.plots import write_plots
from evaluation.report.table_formats import (
    about_text,
    csv_text,
    markdown_escaped,
    print_lines,
    print_table,
    write_table,
)
from evaluation.report.tables import about, attribute_table, overall_table, sequence_table
from evaluation.scores import Evaluation, attributes_of, json_number

PAGE, PLOTS = "report.html", "plots"
# Only files that match these patterns are removed, because `out` may contain others.
OWN = ("table.*", "attributes.*", "comparison.*", "sequences.csv", *(f"{PLOTS}/*.{kind}" for kind in FORMATS))


def write_report(
    evaluation: Evaluation,
    out: Path,
    compare: tuple[str, str] | None = None,
    pictures: PictureSource | None = None,
) -> list[Path]:
    """Write tables (CSV, LaTeX, Markdown), plots and `report.html` into `out`.

    Returns the paths of all files, the page first. `compare` names two trackers; by default the best two are
    compared. Files of an earlier report that this one does not have are removed. Raises UserError for a name
    of no tracker, and where a file cannot be written.
    """
    # 1. Tables.
    pair = compare or _best_two(evaluation)
    comparisons = compare_trackers(evaluation, *pair) if pair else []
    written = write_table(out, "table", overall_table(evaluation))
    if attributes_of(evaluation):
        table = attribute_table(evaluation, evaluation.measures.metrics[0])
        written += write_table(out, "attributes", table)
    written.append(_write(out / "sequences.csv", csv_text(sequence_table(evaluation))))
    if comparisons:
        table = comparisons[0].table(about(evaluation))
        written.append(_write(out / "comparison.csv", csv_text(table)))
        written.append(_write(out / "comparison.md", _comparison_text(evaluation, comparisons)))
    # 2. Plots and pictures of frames.
    plots = write_plots(evaluation, comparisons, out / PLOTS)
    written += [file for plot in plots for file in plot.files]
    frames = pictures.pictures(*pair) if pictures and pair else []
    # 3. The page, which embeds the plots as SVG.
    written.insert(0, _write(out / PAGE, page(evaluation, plots, comparisons, frames)))
    for old in {path for pattern in OWN for path in out.glob(pattern)} - set(written):
        old.unlink()  # an earlier report had more trackers or other metrics
    return written


def print_report(evaluation: Evaluation, compare: tuple[str, str] | None = None) -> None:
    """Print the table of all trackers, and the comparison of two of them by the first metric."""
    print_table(overall_table(evaluation))
    pair = compare or _best_two(evaluation)
    if pair:
        print_lines(["", *(each.summary() for each in compare_trackers(evaluation, *pair)[:1])])


def _best_two(evaluation: Evaluation) -> tuple[str, str] | None:
    names = [scores.tracker for scores in evaluation.trackers]
    return (names[0], names[1]) if len(names) > 1 else None


def _comparison_text(evaluation: Evaluation, comparisons: list[Comparison]) -> str:
    """The comparisons as Markdown, one line for each metric."""
    title = f"## {markdown_escaped(comparisons[0].a)} against {markdown_escaped(comparisons[0].b)}\n\n"
    lines = "".join(f"- {markdown_escaped(each.summary())}\n" for each in comparisons)
    return f"{title}{lines}\n{about_text(about(evaluation))}\n"


def _write(path: Path, content: str) -> Path:
    write_whole(path, content)
    return path


SCORES = "scores.json"


def write_scores(path: Path, evaluation: Evaluation) -> None:
    """Write `{tracker: {metric: value}}`, the best tracker first, in the metric's unit and with all digits.

    A metric without a value is null, such as the precision of absence where no result is absent. Raises
    UserError where the file cannot be written.
    """
    values = {
        each.tracker: {
            metric.key: json_number(each.overall[metric.key])
            for metric in evaluation.measures.metrics
            if metric.key in each.overall
        }
        for each in evaluation.trackers
    }
    # By default `json` writes NaN as `NaN`, which other programs do not read.
    write_whole(path, json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
