"""`task=ablation`: the table and the plot of a sweep, from the folders of its runs."""

from pathlib import Path

from configs.errors import UserError
from data_prep.files import write_whole
from evaluation.report.ablation_plot import ablation_figure
from evaluation.report.ablation_runs import Run, read_runs
from evaluation.report.ablation_settings import differing
from evaluation.report.ablation_table import ablation_of, run_sheet, seed_sheet, words_of
from evaluation.report.csv_table import csv_text
from evaluation.report.latex import latex_text
from evaluation.report.markdown import markdown_text
from evaluation.report.sheet import Sheet
from evaluation.report.styles import plot_settings, save
from evaluation.report.table import print_lines, print_sheet


def run_ablation(runs: Path, out: Path) -> None:
    """Write and print the table of the runs below `runs`, and a plot; unfinished runs are named and counted.

    Where seeds differ there is a table of means over seeds, and the plot shows those. Raises UserError where
    there is no run, or none that finished.
    """
    found, strange = read_runs(runs, out)
    unfinished = _unfinished(found)
    if len(unfinished) == len(found):
        raise UserError(f"runs={runs}: none of {len(found)} runs finished; {unfinished[0]}")
    ablation = ablation_of(found)
    if not ablation.figures:
        raise UserError(f"runs={runs}: the runs that finished hold no figures")
    counted = f"{len(found) - len(unfinished)} of {len(found)} finished"
    sheets = {"ablation": run_sheet(ablation, (("runs", counted),))}
    if ablation.seeds:
        sheets["ablation_seeds"] = seed_sheet(ablation, (("runs", counted),))
    for name, sheet in sheets.items():
        _write(out, name, sheet)
        print_sheet(sheet)
    with plot_settings():
        save(ablation_figure(ablation), out / "ablation")
    print_lines([*unfinished, *strange], style="yellow")
    print_lines([f"ablation: {out} ({counted})"])


def _unfinished(runs: list[Run]) -> list[str]:
    """A line for each run without figures: its name, what it was told, and why it has none."""
    keys = differing([run.settings for run in runs])
    return [
        f"unfinished: {run.name} ({_told(run, keys)}): {run.unfinished}" for run in runs if run.unfinished
    ]


def _told(run: Run, keys: list[str]) -> str:
    return ", ".join(f"{key}={words_of(run.settings.told(key))}" for key in keys) or "as the others"


def _write(out: Path, name: str, sheet: Sheet) -> None:
    texts = {"csv": csv_text, "md": markdown_text, "tex": latex_text}
    for kind, text in texts.items():
        write_whole(out / f"{name}.{kind}", text(sheet))
