"""The outcome of a run as a table in the terminal."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from configs.terminal import LONGEST, LONGEST_NAME, counted, shortened
from data_prep.console import make_console, one_line
from infer.runs.summary import Figures, RunSummary, TrackOutcome

# The table of a run with more tracks has one row per sequence.
MAX_ROWS = 60
MAX_LINES = 1000  # of failures, of warnings, and of sequences in the table: list.txt may name a million
FIGURE_NAMES = ("referral\naccuracy", "IoU when\npresent", "absent\nprecision", "absent\nrecall")


def print_table(
    run: RunSummary, places: Mapping[str, Path | str | None], console: Console | None = None
) -> None:
    """Print tracks, failures, warnings, totals, figures beside their references, and where the files are.

    `places` are the written files and folders by their names, such as "zip"; None leaves one out.
    """
    console = console or make_console()
    is_short = len(run.outcomes) <= MAX_ROWS
    console.print(_table_of_tracks(run.outcomes) if is_short else _table_of_sequences(run.outcomes))
    # Failures come after the table, so that they are in sight when a long run ends.
    console.line()
    for line in _limited(_failure_lines(run.failed), "failed"):
        _print_line(console, line, "red")
    for line in _limited([f"warning: {one_line(warning, LONGEST)}" for warning in run.warnings], "warning"):
        _print_line(console, line, "yellow")
    _print_line(console, totals(run), "bold")
    if run.figures != Figures() or run.references:
        console.line()
        console.print(_table_of_figures(run))
    console.line()
    existing = {name: place for name, place in places.items() if place is not None}
    for name, place in existing.items():
        _print_line(console, f"{name:<{max(map(len, existing))}}  {place}")


def totals(run: RunSummary) -> str:
    """One line: the number of tracks by outcome, and the speed."""
    kept = sum(outcome.kept for outcome in run.outcomes)
    missing = run.num_planned - len(run.outcomes)
    counts = [(len(run.written), "written"), (kept, "kept from before"), (len(run.failed), "failed")]
    counts.append((missing, "not started"))
    by_outcome = ", ".join(f"{count} {name}" for count, name in counts if count or name == "written")
    speed = f"{run.track_frames} track-frames in {run.seconds:.1f} s"
    return (
        f"{counted(run.num_planned, 'track')}: {by_outcome}; {speed} "
        f"({run.track_frames_per_second:.1f} per second)"
    )


def _failure_lines(failed: Sequence[TrackOutcome]) -> list[str]:
    """Why tracks failed. The expressions of a sequence that failed for the same reason share a line."""
    # A sequence that cannot be read fails with all its expressions, which would repeat one reason.
    same: dict[tuple[str, str], list[str]] = defaultdict(list)
    for outcome in failed:
        same[outcome.sequence, one_line(outcome.failure or "")].append(_quoted(outcome))
    return [
        f"failed: {one_line(name, LONGEST_NAME)}, {shortened(', '.join(expressions))}: {shortened(reason)}"
        for (name, reason), expressions in same.items()
    ]


def _limited(lines: Sequence[str], kind: str) -> list[str]:
    """At most `MAX_LINES` lines, and the number of the others."""
    more = len(lines) - MAX_LINES
    if more <= 0:
        return list(lines)
    return [*lines[:MAX_LINES], f"{kind}: {counted(more, 'more line')} of this kind; summary.json holds all"]


def _print_line(console: Console, text: str, style: str = "") -> None:
    """Print a line without wrapping it, so that a path stays in one piece in a log file."""
    console.print(Text(text, style), soft_wrap=True)


def _empty_table(text_columns: Sequence[str], number_columns: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in text_columns:
        table.add_column(name, overflow="fold")
    for name in number_columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _table_of_tracks(outcomes: Sequence[TrackOutcome]) -> Table:
    """One row per track."""
    table = _empty_table(("sequence", "expression"), ("present", "absent", "score", ""))
    for outcome in outcomes:
        numbers = [str(outcome.num_present), str(outcome.num_absent), _number(outcome.score)]
        if outcome.failure:
            numbers = ["–", "–", "–"]
        name = Text(one_line(outcome.sequence, LONGEST_NAME))
        table.add_row(name, Text(_expression(outcome)), *numbers, _status(outcome))
    return table


def _table_of_sequences(outcomes: Sequence[TrackOutcome]) -> Table:
    """One row per sequence. Its score is the mean of its tracks' scores."""
    table = _empty_table(("sequence",), ("expressions", "present", "absent", "score", "failed"))
    grouped: dict[str, list[TrackOutcome]] = defaultdict(list)
    for outcome in outcomes:
        grouped[outcome.sequence].append(outcome)
    for name, group in islice(grouped.items(), MAX_LINES):
        successful = [outcome for outcome in group if not outcome.failure]
        scores = [outcome.score for outcome in successful if outcome.score is not None]
        table.add_row(
            Text(one_line(name, LONGEST_NAME)),
            str(len(group)),
            str(sum(outcome.num_present for outcome in successful)),
            str(sum(outcome.num_absent for outcome in successful)),
            _number(sum(scores) / len(scores) if scores else None),
            Text(str(len(group) - len(successful) or ""), "red"),
        )
    if len(grouped) > MAX_LINES:
        table.add_row(Text(f"and {counted(len(grouped) - MAX_LINES, 'more sequence')}"))
    return table


def _table_of_figures(run: RunSummary) -> Table:
    """The figures of the run, and those of trivial results for comparison."""
    table = _empty_table(("",), FIGURE_NAMES)
    for name, figures in {"this run": run.figures, **run.references}.items():
        table.add_row(
            name,
            _number(figures.referral_accuracy),
            _number(figures.iou_when_present),
            _number(figures.absent_precision),
            _number(figures.absent_recall),
        )
    return table


def _expression(outcome: TrackOutcome) -> str:
    """The expression of a track, shortened, or what stands for it."""
    if outcome.expression is None:
        return "(all expressions)"
    return one_line(outcome.expression, LONGEST_NAME) or "(empty)"


def _quoted(outcome: TrackOutcome) -> str:
    text = _expression(outcome)
    return text if outcome.expression is None else f"“{text}”"


def _status(outcome: TrackOutcome) -> Text:
    if outcome.failure:
        return Text("failed", "red")
    return Text("kept" if outcome.kept else "")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
