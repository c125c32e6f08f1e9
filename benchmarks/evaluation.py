"""Speed of reading and scoring box results: `python -m benchmarks evaluation [--sequences 700]`

A benchmark of 700 sequences with 700 frames each and ten trackers is generated in the layout of a toolkit.

- Theirs: the way of pytracking's script and VPTracker's port of it. For every sequence and tracker, NumPy
  loads the text file (trying tabs before commas), and torch compares each frame with each threshold.
- Ours: protocol `pytracking`, which computes the same figures. They must agree.

Both read the files of each tracker from disk and not from the page cache, one after the other in the same
run, with one thread. The results are medians over trackers, of wall-clock time and of processor time: other
processes on the machine disturb the first more. Scoring alone starts from numbers in memory on both sides.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks.machine import machine
from evaluation.boxes.ragged import BoxTruth
from evaluation.layouts.annos import read_annos
from evaluation.layouts.folders import TrackerFolder, toolkit_folders
from evaluation.layouts.results import Faults, read_results
from evaluation.protocols.pytracking import PROTOCOL
from evaluation.scores import TrackerScores

PARTS = ("read", "scored", "read and scored")
KEYS = ("success", "precision", "norm_precision")
Rates = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
# The thresholds of pytracking: overlaps of 0, 0.05, ..., 1, and centre errors of 0 to 50 pixels.
OVERLAPS = torch.arange(0.0, 1.05, 0.05, dtype=torch.float64)
PIXELS = torch.arange(0, 51, dtype=torch.float64)


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table and a final JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks evaluation", description=__doc__)
    parser.add_argument("--sequences", type=int, default=700)
    parser.add_argument("--frames", type=int, default=700)
    parser.add_argument("--trackers", type=int, default=10)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        _generate(root, options.sequences, options.frames, options.trackers)
        taken = _measure(root)
    ratios = {}
    for part, (ours, theirs) in taken.items():
        rates = [options.sequences / side.wall for side in (ours, theirs)]
        ratios[part] = theirs.wall / ours.wall, theirs.processor / ours.processor
        message = f"{rates[0]:>10,.0f}{rates[1]:>10,.0f} sequences a second"
        print(f"{part:<16}{message}{ratios[part][0]:>8.1f} (of processor time {ratios[part][1]:.1f})")
    ours, theirs = taken["read and scored"]
    report = {
        "benchmark": "evaluation",
        "ratio": round(ratios["read and scored"][0], 2),
        "ours": round(options.sequences / ours.wall),
        "theirs": round(options.sequences / theirs.wall),
        "unit": "sequences read cold and scored a second, one thread",
        "scoring_ratio": round(ratios["scored"][0], 2),
        "processor_ratio": round(ratios["read and scored"][1], 2),
        "processor_scoring_ratio": round(ratios["scored"][1], 2),
        "sequences": options.sequences,
        "frames": options.frames,
        "trackers": options.trackers,
        "machine": machine(),
    }
    print(json.dumps(report))
    return 0


def _generate(root: Path, sequences: int, frames: int, trackers: int) -> None:
    """Write ground truth as integers, and results with two decimals. Each tracker is worse than the last."""
    rng = np.random.default_rng(0)
    folders = [root / "tracking_results" / f"t{number}_tracking_result" for number in range(trackers)]
    for folder in (root / "annos", *folders):
        folder.mkdir(parents=True)
    for number in range(sequences):
        # A random walk of the target, which is absent in 5 % of the frames.
        steps = rng.normal(0, 3, (frames, 2)).cumsum(axis=0)
        truth = np.concatenate([400 + steps, 50 + 30 * rng.random((frames, 2))], axis=1).round()
        # The first frame is left out: it has a box in every benchmark.
        truth[1:][rng.random(frames - 1) < 0.05] = 0
        (root / "annos" / f"v{number:03d}.txt").write_text(_lines("%d,%d,%d,%d\n", truth))
        for worse, folder in enumerate(folders):
            result = truth + rng.normal(0, 5 + 2 * worse, truth.shape)
            result[:, 2:] = np.abs(result[:, 2:])
            (folder / f"v{number:03d}.txt").write_text(_lines("%.2f,%.2f,%.2f,%.2f\n", result))


def _lines(form: str, boxes_xywh: np.ndarray) -> str:
    return "".join(form % tuple(box) for box in boxes_xywh.tolist())


def _measure(root: Path) -> dict[str, tuple["Seconds", "Seconds"]]:
    """The median times of both sides for one tracker, by part of the work."""
    # The ground truth is prepared before, on both sides: it is read once for all trackers.
    truth, _ = read_annos(root / "annos")
    # (4, all frames) -> one array (4, frames) for each sequence. pytracking has (frames, 4).
    parts_of_truth = np.split(truth.boxes_xywh, truth.starts[1:-1], axis=1)
    plain_truth = [torch.tensor(part.T.copy()) for part in parts_of_truth]
    folders = toolkit_folders(root / "tracking_results", truth.sequences)
    score = PROTOCOL.scorer(truth)
    _ours(folders[0], truth, score)  # a warm-up, which includes imports at first use
    taken: dict[str, tuple[list[Seconds], list[Seconds]]] = {part: ([], []) for part in PARTS}
    # Both sides score one tracker after the other, so that a disturbance of the machine affects both.
    for folder in folders:
        done = [_ours(folder, truth, score), _theirs(folder, truth, plain_truth)]
        for side, (figures, read, scored) in enumerate(done):
            for part, seconds in zip(PARTS, (read, scored, read + scored), strict=True):
                taken[part][side].append(seconds)
            if not np.allclose(
                figures, done[0][0], rtol=0, atol=1e-4
            ):  # the script computes rates in float32
                raise SystemExit(f"{folder.tracker}: figures differ: {done[0][0]} and {figures}")
    return {part: (_median(ours), _median(theirs)) for part, (ours, theirs) in taken.items()}


@dataclass(frozen=True)
class Seconds:
    """Wall-clock time and processor time, in seconds."""

    wall: float
    processor: float

    @staticmethod
    def now() -> "Seconds":
        """The current readings of both clocks."""
        return Seconds(time.perf_counter(), time.process_time())

    def __add__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.wall + other.wall, self.processor + other.processor)

    def __sub__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.wall - other.wall, self.processor - other.processor)


def _median(taken: list[Seconds]) -> Seconds:
    return Seconds(median(each.wall for each in taken), median(each.processor for each in taken))


def _ours(
    folder: TrackerFolder, truth: BoxTruth, score: Callable[..., TrackerScores]
) -> tuple[list[float], Seconds, Seconds]:
    """The figures in percent, and the times for reading and scoring."""
    _forget(folder.folder)
    started, faults = Seconds.now(), Faults()
    results = read_results(folder, truth, faults, accepts_nan=False)
    faults.raise_any()
    read = Seconds.now()
    scores = score(results)
    return [scores.overall[key] for key in KEYS], read - started, Seconds.now() - read


def _theirs(
    folder: TrackerFolder, truth: BoxTruth, plain_truth: list[torch.Tensor]
) -> tuple[list[float], Seconds, Seconds]:
    """The same in the way of the script, sequence by sequence."""
    _forget(folder.folder)
    read, rates, started = Seconds(0.0, 0.0), list[Rates](), Seconds.now()
    for name, boxes in zip(truth.sequences, plain_truth, strict=True):
        begun = Seconds.now()
        result = torch.tensor(_loaded(folder.folder / f"{name}.txt"))
        read += Seconds.now() - begun
        rates.append(_rates(result, boxes))
    curves = [100 * torch.stack(curve).mean(0) for curve in zip(*rates, strict=True)]
    taken = Seconds.now() - started
    # Success is the mean over all thresholds. Precision is taken at 20 pixels, and at 0.2 if normalised.
    figures = [curves[0].mean().item(), curves[1][20].item(), curves[2][20].item()]
    return figures, read, taken - read


def _loaded(path: Path) -> np.ndarray:
    # pytracking tries tabs before commas, and finds out by an exception.
    for separator in ("\t", ","):
        try:
            return np.loadtxt(path, delimiter=separator, dtype=np.float64)
        except ValueError:
            continue
    raise SystemExit(f"{path}: cannot be read")


def _rates(result: torch.Tensor, truth: torch.Tensor) -> Rates:
    """Shares of frames by threshold, float32: success, precision, normalised precision."""
    # 1. Negative numbers become 0, an empty box repeats the previous one, and the first box is the true one.
    result = result.clone()
    result[result < 0] = 0
    if (result[:, 2:] == 0).any():
        for frame in range(1, len(result)):
            if (result[frame, 2:] == 0).any():
                result[frame] = result[frame - 1]
    result[0] = truth[0]
    valid = (truth[:, 2:] > 0).sum(1) == 2
    # 2. Overlap and centre errors. Pixels are inclusive, hence the 1.
    near = torch.max(result[:, :2], truth[:, :2])
    far = torch.min(result[:, :2] + result[:, 2:] - 1.0, truth[:, :2] + truth[:, 2:] - 1.0)
    shared = (far - near + 1.0).clamp(0).prod(dim=1)
    overlap = shared / (result[:, 2:].prod(dim=1) + truth[:, 2:].prod(dim=1) - shared)
    centre, true = (boxes[:, :2] + 0.5 * (boxes[:, 2:] - 1.0) for boxes in (result, truth))
    error = ((centre - true) ** 2).sum(1).sqrt()
    normalised = ((centre / truth[:, 2:] - true / truth[:, 2:]) ** 2).sum(1).sqrt()
    # As in the script: a frame without a true box fails all thresholds of overlaps and of pixels, but its
    # normalised error of -1 is below every threshold.
    overlap[~valid], error[~valid], normalised[~valid] = -1.0, float("inf"), -1.0
    # 3. Each frame is compared with each threshold: (frames, 1) with (1, thresholds).
    return (
        (overlap.view(-1, 1) > OVERLAPS.view(1, -1)).sum(0).float() / len(truth),
        (error.view(-1, 1) <= PIXELS.view(1, -1)).sum(0).float() / len(truth),
        (normalised.view(-1, 1) <= (PIXELS / 100).view(1, -1)).sum(0).float() / len(truth),
    )


def _forget(folder: Path) -> None:
    """Drop the files of a folder from the page cache, on systems with `posix_fadvise`."""
    for path in folder.iterdir() if hasattr(os, "posix_fadvise") else ():
        with path.open("rb") as file:
            # Pages that are not written yet cannot be dropped.
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
