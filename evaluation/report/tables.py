"""Tables in memory, and those that are made of an `Evaluation`.

The formats (`table_formats.py`) and the HTML page write a `Table`; nothing else decides what is in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, isnan

import numpy as np

from data_prep.console import one_line
from evaluation.scores import Evaluation, Metric, attributes_of, metric_value, ranked

Cell = str | float  # a text or a value; NaN where there is none
BEST, SECOND = "best", "second"
DIGITS = 1  # after the decimal point, as papers print percentages; CSV and scores.json have all digits


@dataclass(frozen=True)
class Column:
    """A column: its name in a CSV file, its title, and its unit.

    `higher_is_better` decides which values are marked as best; None: none of them. In a terminal that is too
    narrow for all columns, those with the lowest `priority` are printed, and of equal ones the first.
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
        """Title and unit, with an arrow where lower is better."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.title}{unit}{' ↓' if self.higher_is_better is False else ''}"

    @property
    def plain_heading(self) -> str:
        """The heading without the arrow, for tables where arrows show the order of sorting."""
        remark = ", ".join(
            [self.unit] * bool(self.unit) + ["lower is better"] * (self.higher_is_better is False)
        )
        return f"{self.title} ({remark})" if remark else self.title


@dataclass(frozen=True)
class Table:
    """A table: its title, its columns and rows, and what is written beside every copy of it.

    `about` holds pairs of a name and a value, such as the protocol. They are columns of a CSV file, and one
    line below the table elsewhere.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    about: tuple[tuple[str, str], ...] = ()

    def numeric(self, column: int) -> bool:
        """Whether a column holds values alone."""
        return bool(self.rows) and all(not isinstance(row[column], str) for row in self.rows)

    @property
    def caption(self) -> str:
        """The title, and what the table is about."""
        return ". ".join([self.title, *(f"{name.capitalize()}: {value}" for name, value in self.about)])


def rank_marks(table: Table) -> dict[tuple[int, int], str]:
    """Which values are best and second best in their column, by (row, column).

    Values that are equal when rounded to the column's digits have the same mark. A column in which all values
    are equal, or with a single value, has no marks.
    """
    found = {}
    for number, column in enumerate(table.columns):
        if column.higher_is_better is None:
            continue
        values = [_rounded(row[number], column.digits) for row in table.rows]
        order = ranked(values, column.higher_is_better)
        # The distinct values from the best to the worst: equal values share a place.
        places = list(dict.fromkeys(values[i] for i in order if isfinite(values[i])))
        if len(places) < 2:
            continue
        for row, value in enumerate(values):
            if value in places[:2]:
                found[row, number] = (BEST, SECOND)[places.index(value)]
    return found


def _rounded(cell: Cell, digits: int) -> float:
    # Python's `round` agrees with the digits that formatting prints. NumPy's may differ in the last one.
    return float("nan") if isinstance(cell, str) else round(float(cell), digits)


def format_cell(cell: Cell, column: Column) -> str:
    """The text of a cell; a dash where there is no value."""
    if isinstance(cell, str):
        return one_line(cell)
    return "–" if isnan(cell) else f"{cell:.{column.digits}f}"


def marked_cells(table: Table) -> Sequence[Sequence[tuple[str, str]]]:
    """Every cell as (text, mark), row by row; the mark is empty where there is none."""
    found = rank_marks(table)
    return [
        [(format_cell(cell, table.columns[i]), found.get((number, i), "")) for i, cell in enumerate(row)]
        for number, row in enumerate(table.rows)
    ]


# ---- tables of an evaluation ----------------------------------------------------------------------

TRACKER = Column("tracker", "Tracker")


def overall_table(evaluation: Evaluation) -> Table:
    """The metrics over all sequences: a row for each tracker, a column for each metric."""
    metrics = evaluation.measures.metrics
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (scores.tracker, *(scores.overall.get(metric.key, np.nan) for metric in metrics))
        for scores in evaluation.trackers
    )
    count = len(evaluation.benchmark.sequences)
    title = f"Overall, {count} sequence{'s' * (count != 1)}"
    return Table(title, (TRACKER, *map(Column.of, metrics)), rows, about(evaluation))


def attribute_table(evaluation: Evaluation, metric: Metric) -> Table:
    """The mean of a metric over the sequences with an attribute: rows are trackers, columns attributes."""
    attributes, benchmark = attributes_of(evaluation), evaluation.benchmark
    columns = [
        Column(name, f"{name} [{has.sum()}]", "", metric.higher_is_better) for name, has in attributes.items()
    ]
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (scores.tracker, *(metric_value(scores, metric.key, benchmark, has) for has in attributes.values()))
        for scores in evaluation.trackers
    )
    title = f"{metric.title} by attribute [sequences]"
    return Table(title, (TRACKER, *columns), rows, about(evaluation))


def sequence_table(evaluation: Evaluation) -> Table:
    """The metrics of each sequence in long form, for programs: a row for each tracker and sequence."""
    metrics = [
        metric for metric in evaluation.measures.metrics
        if any(metric.key in scores.by_sequence for scores in evaluation.trackers)
    ]  # fmt: skip
    # A tracker may lack a metric, as the toolkit's number where results are missing.
    nothing = np.full(len(evaluation.benchmark.sequences), np.nan)
    rows = tuple(
        (scores.tracker, name, *map(float, values))
        for scores in evaluation.trackers
        for name, *values in zip(
            evaluation.benchmark.sequences,
            *(scores.by_sequence.get(metric.key, nothing) for metric in metrics),
            strict=True,
        )
    )
    columns = (TRACKER, Column("sequence", "Sequence"), *map(Column.of, metrics))
    return Table("By sequence", columns, rows, about(evaluation))


def side_by_side_table(evaluation: Evaluation, metric: Metric) -> Table:
    """One metric of each sequence, for people: a row for each sequence, a column for each tracker."""
    columns = [
        Column(scores.tracker, scores.tracker, "", metric.higher_is_better) for scores in evaluation.trackers
    ]
    # As in `sequence_table`: a tracker may lack a metric.
    nothing = np.full(len(evaluation.benchmark.sequences), np.nan)
    values = [scores.by_sequence.get(metric.key, nothing).tolist() for scores in evaluation.trackers]
    rows = tuple(zip(evaluation.benchmark.sequences, *values, strict=True))
    title = f"{metric.title} by sequence"
    return Table(title, (Column("sequence", "Sequence"), *columns), rows, about(evaluation))


def about(evaluation: Evaluation) -> tuple[tuple[str, str], ...]:
    """The names of benchmark and protocol, which are written beside every table."""
    return (("benchmark", evaluation.benchmark.name), ("protocol", evaluation.measures.protocol))
