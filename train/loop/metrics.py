"""What a run reports: a log line every few steps, rows of `metrics.jsonl`, and the trackers of accelerate
(TensorBoard, W&B, trackio).
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration

from configs.errors import UserError
from data_prep.files import append_text
from train.loop.state_files import EVAL_SET, METRICS, eval_set_of, remove_rows

PROJECT = "refertrack"
Report = Callable[[dict[str, float], int], None]
log = logging.getLogger(__name__)


class Metrics:
    """Averages the values of steps and writes them; only the first process writes."""

    def __init__(
        self, out: Path, writes: bool, peak_flops: float | None = None, report: Report | None = None
    ) -> None:
        """`peak_flops`: FLOP/s of all devices together, None if unknown; MFU is relative to it.

        `report` is called with the values of each row and their step as well.
        """
        self.path, self._writes, self._peak_flops, self._report = out / METRICS, writes, peak_flops, report
        self._recent: list[dict[str, float]] = []

    def resume(self, step: int, is_evaluated: bool) -> None:
        """Remove the rows of steps that are repeated; `is_evaluated`: the evaluation at `step` is not."""
        if self._writes:
            remove_rows(self.path, step, is_evaluated)

    def add(self, **values: float) -> None:
        """Add the values of one step."""
        self._recent.append(values)

    def log(self, step: int, steps: int, seconds_per_step: float) -> None:
        """Write a line and a row of the mean of all steps since the last call.

        `seconds_per_step` is wall-clock time, with the time spent waiting for data.
        """
        mean = {name: _mean([row[name] for row in self._recent]) for name in self._recent[0]}
        self._recent.clear()
        rates = {
            name: mean[name] / seconds_per_step for name in ("pairs", "answer_tokens", "tokens", "flops")
        }
        mfu = rates["flops"] / self._peak_flops if self._peak_flops else None
        memory = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
        self._write_row(
            {
                "step": step,
                "loss": mean["loss"],
                "norm": mean["norm"],
                "lr": mean["learning_rate"],
                "pairs_per_second": rates["pairs"],
                "answer_tokens_per_second": rates["answer_tokens"],
                "tokens_per_second": rates["tokens"],
                "mfu": mfu,
                "seconds_per_step": seconds_per_step,
                "data_wait": max(0.0, 1 - mean["seconds"] / seconds_per_step),
                "gpu_gib": memory,
            }
        )
        if self._writes:
            on_gpu = ("" if mfu is None else f"  MFU {mfu:.1%}") + (f"  {memory:.1f} GiB" if memory else "")
            log.info(
                "step %d/%d  loss %.4f  lr %.1e  %.1f pairs/s  %.0f tokens/s%s  %.0f ms/step  %.0f min left",
                *(step, steps, mean["loss"], mean["learning_rate"], rates["pairs"], rates["tokens"]),
                *(on_gpu, 1000 * seconds_per_step, (steps - step) * seconds_per_step / 60),
            )

    def log_evaluation(self, step: int, title: str, metrics: Mapping[str, Any]) -> None:
        """Write a row of the metrics of an evaluation set."""
        self._write_row({"step": step, EVAL_SET[0]: title, **metrics})

    def _write_row(self, row: Mapping[str, Any]) -> None:
        if self._writes:
            append_text(self.path, json.dumps(row) + "\n")
            if self._report is not None:
                self._report(tracker_values(row), row["step"])

    def latest_evaluations(self) -> dict[str, dict[str, Any]]:
        """The last metrics of each evaluation set, by its title, with their step."""
        if not self.path.is_file():
            return {}
        rows = [json.loads(line) for line in self.path.read_text().splitlines()]
        return {
            title: {name: value for name, value in row.items() if name not in EVAL_SET}
            for row in rows
            if (title := eval_set_of(row)) is not None
        }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


# ---- trackers ----------------------------------------------------------------------------------


def tracker_options(names: Sequence[str], out: Path) -> dict[str, Any]:
    """The arguments by which an `Accelerator` reports to these trackers; their files lie in `out`.

    Raises UserError for a tracker that is not installed.
    """
    for name in names:
        if find_spec(name) is None:
            raise UserError(
                f"recipe.report_to=[{name}]: is not installed; pip install {name}, or leave it out"
            )
    if not names:
        return {}
    return {
        "log_with": list(names),
        "project_config": ProjectConfiguration(str(out), str(out / "tensorboard")),
    }


def init_trackers(accelerator: Accelerator, name: str, out: Path, settings: Mapping[str, Any]) -> None:
    """Open the trackers of an accelerator, if there are any, with the settings of the run."""
    options = {"wandb": {"name": name, "dir": str(out)}, "trackio": {"name": name}}
    accelerator.init_trackers(PROJECT, config=flatten(settings), init_kwargs=options)


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, int | float | str | bool]:
    """Settings by dotted key, lists as text: TensorBoard takes no nested values."""
    flat: dict[str, int | float | str | bool] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, int | float | str) else str(value)
    return flat


def tracker_values(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row of `metrics.jsonl`, named `train/…` or `<evaluation set>/…`."""
    prefix = eval_set_of(row) or "train"
    return {
        f"{prefix}/{name}": float(value)
        for name, value in row.items()
        if isinstance(value, int | float) and name != "step"
    }
