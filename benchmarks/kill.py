"""Killed processes and the results that are left.

    python -m benchmarks kill [--moments 50] [--processes 2 | --ray]

A few short sequences are tracked once without disturbance. Then, at random moments, one process of a run is
ended by SIGKILL: the one that was started, or one of its workers. A run that lost a worker must complete by
itself, and its summary must count all tracks. A run that lost its first process must leave no other process.
At no moment may there be a half-written file, and after the same command has run again, the folder of results
must equal the undisturbed one byte for byte.

The last line is a JSON object. `ratio` is the share of moments at which all of that was true.
"""

import argparse
import dataclasses
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from data_prep.index.build import build_index
from data_prep.readers.reader import reader_of
from data_prep.world.presets import PRESETS
from data_prep.world.render import render_workspace
from infer.config import InferSettings
from infer.launch.config import RayLaunchConfig
from infer.launch.local_workers import LocalWorkers
from infer.launch.run import run, track_on
from infer.runs.run import run as run_with
from infer.trackers.referral import ReferralConfig

NUM_WORKERS = 2
GONE_WITHIN = 20.0  # seconds in which the workers of a killed run must have ended
HANGS_AFTER = 600.0  # seconds in which a run must have ended
# What a run imports before it tracks, which takes longer than tracking the sequences.
PRELOADED = ["infer.launch.worker", "models.grounder.grounder", "models.mask_head.sam2", "benchmarks.kill"]
Start = Callable[[InferSettings], int]


def run_locally(settings: InferSettings) -> int:
    """A run with two local workers, which are forked: importing torch anew would take most of the time."""
    workers = LocalWorkers(settings, [{}] * NUM_WORKERS, multiprocessing.get_context("fork"))
    return run_with(settings, lambda plan, planned: track_on(workers, NUM_WORKERS, plan, planned))


class KilledRuns:
    """Runs of the same settings that are killed, compared with one that is not.

    `results` is the folder of their results. `context` starts the process of a run, which calls `start`.
    `is_victim` chooses among the processes that a run has started.
    """

    def __init__(
        self,
        settings: InferSettings,
        results: Path,
        start: Start,
        context: BaseContext,
        is_victim: Callable[[int], bool] = lambda _: True,
    ) -> None:
        self._settings, self._start, self._context = settings, start, context
        self._results, self._out, self._is_victim = results, Path(settings.out), is_victim
        # The undisturbed run, and the time of a second one: the first starts the server of processes too.
        self._complete()
        self._expected, self._num_track_frames = self._files(), self._summary()["track_frames"]
        self._remove_all()
        begun = time.monotonic()
        self._complete()
        self.seconds = time.monotonic() - begun

    def kill_one(self, after: float, victim: random.Random) -> str | None:
        """Start a run anew, kill one of its processes after some seconds, run again, and compare.

        Returns what was wrong, in one line; None if nothing was.
        """
        self._remove_all()
        process = self._launch()
        time.sleep(after)
        # 1. Kill the first process of the run, or a worker.
        assert process.pid is not None
        started = descendants(process.pid)
        killed = victim.choice([process.pid, *filter(self._is_victim, started)])
        with suppress(ProcessLookupError):  # the run may have ended by now
            os.kill(killed, signal.SIGKILL)
        if wrong := self._half_written():
            return wrong
        process.join(HANGS_AFTER)
        if process.is_alive():
            return f"the run that lost process {killed} hangs"
        # 2. Without its first process the run has ended, and no worker goes on.
        if killed == process.pid:
            if left := _wait_until_gone(started):
                return f"processes {left} have outlived the run"
            if wrong := self._half_written():
                return wrong
            self._complete()
        elif process.exitcode != 0:
            return f"the run that lost worker {killed} ended with status {process.exitcode}"
        elif (counted := self._summary()["track_frames"]) != self._num_track_frames:
            return f"the summary of the run that lost worker {killed} counts {counted} track-frames"
        # 3. The results are those of an undisturbed run, and nothing else lies there.
        if left_behind := [path.name for path in self._out.rglob(".*")]:
            return f"left behind: {', '.join(left_behind)}"
        files = self._files()
        differing = sorted(
            name
            for name in files.keys() | self._expected.keys()
            if files.get(name) != self._expected.get(name)
        )
        return f"other files than without a kill: {', '.join(differing)}" if differing else None

    def _launch(self) -> BaseProcess:
        process: BaseProcess = self._context.Process(target=_run_quietly, args=(self._start, self._settings))  # type: ignore[attr-defined]
        process.start()
        return process

    def _complete(self) -> None:
        process = self._launch()
        process.join()
        if process.exitcode != 0:
            raise SystemExit(f"a run that nobody killed ended with status {process.exitcode}")

    def _remove_all(self) -> None:
        for folder in (self._results, self._out):
            shutil.rmtree(folder)

    def _summary(self) -> dict[str, Any]:
        return dict(json.loads((self._out / "summary.json").read_text()))

    def _files(self) -> dict[str, bytes]:
        """The results and the traces, by their names."""
        paths = (path for path in self._results.rglob("*") if path.is_file())
        results = {path.relative_to(self._results).as_posix(): path.read_bytes() for path in paths}
        return results | {path.name: path.read_bytes() for path in self._out.glob("traces/*")}

    def _half_written(self) -> str | None:
        """A file that exists at the present moment and is not complete."""
        # Names that begin with .part- are those of files that are being written. Nobody reads them. They may
        # be gone by the time that they are looked at.
        for path in [*self._results.rglob("*"), *self._out.rglob("*")]:
            if path.name.startswith(".") or not path.is_file():
                continue
            content = path.read_bytes()
            if path.suffix == ".json" and not _is_json(content):
                return f"half-written: {path.name}"
            name = path.relative_to(self._results).as_posix() if path.is_relative_to(self._results) else ""
            if path.suffix == ".jsonl" and content != self._expected.get(path.name):
                return f"half-written: {path.name}"
            if path.suffix == ".txt" and content != self._expected.get(name):
                return f"half-written: {name}"
        return None


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have started."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *descendants(child)]
    return found


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


def _is_ray_worker(pid: int) -> bool:
    """Whether a process is a worker of ours, and not one of Ray's own."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::RayWorker")
    except OSError:
        return False


def _wait_until_gone(pids: Sequence[int]) -> list[int]:
    """Wait for the end of processes; those that are left after a while."""
    deadline = time.monotonic() + GONE_WITHIN
    while left := [pid for pid in pids if _is_running(pid)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return left


def _is_running(pid: int) -> bool:
    try:
        # The state follows the name, which is in parentheses. Z: ended, and not yet collected.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _run_quietly(start: Start, settings: InferSettings) -> None:
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  # until the process ends
    sys.exit(start(settings))


def small_run(folder: Path) -> InferSettings:
    """A run of the shipped small models over a few rendered sequences."""
    data = folder / "data"
    render_workspace(data / "test", PRESETS["demo"], sequences=8, expressions=1, frames=8, layout="tnl2k")
    build_index(reader_of("tnl2k", "test"), data, "test", folder / "indexes", workers=1)
    return InferSettings(
        data="tnl2k",
        indexes=str(folder / "indexes"),
        results=str(folder / "results"),
        tracker=ReferralConfig(),
        device="cpu",
        out=str(folder / "out"),
        overlay=False,
    )


def main(arguments: Sequence[str]) -> int:
    """Kill, compare, and print a line for each moment and a final JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks kill", description=__doc__)
    parser.add_argument("--moments", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=NUM_WORKERS, choices=(1, NUM_WORKERS))
    parser.add_argument("--ray", action="store_true", help="workers of a local Ray cluster")
    options = parser.parse_args(arguments)
    chance, wrong = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory() as name:
        settings = small_run(Path(name))
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        start: Start = run_locally if options.processes > 1 else run
        is_victim: Callable[[int], bool] = lambda _: True  # noqa: E731
        if options.ray:
            settings = dataclasses.replace(settings, launch=RayLaunchConfig(processes=NUM_WORKERS, cpus=0.5))
            start, is_victim = run, _is_ray_worker
        runs = KilledRuns(settings, Path(name) / "results", start, context, is_victim)
        for number in range(options.moments):
            after = chance.uniform(0, runs.seconds)
            fault = runs.kill_one(after, chance)
            wrong += fault is not None
            print(f"{number + 1:>3}  after {after:5.1f} s  {fault or 'equal'}", flush=True)
    report = {
        "benchmark": "kill",
        "ratio": round(1 - wrong / max(options.moments, 1), 3),
        "ours": options.moments - wrong,
        "theirs": options.moments,
        "launch": "ray" if options.ray else f"local, {options.processes}",
        "unit": "moments of a kill after which nothing is half-written and the results are equal",
        "seconds_of_a_run": round(runs.seconds, 1),
        "machine": machine(),
    }
    print(json.dumps(report))
    return 1 if wrong else 0
