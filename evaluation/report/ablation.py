"""`task=ablation`: the table and the plot of a sweep, from the folders of its runs.

The plot has a panel a figure: a line where the one key studied is a number, else bars.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from configs.errors import UserError
from data_prep.files import write_whole
from evaluation.report.ablation_runs import Run, read_runs
from evaluation.report.ablation_settings import differing
from evaluation.report.ablation_table import (
    TRACKER,
    Ablation,
    Row,
    ablation_of,
    digits_for,
    run_sheet,
    seed_sheet,
    spread,
    words_of,
)
from evaluation.report.plot_style import COLOURS, label, line_style, plot_settings, save
from evaluation.report.table_formats import csv_text, latex_text, markdown_text, print_lines, print_sheet
from evaluation.report.tables import Sheet


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


MOST, COLUMNS = 6, 3  # panels, and panels beside each other
MOST_TICKS = 8  # values that are all named on an axis
WIDE = 30.0  # from this ratio of largest to smallest on, values lie on a logarithmic axis


def ablation_figure(ablation: Ablation) -> Figure:
    """The first figures of a sweep; error bars are standard deviations over seeds."""
    names = ablation.figures[:MOST]
    columns = min(COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    key = _number_studied(ablation)
    groups = ablation.grouped()
    height = 2.6 if key else 0.9 + 0.28 * len(groups)
    figure = Figure(figsize=(3.6 * columns + (0 if key else 1.5), rows * height + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=bool(key), sharey=not key)
    for axes, name in zip(grid.flat, names, strict=False):
        axes.set_title(label(name, 40), fontsize=10)
        _lines(axes, ablation, name, key) if key else _bars(axes, ablation, name)
    for axes in list(grid.flat)[len(names) :]:
        axes.set_visible(False)
    left_out = len(ablation.figures) - len(names)
    if left_out:
        figure.suptitle(f"{MOST} of {len(ablation.figures)} figures; the table has all", fontsize=9)
    return figure


def _number_studied(ablation: Ablation) -> str | None:
    """The one key studied, beside the tracker, where it is a number in every row and takes several values."""
    keys = [key for key in ablation.studied if key != TRACKER]
    if len(keys) != 1:
        return None
    values = [row.told[keys[0]] for row in ablation.rows]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return keys[0] if numbers and len(set(values)) > 1 else None


def _lines(axes: Axes, ablation: Ablation, name: str, key: str) -> None:
    """A line a tracker, over the values of the key."""
    trackers = list(dict.fromkeys(row.told.get(TRACKER, "") for row in ablation.rows))
    for number, tracker in enumerate(trackers):
        rows = [row for row in ablation.rows if row.told.get(TRACKER, "") == tracker]
        values = sorted({row.told[key] for row in rows})
        means, spreads = _spreads([[row for row in rows if row.told[key] == value] for value in values], name)
        style = line_style(number) | {"linewidth": 1.5, "label": f" {label(tracker)}"}
        axes.errorbar(values, means, spreads, marker="o", markersize=4, capsize=3, **style)
    values = sorted({row.told[key] for row in ablation.rows})
    if values[0] > 0 and values[-1] / values[0] >= WIDE:
        axes.set_xscale("log")
    if len(values) <= MOST_TICKS:
        axes.set_xticks(values, [words_of(value) for value in values])
        axes.minorticks_off()
    axes.set_xlabel(label(key, 40))
    axes.tick_params(labelbottom=True)
    if len(trackers) > 1:
        axes.legend(fontsize=7)


def _bars(axes: Axes, ablation: Ablation, name: str) -> None:
    """A lying bar for each setting, its mean written at its end."""
    groups = ablation.grouped()
    means, spreads = _spreads(list(groups.values()), name)
    places = np.arange(len(groups))
    axes.barh(places, np.nan_to_num(means), xerr=spreads, color=COLOURS[0], height=0.7, capsize=3)
    axes.set_yticks(places, [label(_bar_label(ablation, told, rows), 60) for told, rows in groups.items()])
    axes.tick_params(labelsize=8)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    reach = np.nanmax(np.abs(np.append(means + np.nan_to_num(spreads), 0.0)))
    for place, mean, beyond in zip(places.tolist(), means.tolist(), np.nan_to_num(spreads), strict=True):
        words = "–" if np.isnan(mean) else f"{mean:.{digits_for(reach) - 1}f}"
        axes.text(
            max(np.nan_to_num(mean), 0.0) + beyond + 0.02 * reach, place, words, va="center", fontsize=8
        )
    axes.margins(x=0.2)
    axes.locator_params(axis="x", nbins=5)


def _bar_label(ablation: Ablation, told: tuple[Any, ...], rows: Sequence[Row]) -> str:
    """The settings of a bar; without a key studied, the runs it is of."""
    lasts = [key.rsplit(".", 1)[-1] for key in ablation.studied]
    names = lasts if len(set(lasts)) == len(lasts) else ablation.studied
    words = ", ".join(f"{name}={words_of(value)}" for name, value in zip(names, told, strict=True))
    return words or (rows[0].run if len(rows) == 1 else f"{len(rows)} runs")


def _spreads(groups: Sequence[Sequence[Row]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations (N,) of a figure over groups of rows."""
    pairs = [spread([row.figures.get(name, math.nan) for row in rows]) for rows in groups]
    means, spreads = np.array(pairs).T
    return means, spreads
