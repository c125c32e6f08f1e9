"""The table of a sweep: a row a run, and where seeds differ a row for each setting over its seeds."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.report.ablation_runs import Run
from evaluation.report.ablation_settings import differing
from evaluation.report.tables import Cell, Column, Sheet

TRACKER = "tracker"  # stands with the settings where runs scored several
SIGNIFICANT = 4  # digits
MAIN, SETTING, OTHER = 1, 2, 3  # priorities of columns in a narrow terminal, after the runs' names


@dataclass(frozen=True)
class Row:
    """What one run, or one tracker that it scored, was told where runs differ; and its figures."""

    run: str
    told: Mapping[str, Any]
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Ablation:
    """The rows of a sweep, the keys that tell them apart, and the figures that at least one row has."""

    rows: tuple[Row, ...]
    keys: tuple[str, ...]
    figures: tuple[str, ...]

    @property
    def seeds(self) -> tuple[str, ...]:
        """Those of the keys that only draw anew."""
        return tuple(key for key in self.keys if key.rsplit(".", 1)[-1] == "seed")

    @property
    def studied(self) -> tuple[str, ...]:
        """The keys that change what is run."""
        return tuple(key for key in self.keys if key not in self.seeds)

    def grouped(self) -> dict[tuple[Any, ...], list[Row]]:
        """The rows that differ in their seeds alone, by the values of the keys studied."""
        groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for row in self.rows:
            groups[tuple(row.told[key] for key in self.studied)].append(row)
        return dict(groups)


def ablation_of(runs: Sequence[Run]) -> Ablation:
    """The finished runs side by side."""
    finished = [run for run in runs if run.unfinished is None]
    keys = differing([run.settings for run in finished])
    several = any(len(run.figures) > 1 for run in finished)
    rows = tuple(
        Row(
            run.name,
            {key: run.settings.told(key) for key in keys} | ({TRACKER: tracker} if several else {}),
            figures,
        )
        for run in finished
        for tracker, figures in run.figures.items()
    )
    names = dict.fromkeys(name for row in rows for name in row.figures)
    return Ablation(rows, (*keys, TRACKER) if several else tuple(keys), tuple(names))


def run_sheet(ablation: Ablation, about: tuple[tuple[str, str], ...]) -> Sheet:
    """A row a run."""
    columns = [Column("run", "Run"), *(Column(key, key, priority=SETTING) for key in ablation.keys)]
    for place, name in enumerate(ablation.figures):
        columns.append(
            _column(name, [_figure(row, name) for row in ablation.rows], priority=_priority(place))
        )
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            row.run,
            *(words_of(row.told[key]) for key in ablation.keys),
            *(_figure(row, name) for name in ablation.figures),
        )
        for row in ablation.rows
    )
    return Sheet("Runs", tuple(columns), rows, about)


def seed_sheet(ablation: Ablation, about: tuple[tuple[str, str], ...]) -> Sheet:
    """A row for each setting, of the runs that differ in their seeds alone: means and standard deviations."""
    columns = [
        *(Column(key, key, priority=SETTING) for key in ablation.studied),
        Column("runs", "Runs", digits=0),
    ]
    for place, name in enumerate(ablation.figures):
        values, priority = [_figure(row, name) for row in ablation.rows], _priority(place)
        columns += [
            _column(name, values, priority=priority),
            _column(name, values, "_std", " std", priority),
        ]
    rows: list[tuple[Cell, ...]] = []
    for told, group in ablation.grouped().items():
        figures = [spread([_figure(row, name) for row in group]) for name in ablation.figures]
        flat = [value for pair in figures for value in pair]
        rows.append((*map(words_of, told), float(len(group)), *flat))
    return Sheet("Means over seeds", tuple(columns), tuple(rows), about)


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation of those that are there; NaN where there are too few."""
    known = [value for value in values if not math.isnan(value)]
    mean = float(np.mean(known)) if known else math.nan
    return mean, float(np.std(known, ddof=1)) if len(known) > 1 else math.nan


def words_of(value: Any) -> str:
    """A setting as a command line would have it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value) or "''"


def _figure(row: Row, name: str) -> float:
    return row.figures.get(name, math.nan)


def _priority(place: int) -> int:
    """Of a figure by its place: the first one is shown before the settings, the others after them."""
    return MAIN if place == 0 else OTHER


def _column(
    name: str, values: Sequence[float], ending: str = "", words: str = "", priority: int = 0
) -> Column:
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    return Column(name + ending, name + words, digits=digits_for(largest), priority=priority)


def digits_for(largest: float) -> int:
    """How many digits after the point show `SIGNIFICANT` of the largest value; at least one."""
    whole = math.floor(math.log10(largest)) + 1 if largest > 0 else 1
    return max(1, SIGNIFICANT - whole)
