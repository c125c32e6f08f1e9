"""`python -m evaluation …`: score trackers by a benchmark's own protocol; make a sweep into a table."""

import sys
from pathlib import Path

from configs.app import run_command
from configs.errors import UserError
from evaluation.config import EvaluationSettings


def main(settings: EvaluationSettings) -> int:
    """Do the task; every fault of the files is one line on stderr, and the exit status then 1."""
    try:
        return {"score": _score, "ablation": _ablation}[settings.task](settings)
    except UserError as fault:
        for line in str(fault).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return 1


def _score(settings: EvaluationSettings) -> int:
    if settings.compare and len(settings.compare) != 2:
        raise UserError(f"compare={settings.compare}: name two trackers, as compare=[ours,theirs]")
    import matplotlib

    matplotlib.use("Agg")  # before pyplot: there need be no screen
    from evaluation.pictures import pictures_of
    from evaluation.protocols.registry import evaluate
    from evaluation.report.scores_json import SCORES, write_scores
    from evaluation.report.table import print_lines
    from evaluation.report.write import print_report, write_report

    evaluation, out = evaluate(settings), Path(settings.out)
    pair = (settings.compare[0], settings.compare[1]) if settings.compare else None
    print_lines(f"note: {note}" for note in evaluation.notes)
    print_report(evaluation, pair)
    write_scores(out / SCORES, evaluation)
    pages = write_report(evaluation, out, pair, pictures_of(evaluation, settings))
    print(f"scores: {out / SCORES}")
    print(f"report: {pages[0]}")
    return 0


def _ablation(settings: EvaluationSettings) -> int:
    if not settings.runs:
        raise UserError("task=ablation: name the folder of the sweep's runs, runs=DIR")
    import matplotlib

    matplotlib.use("Agg")
    from evaluation.report.ablation import run_ablation

    run_ablation(Path(settings.runs), Path(settings.out))
    return 0


if __name__ == "__main__":
    sys.exit(
        run_command("evaluation", main, "Score trackers by a benchmark's own protocol, and report on them.")
    )
