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
    from evaluation.protocols.registry import evaluate
    from evaluation.report.score_sheets import overall_sheet
    from evaluation.report.scores_json import SCORES, write_scores
    from evaluation.report.table import print_lines, print_sheet

    evaluation, out = evaluate(settings), Path(settings.out)
    print_lines(f"note: {note}" for note in evaluation.notes)
    print_sheet(overall_sheet(evaluation))
    write_scores(out / SCORES, evaluation)
    print(f"scores: {out / SCORES}")
    return 0


def _ablation(settings: EvaluationSettings) -> int:
    if not settings.runs:
        raise UserError("task=ablation: name the folder of the sweep's runs, runs=DIR")
    raise UserError("task=ablation: not yet")


if __name__ == "__main__":
    sys.exit(
        run_command("evaluation", main, "Score trackers by a benchmark's own protocol, and report on them.")
    )
