"""Why a tracker did what it did in a frame, from the traces that `python -m infer` left (`runs=`).

A trace is used only if it belongs to the results that are diagnosed: its record in `tracks/` names the result
file, and holds the hash of the masks that the file still has. Tracks without such a trace have no reasons.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from configs.errors import UserError
from data_prep.console import one_line
from data_prep.files import inside, read_text, real_path
from data_prep.trace import TraceFrame, read_trace
from data_prep.votsr.results import lines_digest, prompt_hash, read_lines

DEPTH = 3  # folders below `runs=` in which runs are looked for
RECORDS, TRACES = "tracks", "traces"  # folders of a run (`infer.runs.records`)


@dataclass(frozen=True)
class Why:
    """The state of a tracker in one frame, and its reasons."""

    state: str
    reasons: tuple[str, ...]

    @property
    def text(self) -> str:
        """For tables and pictures, in one line: `lost (due, not visible)`."""
        reasons = ", ".join(reason.replace("_", " ") for reason in self.reasons)
        return one_line(f"{self.state} ({reasons})" if reasons else self.state)


class RunTraces:
    """The traces of all runs in a folder. Their files are read when a track is looked up."""

    def __init__(self, runs: Path | None) -> None:
        """With None there are no traces. Raises UserError where the folder does not exist."""
        if runs is not None and not runs.is_dir():
            raise UserError(f"runs={runs}: no such folder; name that of the runs, or leave it out")
        self._runs = runs

    def why(self, sequence: str, expression: str, result: Path, frame_index: np.ndarray) -> tuple[Why, ...]:
        """State and reasons of a track in the frames `frame_index` int64 (T,), counted from 0.

        `result` is the file that is diagnosed. Empty where no run left a trace of this result.
        """
        for out in self._folders:
            trace = _trace_of(out, sequence, expression, result)
            if trace is not None and (not frame_index.size or int(frame_index[-1]) < len(trace)):
                shared: dict[Why, Why] = {}  # most frames have one of a few values
                found = (Why(trace[at].state, trace[at].reasons) for at in frame_index.tolist())
                return tuple(shared.setdefault(each, each) for each in found)
        return ()

    @cached_property
    def _folders(self) -> Sequence[Path]:
        """The folders of runs with traces."""
        if self._runs is None:
            return []
        patterns = ("/".join(["*"] * depth + [TRACES]) for depth in range(DEPTH + 1))
        return [path.parent for pattern in patterns for path in sorted(self._runs.glob(pattern))]


def _trace_of(out: Path, sequence: str, expression: str, result: Path) -> list[TraceFrame] | None:
    """The trace of a track that a run left; None where it has none, or one of other results."""
    try:
        name = f"{sequence}_{prompt_hash(expression)}"
        record = json.loads(read_text(inside(out / RECORDS, f"{name}.json"), ""))
        files = {real_path(out / record[key]) for key in ("file", "masks")}
        lines = read_lines(out / record["masks"], record["frames"])
        if real_path(result) not in files or lines_digest(lines) != record["masks_sha256"]:
            return None
        return read_trace(inside(out / TRACES, f"{name}.jsonl"), len(lines))
    except (UserError, ValueError, KeyError, TypeError, RecursionError):
        return None
