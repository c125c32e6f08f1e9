"""The runs of a sweep: their folders, their settings, and their metrics.

A run is an evaluation (`scores.json`), a tracking run (`summary.json`) or a training run (`metrics.jsonl`).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import UserError
from data_prep.files import check_utf8, read_text, real_path
from evaluation.report.ablation_settings import Settings, is_run, read_settings

SCORES, SUMMARY, METRICS = "scores.json", "summary.json", "metrics.jsonl"
SUMMARY_METRICS = (
    "referral_accuracy", "iou_when_present", "absent_precision", "absent_recall", "track_frames_per_second",
)  # fmt: skip
SHARED_FOLDERS = ("worlds",)  # folders beside runs with data that all of them use: rendered training data
EVAL_SET = "eval_set"
RENAMED_COLUMNS = {"judged": EVAL_SET, "waited": "data_wait"}  # of metrics.jsonl of earlier versions
REMEDY = "run it again, or remove its folder"


@dataclass(frozen=True)
class Run:
    """One run: the name of its folder, its settings, and its metrics by tracker.

    Tracking and training runs have their metrics under the name "". `unfinished` is None for a finished run,
    and otherwise says how one can tell that the run did not finish.
    """

    name: str
    settings: Settings
    metrics: Mapping[str, Mapping[str, float]]
    unfinished: str | None = None


class UnfinishedError(Exception):
    """A run did not finish; the message says how one can tell."""


def read_runs(folder: Path, out: Path) -> tuple[list[Run], list[str]]:
    """The runs below a folder in the natural order of their names, and a line for each other folder.

    `out`, the folder that the table is written into, may be among them and is skipped.

    Raises UserError where there is no run, for a file that cannot be read, and for a name that is not UTF-8.
    """
    if not folder.is_dir():
        raise UserError(f"runs={folder}: no such folder; name the folder of a sweep")
    found, others = [], []
    for each in sorted((path for path in folder.iterdir() if path.is_dir()), key=natural_order):
        if real_path(each) == real_path(out):
            continue
        below = list(_run_folders(each))
        found += below
        if not below and each.name not in SHARED_FOLDERS and not each.name.startswith("."):
            others.append(
                f"{each}: holds no run: it has no record of settings (resolved.yaml or .hydra/config.yaml)"
            )
    if not found:
        raise UserError(f"runs={folder}: holds no run (a folder with resolved.yaml or .hydra/config.yaml)")
    for path in found:
        check_utf8(path)
    return [_read(path, path.relative_to(folder).as_posix()) for path in found], others


def natural_order(path: Path) -> list[tuple[int, str]]:
    """A sort key that compares the numbers in names as numbers: run 10 comes after run 9."""
    # (number, text after it): a part without a number comes before those with one.
    return [(int(part or -1), text) for part, text in re.findall(r"(\d*)(\D*)", path.name)]


def _run_folders(folder: Path) -> Iterator[Path]:
    """The folders of runs: this folder, or those below it.

    Hydra names the folder of a job by its overrides, and a value with a slash makes nested folders.
    """
    # Below a run nothing is searched: its own folders, such as those of checkpoints, are not runs.
    if is_run(folder):
        yield folder
        return
    for each in sorted((path for path in folder.iterdir() if path.is_dir()), key=natural_order):
        yield from _run_folders(each)


def _read(folder: Path, name: str) -> Run:
    settings = read_settings(folder)
    readers = {SCORES: _scores, SUMMARY: _summary, METRICS: _metrics}
    # The first of these files that the folder has decides what kind of run it is.
    for file, reader in readers.items():
        if (folder / file).is_file():
            try:
                return Run(name, settings, reader(folder / file, settings))
            except UnfinishedError as reason:
                return Run(name, settings, {}, str(reason))
    return Run(name, settings, {}, f"no {', '.join(readers)}")


def _scores(path: Path, _: Settings) -> dict[str, dict[str, float]]:
    content = _json(path, read_text(path, REMEDY))
    if not all(isinstance(values, dict) for values in content.values()):
        raise UserError(f"{path}: must hold metrics by tracker; {REMEDY}")
    return {tracker: _numbers(values) for tracker, values in content.items()}


def _summary(path: Path, _: Settings) -> dict[str, dict[str, float]]:
    content = _json(path, read_text(path, REMEDY))
    failed = content.get("failed") or []
    if not isinstance(failed, list):
        raise UserError(f"{path}: failed must be a list; {REMEDY}")
    if failed:
        raise UnfinishedError(f"{len(failed)} of {content.get('tracks')} tracks failed")
    return {"": _numbers({name: content.get(name) for name in SUMMARY_METRICS})}


def _metrics(path: Path, settings: Settings) -> dict[str, dict[str, float]]:
    """The last value of every column of metrics.jsonl, beginning with the columns of the last row.

    The last row usually is an evaluation, so its metrics come first. A row with `eval_set` (in runs of
    earlier versions `judged`) is about the evaluation set of that name. Where there are several sets, the
    names of metrics include it.
    """
    text = read_text(path, REMEDY)
    # A line that was not written to its end is the sign of a killed process.
    if not text.endswith("\n"):
        raise UnfinishedError(f"{METRICS} ends amid a line" if text else f"{METRICS} is empty")
    rows = [_renamed(_json(path, line, number)) for number, line in enumerate(text.splitlines(), 1)]
    # With several evaluation sets, names of metrics get the name of their set.
    sets = len({row[EVAL_SET] for row in rows if EVAL_SET in row})
    rows = _by_set(rows) if sets > 1 else rows
    # The last value of each column. Losses are logged more often than evaluations, so they are in other rows.
    latest: dict[str, Any] = {}
    for row in rows:
        latest |= row
    steps, wanted = latest.get("step"), _steps(settings)
    if wanted and isinstance(steps, int) and steps < wanted:
        raise UnfinishedError(f"stopped at step {steps} of {wanted}")
    # Metrics of the last rows come first: they are the columns that a narrow terminal shows.
    first = dict.fromkeys(name for row in rows[-max(1, sets) :] for name in row)
    values = _numbers({**first, **latest})
    return {"": {name: value for name, value in values.items() if name != "step"}}


def _renamed(row: dict[str, Any]) -> dict[str, Any]:
    """A row with the present names of its columns."""
    return {RENAMED_COLUMNS.get(name, name): value for name, value in row.items()}


def _by_set(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows in which the metrics of several evaluation sets have different names."""
    return [
        {name if name == "step" else f"{name} {row[EVAL_SET]}": value for name, value in row.items()}
        if EVAL_SET in row
        else row
        for row in rows
    ]


def _steps(settings: Settings) -> int:
    """The number of steps of a training recipe; 0 where the settings do not determine it.

    Recipes of fine-tuning have a number of pairs and a batch size, recipes from scratch a list of stages.
    """
    pairs, batch = (settings.values.get(f"recipe.{name}") for name in ("pairs", "batch"))
    if isinstance(pairs, int) and isinstance(batch, int):
        return max(1, pairs // batch)
    stages = (
        value for key, value in settings.values.items() if re.fullmatch(r"recipe\.stages\.\d+\.steps", key)
    )
    return sum(value for value in stages if isinstance(value, int))


def _json(path: Path, text: str, line: int = 0) -> dict[str, Any]:
    where = f"{path}, line {line}" if line else str(path)
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as fault:
        reason = fault.msg if isinstance(fault, json.JSONDecodeError) else "nested too deep"
        raise UserError(f"{where}: no JSON ({reason}); {REMEDY}") from None
    if not isinstance(content, dict):
        raise UserError(f"{where}: must be a JSON object; {REMEDY}")
    return content


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in values.items()
        # bool is a subclass of int, but a flag is no metric.
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
