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
from train.loop.objective import StepMetrics
from train.loop.state_files import EVAL_SET, METRICS, eval_set_of, remove_rows

PROJECT = "refertrack"
SHOWN_RATES = {"pairs": ".1f", "tokens": ".0f"}  # of the counts of a step, in log lines; with their formats
Report = Callable[[dict[str, float], int], None]
log = logging.getLogger(__name__)


class Metrics:
    """Averages the metrics of steps and writes them; only the first process writes."""

    def __init__(
        self, out: Path, writes: bool, peak_flops: float | None = None, report: Report | None = None
    ) -> None:
        """`peak_flops`: FLOP/s of all devices together, None if unknown; MFU is relative to it.

        `report` is called with the values of each row and their step as well.
        """
        self.path, self._writes, self._peak_flops, self._report = out / METRICS, writes, peak_flops, report
        self._recent: list[tuple[StepMetrics, float]] = []  # with the seconds that each step took

    def resume(self, step: int, is_evaluated: bool) -> None:
        """Remove the rows of steps that are repeated; `is_evaluated`: the evaluation at `step` is not."""
        if self._writes:
            remove_rows(self.path, step, is_evaluated)

    def add(self, metrics: StepMetrics, seconds: float) -> None:
        """Add the metrics of one step, which took `seconds` without waiting for its data."""
        self._recent.append((metrics, seconds))

    def log(self, step: int, steps: int, seconds_per_step: float) -> None:
        """Write a line and a row of the mean of all steps since the last call.

        `seconds_per_step` is wall-clock time, with the time spent waiting for data.
        """
        recent, seconds = [each for each, _ in self._recent], [each for _, each in self._recent]
        self._recent = []
        # 1. Means over the steps. The parts of a loss may differ from stage to stage.
        losses = {
            name: _mean([each.losses[name] for each in recent if name in each.losses])
            for name in recent[0].losses
        }
        norms = [each.grad_norm for each in recent if each.grad_norm is not None]
        rates = {
            name: _mean([each.counts[name] for each in recent]) / seconds_per_step
            for name in recent[0].counts
        }
        learning_rate = recent[-1].learning_rate
        # 2. The row. Rates and MFU are relative to wall-clock time, with checkpoints and evaluations.
        row: dict[str, Any] = {"step": step, **losses}
        if norms:
            row["norm"] = _mean(norms)
        row["lr"] = learning_rate
        row |= {f"{name}_per_second": rate for name, rate in rates.items()}
        row["seconds_per_step"] = seconds_per_step
        row["data_wait"] = max(0.0, 1 - _mean(seconds) / seconds_per_step)
        device = self._device_metrics(recent, seconds_per_step)
        self._write_row(row | device)
        # 3. The line.
        if self._writes:
            log.info(
                "step %d/%d  %s  lr %.1e%s  %.0f ms/step  %.0f min left",
                *(step, steps, "  ".join(f"{name} {value:.4f}" for name, value in losses.items())),
                *(learning_rate, _line_part(rates, device)),
                *(1000 * seconds_per_step, (steps - step) * seconds_per_step / 60),
            )

    def _device_metrics(self, recent: Sequence[StepMetrics], seconds_per_step: float) -> dict[str, Any]:
        """MFU and peak memory, if the FLOPs of a step are known."""
        flops = [each.flops for each in recent if each.flops is not None]
        if not flops:
            return {}
        mfu = _mean(flops) / seconds_per_step / self._peak_flops if self._peak_flops else None
        memory = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
        return {"mfu": mfu, "gpu_gib": memory}

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
        # Later rows of a set replace earlier ones.
        rows = [json.loads(line) for line in self.path.read_text().splitlines()]
        return {
            title: {name: value for name, value in row.items() if name not in EVAL_SET}
            for row in rows
            if (title := eval_set_of(row)) is not None
        }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _line_part(rates: Mapping[str, float], device: Mapping[str, Any]) -> str:
    """Throughput, MFU and memory as they stand in a log line, each after two spaces."""
    parts = [f"{rates[name]:{form}} {name}/s" for name, form in SHOWN_RATES.items() if name in rates]
    if device.get("mfu") is not None:
        parts.append(f"MFU {device['mfu']:.1%}")
    if device.get("gpu_gib"):
        parts.append(f"{device['gpu_gib']:.1f} GiB")
    return "".join(f"  {part}" for part in parts)


# ---- trackers ----------------------------------------------------------------------------------


def tracker_options(names: Sequence[str], out: Path) -> dict[str, Any]:
    """The arguments by which an `Accelerator` reports to these trackers; their files are written to `out`.

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
    # Each tracker has its own name for the folder and the title of a run.
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
