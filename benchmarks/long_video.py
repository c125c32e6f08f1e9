"""Speed and memory over a long video, which both must stay flat.

    python -m benchmarks long_video [--frames 10000] [--minutes 60] [--preset val] [--verify-interval 10]

A rendered scene is played forwards and backwards until the video has the wanted number of frames. It is
tracked with the small models as `python -m infer` does, with overlays and all threads. Frames are small and
questions few, because growth is measured and not speed. The run ends after `--minutes`. Speed and resident
memory are measured in `PARTS` equal parts of the frames that were tracked; the first part, in which caches
fill, does not count. Speed is given by the clock, and by the CPU time of the process with all its threads,
which other programs on the machine affect less.

The last line is a JSON object. `ratio` is the speed of the last part over that of the second one (by CPU
time; on a GPU by the clock), and `kb_per_frame` is the growth of memory between them.
"""

import argparse
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import torch

from benchmarks.machine import machine
from data_prep.sequence import Sequence as FrameSequence
from data_prep.video.frames import ImageFrames
from data_prep.votsr.workspace import read_workspace
from data_prep.world.presets import PRESETS
from data_prep.world.render import render_workspace
from infer.config import InferSettings
from infer.engine.config import LocalConfig
from infer.engine.scheduler import Scheduler
from infer.engine.session import open_session
from infer.render.overlays import Overlays
from infer.runs.plan import MaskStore
from infer.runs.progress import RunProgress
from infer.runs.records import TrackRecords
from infer.runs.sequence_job import RunOutputs, SequenceJob
from infer.trackers.referral import ReferralConfig
from models.devices import choose_device

SCENE_FRAMES = 60  # rendered frames, which the video repeats
PARTS = 10
PAGE = os.sysconf("SC_PAGE_SIZE")


class _TimeIsUpError(Exception):
    """Ends the run."""


class _Samples:
    """Seconds and resident memory over the run. Called after each round of the scheduler."""

    def __init__(self, scheduler: Scheduler, seconds: float) -> None:
        self.rows: list[tuple[int, float, float, int]] = []  # frames, seconds, CPU seconds, bytes
        self._scheduler, self._start_time, self._limit = scheduler, time.monotonic(), seconds

    def __call__(self) -> None:
        """Add a sample. Raises an exception when the time is up."""
        seconds = time.monotonic() - self._start_time
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
        self.rows.append((self._scheduler.num_frames, seconds, time.process_time(), resident))
        if seconds > self._limit:
            raise _TimeIsUpError

    def parts(self) -> list[dict[str, float]]:
        """Frames per second and memory in MiB at the end of each part."""
        last = self.rows[-1][0]
        ends = [next(row for row in self.rows if row[0] >= last * part / PARTS) for part in range(PARTS + 1)]
        return [
            {
                "frames": after[0],
                "fps": round((after[0] - before[0]) / (after[1] - before[1]), 2),
                "frames_per_cpu_second": round((after[0] - before[0]) / (after[2] - before[2]), 2),
                "mib": round(after[3] / 2**20, 1),
            }
            for before, after in pairwise(ends)
        ]


def main(arguments: Sequence[str]) -> int:
    """Track, and print a table and a final JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks long_video", description=__doc__)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=60.0, help="the run ends after this time")
    parser.add_argument("--verify-interval", type=int, default=10, help="frames between two questions")
    parser.add_argument("--preset", default="val", choices=PRESETS, help="of the rendered scene")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    # Samples are taken at questions, and each part needs several of them.
    if options.frames < (least := 4 * PARTS * options.verify_interval):
        parser.error(f"--frames: take {least} or more")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        preset = PRESETS[options.preset]
        render_workspace(root / "workspace", preset, sequences=1, expressions=1, frames=SCENE_FRAMES)
        (sequence,) = read_workspace(root / "workspace").sequences
        settings = InferSettings(
            tracker=ReferralConfig(verify_interval=options.verify_interval), device=options.device
        )
        samples = _track(_repeated(sequence, options.frames), root, settings, 60 * options.minutes)
    parts = samples.parts()
    print(f"{'frames':>10}{'frames/s':>12}{'frames/CPU s':>16}{'MiB':>10}")
    for part in parts:
        print(f"{part['frames']:>10}{part['fps']:>12}{part['frames_per_cpu_second']:>16}{part['mib']:>10}")
    second, last = parts[1], parts[-1]
    speed = "frames_per_cpu_second" if choose_device(options.device).type == "cpu" else "fps"
    growth = (last["mib"] - second["mib"]) * 1024 / max(1, last["frames"] - second["frames"])
    report = {
        "benchmark": "long_video",
        "ratio": round(last[speed] / second[speed], 3),
        "ours": last[speed],
        "theirs": second[speed],
        "unit": f"{speed} in the last and in the second tenth of the video",
        "kb_per_frame": round(growth, 3),
        "frames": samples.rows[-1][0],
        "minutes": round(samples.rows[-1][1] / 60, 1),
        "parts": parts,
        "machine": machine(),
    }
    print(json.dumps(report))
    return 0


def _repeated(sequence: FrameSequence, count: int) -> FrameSequence:
    """The sequence played forwards and backwards, again and again, up to `count` frames."""
    assert isinstance(sequence.frames, ImageFrames)
    there_and_back = [*sequence.frames.paths, *sequence.frames.paths[-2:0:-1]]
    paths = tuple(there_and_back[index % len(there_and_back)] for index in range(count))
    return dataclasses.replace(sequence, frames=dataclasses.replace(sequence.frames, paths=paths))


def _track(sequence: FrameSequence, root: Path, settings: InferSettings, seconds: float) -> _Samples:
    """Track a sequence as a run does, until it or the time ends."""
    torch.set_num_threads(1)
    session = open_session(settings)
    store = MaskStore(session, lambda *_: root / "results.txt")
    overlays, expressions = Overlays(root / "out"), list(sequence.expressions)
    with RunProgress(len(sequence.frames) * len(expressions)) as progress:
        outputs = RunOutputs(store, TrackRecords(root / "out"), overlays, progress)
        timings = session.engine.timings
        job = SequenceJob(0, sequence, expressions, ExitStack(), outputs, LocalConfig(), timings)
        scheduler = Scheduler(session.engine, 1, deterministic=True)
        samples = _Samples(scheduler, seconds)
        scheduler.on_round = samples
        jobs = iter([job])
        try:
            scheduler.run(lambda _: next(jobs, None))
            job.wait()
        except _TimeIsUpError:
            pass
        finally:
            job.close()
            overlays.close()
    if job.failure is not None:
        raise RuntimeError(job.failure.reason)
    return samples
