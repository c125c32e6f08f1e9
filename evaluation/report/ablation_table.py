"""The tables of a sweep: a row for each run, and a row for each combination of settings over its seeds."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.report.ablation_runs import Run
from evaluation.report.ablation_settings import differing_keys
from evaluation.report.tables import Cell, Column, Table

TRACKER = "tracker"  # a column beside the settings, where a run has scores of several trackers
SIGNIFICANT_DIGITS = 4
# Priorities of columns in a narrow terminal: after the names of runs (0) the first metric, then settings.
MAIN, SETTING, OTHER = 1, 2, 3


@dataclass(frozen=True)
class Row:
    """One run, or one tracker that it scored: the settings that differ between runs, and the metrics."""

    run: str
    settings: Mapping[str, Any]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Ablation:
    """The rows of a sweep, the keys whose values differ, and the names of all metrics."""

    rows: tuple[Row, ...]
    keys: tuple[str, ...]
    metrics: tuple[str, ...]

    @property
    def seeds(self) -> tuple[str, ...]:
        """The keys of random seeds."""
        return tuple(key for key in self.keys if key.rsplit(".", 1)[-1] == "seed")

    @property
    def varied(self) -> tuple[str, ...]:
        """The keys that are compared: all but those of random seeds."""
        return tuple(key for key in self.keys if key not in self.seeds)

    def grouped(self) -> dict[tuple[Any, ...], list[Row]]:
        """Groups of rows that differ in their seeds alone, by the values of the keys in `varied`."""
        groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for row in self.rows:
            groups[tuple(row.settings[key] for key in self.varied)].append(row)
        return dict(groups)


def ablation_of(runs: Sequence[Run]) -> Ablation:
    """The finished runs as one table."""
    finished = [run for run in runs if run.unfinished is None]
    keys = differing_keys([run.settings for run in finished])
    # Where a run scored several trackers, each of them is a row, and the tracker is one more key.
    several = any(len(run.metrics) > 1 for run in finished)
    rows = tuple(
        Row(
            run.name,
            {key: run.settings.value(key) for key in keys} | ({TRACKER: tracker} if several else {}),
            metrics,
        )
        for run in finished
        for tracker, metrics in run.metrics.items()
    )
    names = dict.fromkeys(name for row in rows for name in row.metrics)
    return Ablation(rows, (*keys, TRACKER) if several else tuple(keys), tuple(names))


def run_table(ablation: Ablation, about: tuple[tuple[str, str], ...]) -> Table:
    """A row for each run, or for each tracker that a run scored."""
    columns = [Column("run", "Run"), *(Column(key, key, priority=SETTING) for key in ablation.keys)]
    for place, name in enumerate(ablation.metrics):
        columns.append(_column(name, [_value(row, name) for row in ablation.rows], priority=_priority(place)))
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            row.run,
            *(format_setting(row.settings[key]) for key in ablation.keys),
            *(_value(row, name) for name in ablation.metrics),
        )
        for row in ablation.rows
    )
    return Table("Runs", tuple(columns), rows, about)


def seed_table(ablation: Ablation, about: tuple[tuple[str, str], ...]) -> Table:
    """Means and standard deviations over seeds: a row for each combination of the other settings."""
    columns = [
        *(Column(key, key, priority=SETTING) for key in ablation.varied),
        Column("runs", "Runs", digits=0),
    ]
    for place, name in enumerate(ablation.metrics):
        values, priority = [_value(row, name) for row in ablation.rows], _priority(place)
        columns += [
            _column(name, values, priority=priority),
            _column(name, values, "_std", " std", priority),
        ]
    rows: list[tuple[Cell, ...]] = []
    for settings, group in ablation.grouped().items():
        pairs = [mean_and_std([_value(row, name) for row in group]) for name in ablation.metrics]
        # Mean and deviation of each metric in turn, in the order of the columns.
        flat = [value for pair in pairs for value in pair]
        rows.append((*map(format_setting, settings), float(len(group)), *flat))
    return Table("Means over seeds", tuple(columns), tuple(rows), about)


def mean_and_std(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (N - 1) of the values that are not NaN; NaN where
    too few are left.
    """
    known = [value for value in values if not math.isnan(value)]
    mean = float(np.mean(known)) if known else math.nan
    return mean, float(np.std(known, ddof=1)) if len(known) > 1 else math.nan


def format_setting(value: Any) -> str:
    """The value of a setting as it is written on a command line."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value) or "''"


def _value(row: Row, name: str) -> float:
    return row.metrics.get(name, math.nan)


def _priority(place: int) -> int:
    """The priority of the metric at a place: the first one comes before the settings, the
    others after them.
    """
    return MAIN if place == 0 else OTHER


def _column(
    name: str, values: Sequence[float], key_suffix: str = "", title_suffix: str = "", priority: int = 0
) -> Column:
    """The column of a metric, with digits that suit its largest value."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    return Column(name + key_suffix, name + title_suffix, digits=digits_for(largest), priority=priority)


def digits_for(largest: float) -> int:
    """How many digits after the decimal point give the largest value `SIGNIFICANT_DIGITS`; at least one."""
    # The number of digits before the decimal point; 0 or less for values below 1.
    whole = math.floor(math.log10(largest)) + 1 if largest > 0 else 1
    return max(1, SIGNIFICANT_DIGITS - whole)
