"""Speed of two processes against one: `python -m benchmarks launch [--ray] [--frames 240]`

A workspace of sequences whose lengths differ much (the longest has a third of all frames) is tracked by the
small models on the CPU.

- Theirs: one process.
- Ours: two processes on two cores (`launch.processes=2`), of this machine or, with `--ray`, of Ray.

Nobody decodes or writes beside the models (`engine.read_ahead=0 engine.write_behind=0`), so one process uses
one core. The seconds are those of tracking, as `summary.json` has them; those of the whole commands, which
load the models too, are reported beside them. The results must be equal byte for byte. Run it on an idle
machine with at least two cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import machine
from configs.import_path import safe_path_variables
from data_prep.votsr.textfiles import write_workspace
from data_prep.world.presets import PRESETS
from data_prep.world.render import render_workspace

ROOT = Path(__file__).resolve().parent.parent
# The lengths of the sequences, as shares of the longest. Every second one together has 88 % of the frames.
SHARES = (0.05, 1.0, 0.1, 0.5, 0.1, 0.45, 0.05, 0.4, 0.05, 0.3)
ALONE = ("engine.read_ahead=0", "engine.write_behind=0", "overlay=false", "pack=false", "device=cpu")


@dataclass(frozen=True)
class Side:
    """One side: the seconds of tracking and of the whole command, and the results by their names."""

    tracking: float
    command: float
    results: dict[str, bytes]


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a final JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks launch", description=__doc__)
    parser.add_argument("--frames", type=int, default=240, help="of the longest sequence")
    parser.add_argument("--ray", action="store_true", help="two workers of a local Ray cluster")
    options = parser.parse_args(arguments)
    two = ("launch=ray", "launch.processes=2") if options.ray else ("launch.processes=2",)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        _render(root / "workspace", options.frames)
        one_process = _measure(root, "one", ("launch.processes=1",))
        two_processes = _measure(root, "two", two)
    if one_process.results != two_processes.results:
        raise SystemExit("two processes wrote other results than one")
    report = {
        "benchmark": "launch",
        "ratio": round(one_process.tracking / two_processes.tracking, 2),
        "ours": round(two_processes.tracking, 1),
        "theirs": round(one_process.tracking, 1),
        "unit": "seconds of tracking, two processes against one",
        "command_ratio": round(one_process.command / two_processes.command, 2),
        "launch": "ray" if options.ray else "local",
        "sequences": len(SHARES),
        "machine": machine(),
    }
    print(json.dumps(report))
    return 0


def _render(root: Path, longest: int) -> None:
    """Render one sequence of each length."""
    names: list[str] = []
    for number, share in enumerate(SHARES):
        frames = max(2, round(share * longest))
        names += render_workspace(
            root, PRESETS["demo"], sequences=1, expressions=1, frames=frames, first=number
        )
    write_workspace(root, names)


def _measure(root: Path, name: str, launch: Sequence[str]) -> Side:
    """Track the workspace with a command of its own."""
    out, workspace = root / name, root / "workspace"
    settings = [f"workspace={workspace}", f"tracker_id={name}", f"out={out}", *ALONE, *launch]
    started = time.perf_counter()
    environment = {**os.environ, **safe_path_variables(os.environ), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "infer", *settings]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    summary = json.loads((out / "summary.json").read_text())
    print(f"{name:<4} {summary['seconds']:8.1f} s of tracking, {seconds:8.1f} s in all", flush=True)
    folder = workspace / "results" / name
    results = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.txt")}
    return Side(summary["seconds"], seconds, results)
