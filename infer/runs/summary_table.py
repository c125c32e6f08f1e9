"""What became of a run: a table for a person to read."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from configs.terminal import LONGEST, LONGEST_NAME, counted, shortened
from data_prep.console import make_console, one_line
from infer.runs.summary import Figures, RunSummary, TrackOutcome

MOST_ROWS = 60  # of tracks; a larger run has a row a sequence
FIGURE_NAMES = ("referral\naccuracy", "IoU when\npresent", "absent\nprecision", "absent\nrecall")


def print_table(
    run: RunSummary, places: Mapping[str, Path | str | None], console: Console | None = None
) -> None:
    """Print tracks, failures in full, totals, figures beside their references, and where things lie.

    `places` names what was written ("zip", "overlays", …); those that are None are left out.
    """
    console = console or make_console()
    console.print(_tracks(run.outcomes) if len(run.outcomes) <= MOST_ROWS else _sequences(run.outcomes))
    console.line()
    for line in _failures(run.failed):
        _line(console, line, "red")
    for warning in run.warnings:
        _line(console, f"warning: {one_line(warning, LONGEST)}", "yellow")
    _line(console, totals(run), "bold")
    if run.figures != Figures() or run.references:
        console.line()
        console.print(_figures(run))
    console.line()
    there = {name: place for name, place in places.items() if place is not None}
    for name, place in there.items():
        _line(console, f"{name:<{max(map(len, there))}}  {place}")


def _failures(failed: Sequence[TrackOutcome]) -> list[str]:
    """Why tracks failed, in full; a line tells of all prompts of a sequence that failed alike."""
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for outcome in failed:
        alike[outcome.sequence, one_line(outcome.failure or "")].append(_quoted(outcome))
    return [
        f"failed: {one_line(name, LONGEST_NAME)}, {shortened(', '.join(prompts))}: {shortened(reason)}"
        for (name, reason), prompts in alike.items()
    ]


def totals(run: RunSummary) -> str:
    """One line: how many tracks came out, and how fast."""
    kept = sum(outcome.kept for outcome in run.outcomes)
    missing = run.num_planned - len(run.outcomes)
    counts = [(len(run.written), "written"), (kept, "kept from before"), (len(run.failed), "failed")]
    counts.append((missing, "not begun"))
    told = ", ".join(f"{count} {what}" for count, what in counts if count or what == "written")
    speed = f"{run.track_frames} track-frames in {run.seconds:.1f} s"
    return (
        f"{counted(run.num_planned, 'track')}: {told}; {speed} ({run.track_frames_per_second:.1f} a second)"
    )


def _line(console: Console, words: str, style: str = "") -> None:
    """A line that is never cut nor broken by us: a terminal wraps it, a file keeps it whole."""
    console.print(Text(words, style), soft_wrap=True)


def _table(first: Sequence[str], numbers: Sequence[str]) -> Table:
    """An empty table: columns of words, then columns of numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in first:
        table.add_column(name, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _tracks(outcomes: Sequence[TrackOutcome]) -> Table:
    """A row a track."""
    table = _table(("sequence", "prompt"), ("present", "absent", "score", ""))
    for outcome in outcomes:
        numbers = [str(outcome.frames_present), str(outcome.frames_absent), _number(outcome.score)]
        if outcome.failure:
            numbers = ["–", "–", "–"]
        words = _words(outcome)
        table.add_row(
            Text(one_line(outcome.sequence, LONGEST_NAME)), Text(words), *numbers, _verdict(outcome)
        )
    return table


def _quoted(outcome: TrackOutcome) -> str:
    return _words(outcome) if outcome.prompt is None else f"“{_words(outcome)}”"


def _words(outcome: TrackOutcome) -> str:
    """The track's prompt, or what stands for it."""
    return (
        "(all prompts)" if outcome.prompt is None else one_line(outcome.prompt, LONGEST_NAME) or "(no words)"
    )


def _verdict(outcome: TrackOutcome) -> Text:
    if outcome.failure:
        return Text("failed", "red")
    return Text("kept" if outcome.kept else "")


def _sequences(outcomes: Sequence[TrackOutcome]) -> Table:
    """A row a sequence; the score is the mean of its prompts'."""
    table = _table(("sequence",), ("prompts", "present", "absent", "score", "failed"))
    grouped: dict[str, list[TrackOutcome]] = defaultdict(list)
    for outcome in outcomes:
        grouped[outcome.sequence].append(outcome)
    for name, group in grouped.items():
        done = [outcome for outcome in group if not outcome.failure]
        scores = [outcome.score for outcome in done if outcome.score is not None]
        table.add_row(
            Text(one_line(name, LONGEST_NAME)),
            str(len(group)),
            str(sum(outcome.frames_present for outcome in done)),
            str(sum(outcome.frames_absent for outcome in done)),
            _number(sum(scores) / len(scores) if scores else None),
            Text(str(len(group) - len(done) or ""), "red"),
        )
    return table


def _figures(run: RunSummary) -> Table:
    """Our figures, and those to read them against."""
    table = _table(("",), FIGURE_NAMES)
    for name, figures in {"this run": run.figures, **run.references}.items():
        table.add_row(
            name,
            _number(figures.referral_accuracy),
            _number(figures.iou_when_present),
            _number(figures.absent_precision),
            _number(figures.absent_recall),
        )
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
