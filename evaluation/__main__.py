"""`python -m evaluation …`: score trackers by the protocol of a benchmark, or make a table of a sweep."""

import sys
from collections.abc import Sequence
from pathlib import Path

from configs.app import run_command
from configs.errors import UserError
from configs.terminal import echo
from evaluation.config import EvaluationSettings

MAX_NOTES = 20  # notes that are printed; the report has all of them


def main(settings: EvaluationSettings) -> int:
    """Do the task. Each fault of the files is one line on stderr, and the exit status is then 1."""
    try:
        {"score": _score, "ablation": _ablation, "diagnose": _diagnose}[settings.task](settings)
    except UserError as fault:
        for line in str(fault).splitlines():
            echo(f"error: {line}", error=True)
        return 1
    return 0


def _score(settings: EvaluationSettings) -> None:
    _draw_without_a_screen()
    from evaluation.protocols.registry import protocol_of
    from evaluation.report.frame_selection import FramePictures
    from evaluation.report.table_formats import print_lines
    from evaluation.report.write import SCORES, print_report, write_report, write_scores

    pair = _pair(settings)
    protocol, out = protocol_of(settings.protocol), Path(settings.out)
    evaluation = protocol.evaluate(settings)
    # scores.json is written first: it is complete even if a plot fails.
    write_scores(out / SCORES, evaluation)
    source = protocol.frame_source(settings)
    pictures = FramePictures(evaluation, source) if source else None
    page, *_ = write_report(evaluation, out, pair, pictures)
    _print_notes(evaluation.notes, page)
    print_report(evaluation, pair)
    print_lines([f"scores: {out / SCORES}", f"report: {page}"])


def _print_notes(notes: Sequence[str], file: Path) -> None:
    """Print the first notes; `file` has all of them."""
    from evaluation.report.table_formats import print_lines

    print_lines(f"note: {note}" for note in notes[:MAX_NOTES])
    if len(notes) > MAX_NOTES:
        print_lines([f"note: {len(notes) - MAX_NOTES} more are in {file}"])


def _draw_without_a_screen() -> None:
    import matplotlib

    matplotlib.use("Agg")  # before pyplot is imported


def _pair(settings: EvaluationSettings) -> tuple[str, str] | None:
    """The two trackers to compare, if they are given."""
    if not settings.compare:
        return None
    if len(settings.compare) != 2:
        raise UserError(f"compare={settings.compare}: name two trackers, as compare=[ours,theirs]")
    a, b = settings.compare
    return a, b


def _ablation(settings: EvaluationSettings) -> None:
    _draw_without_a_screen()
    from evaluation.report.ablation import run_ablation

    if not settings.runs:
        raise UserError("task=ablation: name the folder of the sweep's runs, runs=DIR")
    run_ablation(Path(settings.runs), Path(settings.out))


def _diagnose(settings: EvaluationSettings) -> None:
    from evaluation.diagnosis.run import DIAGNOSIS, run_diagnosis

    notes = run_diagnosis(settings)
    _print_notes(notes, Path(settings.out) / DIAGNOSIS)


if __name__ == "__main__":
    sys.exit(
        run_command("evaluation", main, "Score trackers by a benchmark's own protocol, and report on them.")
    )
