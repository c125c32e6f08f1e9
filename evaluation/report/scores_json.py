"""`scores.json`: every tracker's figures for machines."""

import json
import math
from pathlib import Path

from data_prep.files import write_whole
from evaluation.scores import Evaluation

SCORES = "scores.json"


def write_scores(path: Path, evaluation: Evaluation) -> None:
    """Write `{tracker: {figure: value}}`, best first, in percent (or the figure's unit), in full precision.

    A figure that there is none of, as precision where nothing was said, is null. Raises UserError where it
    cannot be written.
    """
    told = {
        each.tracker: {
            metric.key: _number(each.overall[metric.key])
            for metric in evaluation.measures.metrics
            if metric.key in each.overall
        }
        for each in evaluation.trackers
    }
    write_whole(path, json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _number(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return float(value) if math.isfinite(value) else None
