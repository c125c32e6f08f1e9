"""Everything that is written of an evaluation: tables, plots, a comparison, and a page that shows it all."""

from pathlib import Path

from data_prep.files import write_whole
from evaluation.report.compare import Comparison
from evaluation.report.compare import compare as compare_trackers
from evaluation.report.csv_table import csv_text
from evaluation.report.html_page import page
from evaluation.report.latex import latex_text
from evaluation.report.markdown import about_text, escaped, markdown_text
from evaluation.report.means import attributes_of
from evaluation.report.picture_source import PictureSource
from evaluation.report.plots import write_plots
from evaluation.report.score_sheets import about, attribute_sheet, overall_sheet, sequence_sheet
from evaluation.report.sheet import Sheet
from evaluation.report.styles import FORMATS
from evaluation.report.table import print_lines, print_sheet
from evaluation.scores import Evaluation

PAGE, PLOTS = "report.html", "plots"
OWN = ("table.*", "attributes.*", "comparison.*", "sequences.csv", *(f"{PLOTS}/*.{kind}" for kind in FORMATS))


def write_report(
    evaluation: Evaluation,
    out: Path,
    compare: tuple[str, str] | None = None,
    pictures: PictureSource | None = None,
) -> list[Path]:
    """Write tables (CSV, LaTeX, Markdown), plots and `report.html` into `out`; the files, the page first.

    `compare` names two trackers; without, the best two are compared. Raises UserError for a name that is
    no tracker's, and where a file cannot be written.
    """
    pair = compare or _best_two(evaluation)
    comparisons = compare_trackers(evaluation, *pair) if pair else []
    written = _write_sheet(out, "table", overall_sheet(evaluation))
    if attributes_of(evaluation):
        sheet = attribute_sheet(evaluation, evaluation.measures.metrics[0])
        written += _write_sheet(out, "attributes", sheet)
    written.append(_write(out / "sequences.csv", csv_text(sequence_sheet(evaluation))))
    if comparisons:
        sheet = comparisons[0].sheet(about(evaluation))
        written.append(_write(out / "comparison.csv", csv_text(sheet)))
        written.append(_write(out / "comparison.md", _comparison_text(evaluation, comparisons)))
    plots = write_plots(evaluation, comparisons, out / PLOTS)
    written += [file for plot in plots for file in plot.files]
    frames = pictures.pictures(*pair) if pictures and pair else []
    written.insert(0, _write(out / PAGE, page(evaluation, plots, comparisons, frames)))
    for old in {path for pattern in OWN for path in out.glob(pattern)} - set(written):
        old.unlink()  # of an earlier report, which had more trackers or other metrics
    return written


def print_report(evaluation: Evaluation, compare: tuple[str, str] | None = None) -> None:
    """Print the table of all trackers, and how two of them compare by the figure that ranks them."""
    print_sheet(overall_sheet(evaluation))
    pair = compare or _best_two(evaluation)
    if pair:
        print_lines(["", *(each.words() for each in compare_trackers(evaluation, *pair)[:1])])


def _best_two(evaluation: Evaluation) -> tuple[str, str] | None:
    names = [scores.tracker for scores in evaluation.trackers]
    return (names[0], names[1]) if len(names) > 1 else None


def _write_sheet(out: Path, name: str, sheet: Sheet) -> list[Path]:
    """A table in every format."""
    texts = {"csv": csv_text, "tex": latex_text, "md": markdown_text}
    return [_write(out / f"{name}.{kind}", text(sheet)) for kind, text in texts.items()]


def _comparison_text(evaluation: Evaluation, comparisons: list[Comparison]) -> str:
    """A line a metric, as Markdown."""
    title = f"## {escaped(comparisons[0].a)} against {escaped(comparisons[0].b)}\n\n"
    lines = "".join(f"- {escaped(each.words())}\n" for each in comparisons)
    return f"{title}{lines}\n{about_text(about(evaluation))}\n"


def _write(path: Path, content: str) -> Path:
    write_whole(path, content)
    return path
