"""`task=ablation`: the table and the plot of a sweep, from the folders of its runs.

The plot has a panel for each metric. Where runs differ in one key and its values are numbers, the metric is a
line over these values. Otherwise each combination of settings has a bar.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from configs.errors import UserError
from evaluation.report.ablation_runs import Run, read_runs
from evaluation.report.ablation_settings import differing_keys
from evaluation.report.ablation_table import (
    TRACKER,
    Ablation,
    Row,
    ablation_of,
    digits_for,
    format_setting,
    mean_and_std,
    run_table,
    seed_table,
)
from evaluation.report.plot_style import COLOURS, label, line_style, plot_settings, save
from evaluation.report.table_formats import print_lines, print_table, write_table


def run_ablation(runs: Path, out: Path) -> None:
    """Write and print a table of the runs below `runs`, and a plot of them; unfinished runs are listed.

    Where runs differ in their seeds, there is also a table of means over seeds, and the plot shows these
    means. Raises UserError where there is no run, or no finished run.
    """
    # 1. Read the runs, and separate those that did not finish.
    found, others = read_runs(runs, out)
    unfinished = _unfinished(found)
    if len(unfinished) == len(found):
        raise UserError(f"runs={runs}: none of {len(found)} runs finished; {unfinished[0]}")
    ablation = ablation_of(found)
    if not ablation.metrics:
        raise UserError(f"runs={runs}: the finished runs have no metrics; run them again")
    # 2. Write and print the tables.
    counted = f"{len(found) - len(unfinished)} of {len(found)} finished"
    tables = {"ablation": run_table(ablation, (("runs", counted),))}
    if ablation.seeds:
        tables["ablation_seeds"] = seed_table(ablation, (("runs", counted),))
    for name, table in tables.items():
        write_table(out, name, table)
        print_table(table)
    # 3. Draw the plot, and list what is not in it.
    with plot_settings():
        save(ablation_figure(ablation), out / "ablation")
    print_lines([*unfinished, *others], style="yellow")
    print_lines([f"ablation: {out} ({counted})"])


def _unfinished(runs: list[Run]) -> list[str]:
    """A line for each unfinished run: its name, the settings that tell it apart, and how one can tell."""
    keys = differing_keys([run.settings for run in runs])
    return [
        f"unfinished: {run.name} ({_settings_text(run, keys)}): {run.unfinished}"
        for run in runs
        if run.unfinished
    ]


def _settings_text(run: Run, keys: list[str]) -> str:
    """The settings of a run that differ between runs, as on a command line."""
    return (
        ", ".join(f"{key}={format_setting(run.settings.value(key))}" for key in keys)
        or "settings like the others"
    )


MAX_PANELS, COLUMNS = 6, 3  # panels in all, panels side by side
MAX_TICKS = 8  # up to so many values, the axis has a tick at each of them
LOG_RATIO = 30.0  # from this ratio of the largest to the smallest value, the axis is logarithmic


def ablation_figure(ablation: Ablation) -> Figure:
    """The plot of a sweep: a panel for each of the first metrics.

    Error bars are sample standard deviations over the runs that differ in their seeds alone.
    """
    names = ablation.metrics[:MAX_PANELS]
    columns = min(COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    # Lines share the x axis (the values of the key), bars the y axis (the settings).
    key = _varied_number(ablation)
    groups = ablation.grouped()
    # In inches: a panel of lines has a fixed height, one of bars grows with their number.
    height = 2.6 if key else 0.9 + 0.28 * len(groups)
    figure = Figure(figsize=(3.6 * columns + (0 if key else 1.5), rows * height + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=bool(key), sharey=not key)
    for axes, name in zip(grid.flat, names, strict=False):
        axes.set_title(label(name, 40), fontsize=10)
        _lines(axes, ablation, name, key) if key else _bars(axes, ablation, name)
    # The last row may have fewer panels than columns.
    for axes in list(grid.flat)[len(names) :]:
        axes.set_visible(False)
    left_out = len(ablation.metrics) - len(names)
    if left_out:
        figure.suptitle(
            f"{MAX_PANELS} of {len(ablation.metrics)} metrics; the table has all of them", fontsize=9
        )
    return figure


def _varied_number(ablation: Ablation) -> str | None:
    """The key that runs differ in, if it is one key (beside the tracker) with numbers as
    values; else None.
    """
    keys = [key for key in ablation.varied if key != TRACKER]
    if len(keys) != 1:
        return None
    values = [row.settings[keys[0]] for row in ablation.rows]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return keys[0] if numbers and len(set(values)) > 1 else None


def _lines(axes: Axes, ablation: Ablation, name: str, key: str) -> None:
    """A line for each tracker, over the values of the key."""
    trackers = list(dict.fromkeys(row.settings.get(TRACKER, "") for row in ablation.rows))
    for number, tracker in enumerate(trackers):
        rows = [row for row in ablation.rows if row.settings.get(TRACKER, "") == tracker]
        values = sorted({row.settings[key] for row in rows})
        means, stds = _means_and_stds(
            [[row for row in rows if row.settings[key] == value] for value in values], name
        )
        style = line_style(number) | {"linewidth": 1.5, "label": f" {label(tracker)}"}
        axes.errorbar(values, means, stds, marker="o", markersize=4, capsize=3, **style)
    values = sorted({row.settings[key] for row in ablation.rows})
    if values[0] > 0 and values[-1] / values[0] >= LOG_RATIO:
        axes.set_xscale("log")
    if len(values) <= MAX_TICKS:
        axes.set_xticks(values, [format_setting(value) for value in values])
        # A logarithmic axis would also label minor ticks between these values.
        axes.minorticks_off()
    axes.set_xlabel(label(key, 40))
    # Shared axes have labels in the lowest row alone, where a panel may be hidden.
    axes.tick_params(labelbottom=True)
    if len(trackers) > 1:
        axes.legend(fontsize=7)


def _bars(axes: Axes, ablation: Ablation, name: str) -> None:
    """A horizontal bar for each combination of settings, with the mean written at its end."""
    groups = ablation.grouped()
    means, stds = _means_and_stds(list(groups.values()), name)
    places = np.arange(len(groups))
    axes.barh(places, np.nan_to_num(means), xerr=stds, color=COLOURS[0], height=0.7, capsize=3)
    axes.set_yticks(
        places, [label(_bar_label(ablation, settings, rows), 60) for settings, rows in groups.items()]
    )
    axes.tick_params(labelsize=8)
    # The first setting is at the top, as in the table.
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    # The longest bar with its error bar. The gap before a text and the number of digits follow from it.
    reach = np.nanmax(np.abs(np.append(means + np.nan_to_num(stds), 0.0)))
    for place, mean, beyond in zip(places.tolist(), means.tolist(), np.nan_to_num(stds), strict=True):
        text = "–" if np.isnan(mean) else f"{mean:.{digits_for(reach) - 1}f}"
        axes.text(max(np.nan_to_num(mean), 0.0) + beyond + 0.02 * reach, place, text, va="center", fontsize=8)
    axes.margins(x=0.2)
    axes.locator_params(axis="x", nbins=5)


def _bar_label(ablation: Ablation, settings: tuple[Any, ...], rows: Sequence[Row]) -> str:
    """The settings that a bar stands for; where runs differ in no key, the name or the number of its runs.

    Keys are written without their groups where the last parts of their names are distinct.
    """
    short_names = [key.rsplit(".", 1)[-1] for key in ablation.varied]
    names = short_names if len(set(short_names)) == len(short_names) else ablation.varied
    text = ", ".join(f"{name}={format_setting(value)}" for name, value in zip(names, settings, strict=True))
    return text or (rows[0].run if len(rows) == 1 else f"{len(rows)} runs")


def _means_and_stds(groups: Sequence[Sequence[Row]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations (N,) of a metric, one for each of N groups of rows."""
    pairs = [mean_and_std([row.metrics.get(name, math.nan) for row in rows]) for rows in groups]
    means, stds = np.array(pairs).T
    return means, stds
