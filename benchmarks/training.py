"""How fast is fine-tuning, against TRL's SFTTrainer? `python -m benchmarks training [--steps 8] [--rounds 3]`

Both fine-tune the shipped small grounder on a CPU, one thread: LoRA of one rank on the same maps, AdamW, the
same precision, batch, checkpointing flag and number of workers (all printed), on the same pairs in the same
order. Theirs gets each pair's pictures and texts through a dataset that reads them with our own code, when
a worker asks; it pads, since it refuses packed and padding-free rows for pictures. The losses of the first
step must agree. Sides take turns; told are pairs a second by the median step, of time that passed (`ratio`)
and of the training process's processor time, which others at work on the machine disturb less. Then each part
of ours is taken away alone. How evenly pairs fall on several processes is told first.

Where an NVIDIA GPU is there, also a published size with random weights in bfloat16, with pairs a second,
peak memory, and the share of the device's peak arithmetic that the model's own takes (MFU).
"""

import argparse
import json
import logging
import tempfile
from collections.abc import Sequence
from math import inf
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.machine import machine
from benchmarks.training_balance import PROCESSES, balance
from benchmarks.training_parts import gains
from benchmarks.training_sides import ours, theirs
from benchmarks.training_work import Run, Work, published_work, small_work
from train.sft.flops import peak_flops

TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2}  # relative, of the first step's loss


def main(arguments: Sequence[str]) -> int:
    """Measure, print tables, and one JSON object as the last line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks training", description=__doc__)
    parser.add_argument("--steps", type=int, default=8, help="optimizer steps of a run; two are not timed")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side")
    parser.add_argument("--batch", type=int, default=32, help="pairs of a step")
    parser.add_argument("--workers", type=int, default=1, help="processes that read pictures, on both sides")
    parser.add_argument("--published", default="qwen2_5_vl_3b", help="the size for a GPU")
    parser.add_argument("--micro-batch", type=int, default=8, help="pairs taken forward at once on a GPU")
    parser.add_argument("--gpu-workers", type=int, default=8, help="as --workers, on a GPU")
    parser.add_argument("--checkpointing", action="store_true", help="recompute activations, on a GPU")
    asked = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    torch.set_num_threads(1)
    report: dict[str, Any] = {"benchmark": "training", "largest_share": _told(balance())}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        report |= compare(small_work(root, asked.steps, asked.batch, asked.workers), asked.rounds)
        if torch.cuda.is_available():
            work = published_work(
                root,
                asked.published,
                asked.steps,
                asked.batch,
                asked.micro_batch,
                asked.gpu_workers,
                asked.checkpointing,
            )
            report["gpu"] = compare(work, rounds=1)
    print(json.dumps({**report, "machine": machine()}))
    return 0


def _told(shares: dict[str, float]) -> dict[str, float]:
    for name, share in shares.items():
        print(f"pairs {name}: the largest share of {PROCESSES} processes is {share:.3f} of the mean")
    return {name: round(share, 3) for name, share in shares.items()}


def compare(work: Work, rounds: int) -> dict[str, Any]:
    """Both sides in turn, then what each part of ours earns; figures for the last line."""
    print("  ".join(f"{name}={value}" for name, value in work.flags().items()))
    runs = [(ours(work), theirs(work)) for _ in range(rounds)]
    difference = _agree(work, *runs[0])
    (fast, fast_cpu), (slow, slow_cpu) = (_rates(side, work) for side in zip(*runs, strict=True))
    peaks = [max(run.peak_gib for run in side) for side in zip(*runs, strict=True)]
    peak = peak_flops(work.device)
    shares = [median(runs[0][0].flops) / work.recipe.batch * rate / (peak or inf) for rate in (fast, slow)]
    print(f"{'':<10}{'pairs/s':>10}{'of processor':>14}{'peak GiB':>10}{'MFU':>8}")
    for name, *told, share in zip(
        ("ours", "TRL"), (fast, slow), (fast_cpu, slow_cpu), peaks, shares, strict=True
    ):
        mfu = f"{share:.1%}" if peak else "-"
        print(f"{name:<10}{told[0]:>10.2f}{told[1]:>14.2f}{told[2]:>10.1f}{mfu:>8}")
    print(f"ratio {fast / slow:.2f}, of processor time {fast_cpu / slow_cpu:.2f}")
    print(f"losses of the first step differ by {difference:.1e}, relatively")
    parts = gains(work, work.steps)
    for name, times in parts.items():
        print(f"  without {name:<40}{times:>6.3f} times a step")
    return {
        "ratio": round(fast / slow, 3),
        "ours": round(fast, 2),
        "theirs": round(slow, 2),
        "unit": "pairs a second",
        "processor_ratio": round(fast_cpu / slow_cpu, 3),
        "first_loss_difference": difference,
        "peak_gib": {"ours": round(peaks[0], 2), "theirs": round(peaks[1], 2)},
        "mfu": {"ours": round(shares[0], 4), "theirs": round(shares[1], 4)} if peak else None,
        "step_without": {name: round(times, 3) for name, times in parts.items()},
        "flags": work.flags(),
    }


def _rates(runs: Sequence[Run], work: Work) -> tuple[float, float]:
    """Pairs a second, of time that passed and of processor time: the medians of all runs' steps."""
    both = [run.timed(work.recipe.batch) for run in runs]
    return median(wall for wall, _ in both), median(processor for _, processor in both)


def _agree(work: Work, mine: Run, other: Run) -> float:
    """The relative difference of the first losses. Raises SystemExit where it is none of rounding."""
    difference = abs(mine.losses[0] / other.losses[0] - 1)
    if difference > TOLERANCE[work.dtype]:
        raise SystemExit(f"first losses differ: {mine.losses[0]} is ours, {other.losses[0]} TRL's")
    return difference
