"""The tables of an `Evaluation`: all trackers over all, by attribute, and by sequence."""

import numpy as np

from evaluation.report.means import attributes_of, figure_of
from evaluation.report.sheet import Cell, Column, Sheet
from evaluation.scores import Evaluation, Metric

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
