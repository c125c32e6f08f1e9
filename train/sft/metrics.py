"""What a run says of itself: a line now and then, and `metrics.jsonl` always."""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from data_prep.files import append_text
from train.sft.tracking import numbers_of
from train.state_files import METRICS, forget_rows

Report = Callable[[dict[str, float], int], None]
log = logging.getLogger(__name__)


class Metrics:
    """Gathers the figures of steps; only the first process writes."""

    def __init__(
        self, out: Path, writes: bool, peak: float | None = None, report: Report | None = None
    ) -> None:
        """`peak`: operations a second of all devices together, None where nobody knows; `report` is told the
        figures of each row and their step as well.
        """
        self.path, self._writes, self._peak, self._report = out / METRICS, writes, peak, report
        self._recent: list[dict[str, float]] = []

    def go_on_from(self, step: int, judged: bool) -> None:
        """Forget the rows of steps that are taken again; `judged`: the evaluation of `step` is not."""
        if self._writes:
            forget_rows(self.path, step, judged)

    def add(self, **figures: float) -> None:
        """The figures of one step."""
        self._recent.append(figures)

    def tell(self, step: int, steps: int, pace: float) -> None:
        """A line, and a row, of the steps since the last; `pace` in seconds a step, waiting included."""
        mean = {name: _mean([row[name] for row in self._recent]) for name in self._recent[0]}
        self._recent.clear()
        rates = {name: mean[name] / pace for name in ("pairs", "tokens", "read", "operations")}
        mfu = rates["operations"] / self._peak if self._peak else None
        memory = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
        self._row(
            {
                "step": step,
                "loss": mean["loss"],
                "norm": mean["norm"],
                "lr": mean["rate"],
                "pairs_per_second": rates["pairs"],
                "answer_tokens_per_second": rates["tokens"],
                "tokens_per_second": rates["read"],
                "mfu": mfu,
                "seconds_per_step": pace,
                "waited": max(0.0, 1 - mean["seconds"] / pace),
                "gpu_gib": memory,
            }
        )
        if self._writes:
            on_gpu = ("" if mfu is None else f"  MFU {mfu:.1%}") + (f"  {memory:.1f} GiB" if memory else "")
            log.info(
                "step %d/%d  loss %.4f  lr %.1e  %.1f pairs/s  %.0f tokens/s%s  %.0f ms/step  %.0f min left",
                *(step, steps, mean["loss"], mean["rate"], rates["pairs"], rates["read"]),
                *(on_gpu, 1000 * pace, (steps - step) * pace / 60),
            )

    def judged(self, step: int, title: str, figures: Mapping[str, Any]) -> None:
        """A row of an evaluation's figures."""
        self._row({"step": step, "judged": title, **figures})

    def _row(self, row: Mapping[str, Any]) -> None:
        if self._writes:
            append_text(self.path, json.dumps(row) + "\n")
            if self._report is not None:
                self._report(numbers_of(row), row["step"])

    def latest(self) -> dict[str, dict[str, Any]]:
        """The last figures of each set that was judged, by its title, with their step."""
        if not self.path.is_file():
            return {}
        rows = [json.loads(line) for line in self.path.read_text().splitlines()]
        return {
            row["judged"]: {k: v for k, v in row.items() if k != "judged"} for row in rows if "judged" in row
        }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
