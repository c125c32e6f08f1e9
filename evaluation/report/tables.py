"""A table before it is written, and the tables of an `Evaluation`.

The terminal, CSV, LaTeX, Markdown and the page are made from these.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, isnan

import numpy as np

from data_prep.console import one_line
from evaluation.scores import Evaluation, Metric, attributes_of, figure_of, ranked

Cell = str | float  # words, or a figure: NaN where there is none
BEST, SECOND = "best", "second"
DIGITS = 1  # after the point, as papers print percentages; CSV and scores.json hold every digit


@dataclass(frozen=True)
class Column:
    """A column: its name in a CSV file, its title for people, its unit.

    `higher_is_better` says which figures are marked; None: none of them. A terminal too narrow for all
    columns shows those of the lowest `priority`, and of equal ones the first.
    """

    key: str
    title: str
    unit: str = ""
    higher_is_better: bool | None = None
    digits: int = DIGITS
    priority: int = 0

    @classmethod
    def of(cls, metric: Metric) -> "Column":
        """The column of a metric."""
        return cls(metric.key, metric.title, metric.unit, metric.higher_is_better)

    @property
    def heading(self) -> str:
        """Title and unit, with an arrow where less is better."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.title}{unit}{' ↓' if self.higher_is_better is False else ''}"

    @property
    def wordy_heading(self) -> str:
        """The heading in words alone, for tables where an arrow means something else."""
        remark = ", ".join(
            [self.unit] * bool(self.unit) + ["less is better"] * (self.higher_is_better is False)
        )
        return f"{self.title} ({remark})" if remark else self.title


@dataclass(frozen=True)
class Sheet:
    """A table: what it is of, its columns and rows, and what belongs beside every copy of it.

    `about` are words and what they say, such as the protocol: columns of a CSV file, a line elsewhere.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    about: tuple[tuple[str, str], ...] = ()

    def numeric(self, column: int) -> bool:
        """Whether a column holds figures alone."""
        return bool(self.rows) and all(not isinstance(row[column], str) for row in self.rows)

    @property
    def caption(self) -> str:
        """The title, and what the table is about."""
        return ". ".join([self.title, *(f"{name.capitalize()}: {words}" for name, words in self.about)])


def marks(sheet: Sheet) -> dict[tuple[int, int], str]:
    """By (row, column): which figures are best and second, equals at the digits shown alike.

    A column in which all are equal, or that has a single figure, has no marks.
    """
    found = {}
    for number, column in enumerate(sheet.columns):
        if column.higher_is_better is None:
            continue
        values = [_rounded(row[number], column.digits) for row in sheet.rows]
        order = ranked(values, column.higher_is_better)
        places = list(dict.fromkeys(values[i] for i in order if isfinite(values[i])))
        if len(places) < 2:
            continue
        for row, value in enumerate(values):
            if value in places[:2]:
                found[row, number] = (BEST, SECOND)[places.index(value)]
    return found


def _rounded(cell: Cell, digits: int) -> float:
    # Not numpy's rounding, which may differ in the last digit from what is printed.
    return float("nan") if isinstance(cell, str) else round(float(cell), digits)


def shown(cell: Cell, column: Column) -> str:
    """A cell as people read it; a dash where there is no figure."""
    if isinstance(cell, str):
        return one_line(cell)
    return "–" if isnan(cell) else f"{cell:.{column.digits}f}"


def marked(sheet: Sheet) -> Sequence[Sequence[tuple[str, str]]]:
    """Every cell as (words, mark), row by row; the mark is empty where there is none."""
    found = marks(sheet)
    return [
        [(shown(cell, sheet.columns[i]), found.get((number, i), "")) for i, cell in enumerate(row)]
        for number, row in enumerate(sheet.rows)
    ]


TRACKER = Column("tracker", "Tracker")


def overall_sheet(evaluation: Evaluation) -> Sheet:
    """A row a tracker, a column a metric."""
    metrics = evaluation.measures.metrics
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (scores.tracker, *(scores.overall.get(metric.key, np.nan) for metric in metrics))
        for scores in evaluation.trackers
    )
    count = len(evaluation.benchmark.sequences)
    title = f"Overall, {count} sequence{'s' * (count != 1)}"
    return Sheet(title, (TRACKER, *map(Column.of, metrics)), rows, about(evaluation))


def attribute_sheet(evaluation: Evaluation, metric: Metric) -> Sheet:
    """A row a tracker, a column an attribute: the mean of a metric over the sequences that have it."""
    attributes, benchmark = attributes_of(evaluation), evaluation.benchmark
    columns = [
        Column(name, f"{name} [{has.sum()}]", "", metric.higher_is_better) for name, has in attributes.items()
    ]
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (scores.tracker, *(figure_of(scores, metric.key, benchmark, has) for has in attributes.values()))
        for scores in evaluation.trackers
    )
    title = f"{metric.title} by attribute [sequences]"
    return Sheet(title, (TRACKER, *columns), rows, about(evaluation))


def sequence_sheet(evaluation: Evaluation) -> Sheet:
    """A row for each tracker and sequence, a column a metric: for programs."""
    metrics = [
        metric for metric in evaluation.measures.metrics
        if any(metric.key in scores.by_sequence for scores in evaluation.trackers)
    ]  # fmt: skip
    nothing = np.full(len(evaluation.benchmark.sequences), np.nan)
    rows = tuple(
        (scores.tracker, name, *map(float, figures))
        for scores in evaluation.trackers
        for name, *figures in zip(
            evaluation.benchmark.sequences,
            *(scores.by_sequence.get(metric.key, nothing) for metric in metrics),
            strict=True,
        )
    )
    columns = (TRACKER, Column("sequence", "Sequence"), *map(Column.of, metrics))
    return Sheet("By sequence", columns, rows, about(evaluation))


def side_by_side_sheet(evaluation: Evaluation, metric: Metric) -> Sheet:
    """A row a sequence, a column a tracker: for people."""
    columns = [Column(scores.tracker, scores.tracker, "", metric.higher_is_better)
               for scores in evaluation.trackers]  # fmt: skip
    nothing = np.full(len(evaluation.benchmark.sequences), np.nan)
    figures = [scores.by_sequence.get(metric.key, nothing).tolist() for scores in evaluation.trackers]
    rows = tuple(zip(evaluation.benchmark.sequences, *figures, strict=True))
    title = f"{metric.title} by sequence"
    return Sheet(title, (Column("sequence", "Sequence"), *columns), rows, about(evaluation))


def about(evaluation: Evaluation) -> tuple[tuple[str, str], ...]:
    """What stands beside every table."""
    return (("benchmark", evaluation.benchmark.name), ("protocol", evaluation.measures.protocol))
