"""Speed of fine-tuning compared with TRL's SFTTrainer: `python -m benchmarks training [--steps 8]`

Both sides fine-tune the shipped small grounder on a CPU with one thread: LoRA of the same rank on the same
layers, AdamW, the same precision, batch size and number of workers (all are printed), on the same pairs in
the same order. TRL reads the images and texts of a pair with our code, in a worker. It pads rows, because it
refuses packed and padding-free rows for data with images. The losses of the first step must agree.

The sides take turns. The results are pairs per second of the median step, in wall-clock time (`ratio`) and
in processor time, which other processes on the machine disturb less. Then the gain of each of our
optimizations is measured. The balance of pairs over several processes is printed first.

On an NVIDIA GPU, a published size with random weights in bfloat16 is measured too: pairs per second, peak
memory, and model FLOPs utilization (MFU).
"""

import argparse
import json
import logging
import random
import tempfile
from collections.abc import Sequence
from math import inf
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch

from benchmarks.machine import machine
from benchmarks.training_parts import gains
from benchmarks.training_sides import ours, theirs
from benchmarks.training_work import Run, Work, published_work, small_work
from data_prep.contract.contract import BUILT_IN
from data_prep.contract.images import search_size
from train.sft.batch_sampler import balanced_groups
from train.sft.flops import peak_flops

# Common video sizes, for the balance of pairs over processes.
SIZES = (
    (320, 240), (480, 270), (480, 360), (640, 360), (640, 480), (854, 480), (1280, 720), (1920, 1080),
)  # fmt: skip
PROCESSES, PAIRS, STEPS = 8, 16, 200
# bfloat16 has 8 significant bits, so sums in another order differ more.
TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2}  # relative difference of the losses of the first step


def main(arguments: Sequence[str]) -> int:
    """Measure, and print tables and a final JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks training", description=__doc__)
    parser.add_argument("--steps", type=int, default=8, help="steps of a run; the first two are not timed")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side")
    parser.add_argument("--batch", type=int, default=32, help="pairs in a step")
    parser.add_argument("--workers", type=int, default=1, help="workers that read images, on both sides")
    parser.add_argument("--published", default="qwen2_5_vl_3b", help="the published size to measure on a GPU")
    parser.add_argument("--micro-batch", type=int, default=8, help="pairs in a micro-batch on a GPU")
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
    """Measure both sides in turn, then the gain of each optimization; the figures of the last line."""
    print("  ".join(f"{name}={value}" for name, value in work.flags().items()))
    # In turn, so that other processes on the machine disturb both sides alike.
    runs = [(ours(work), theirs(work)) for _ in range(rounds)]
    difference = _agree(work, *runs[0])
    (fast, fast_cpu), (slow, slow_cpu) = (_rates(side, work) for side in zip(*runs, strict=True))
    peaks = [max(run.peak_gib for run in side) for side in zip(*runs, strict=True)]
    peak = peak_flops(work.device)
    # MFU: FLOPs of a pair, times pairs a second, by the peak of the device (0 where it is unknown).
    shares = [median(runs[0][0].flops) / work.recipe.batch * rate / (peak or inf) for rate in (fast, slow)]
    print(f"{'':<10}{'pairs/s':>10}{'of processor':>14}{'peak GiB':>10}{'MFU':>8}")
    for name, *message, share in zip(
        ("ours", "TRL"), (fast, slow), (fast_cpu, slow_cpu), peaks, shares, strict=True
    ):
        mfu = f"{share:.1%}" if peak else "-"
        print(f"{name:<10}{message[0]:>10.2f}{message[1]:>14.2f}{message[2]:>10.1f}{mfu:>8}")
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
    """Pairs per second of wall-clock time and of processor time: the medians over runs."""
    both = [run.timed(work.recipe.batch) for run in runs]
    return median(wall for wall, _ in both), median(processor for _, processor in both)


def _agree(work: Work, mine: Run, other: Run) -> float:
    """The relative difference of the first losses. Raises SystemExit if it is more than rounding."""
    # B of a new adapter is zero, so the first loss does not depend on the random numbers of A.
    difference = abs(mine.losses[0] / other.losses[0] - 1)
    if difference > TOLERANCE[work.dtype]:
        raise SystemExit(f"first losses differ: {mine.losses[0]} is ours, {other.losses[0]} TRL's")
    return difference


def balance() -> dict[str, float]:
    """The largest number of tokens of a process divided by the mean one, averaged over steps."""
    # All processes of a step wait for the one with most image tokens. Nothing is trained here: the numbers of
    # tokens follow from the sizes of frames and the contract.
    contract = BUILT_IN["instruct"]
    # An image token stands for a square of pixels of this side.
    token = contract.side_multiple**2
    kinds = [width * height // token for width, height in (search_size(contract, size) for size in SIZES)]
    rng = random.Random(0)
    found: dict[str, list[float]] = {"in turn": [], "shared out": []}
    for _ in range(STEPS):
        tokens = rng.choices(kinds, k=PROCESSES * PAIRS)
        # As DistributedSampler does it: pair k goes to process k modulo the number of processes.
        by_turn = [list(range(rank, len(tokens), PROCESSES)) for rank in range(PROCESSES)]
        for name, groups in (("in turn", by_turn), ("shared out", balanced_groups(tokens, PROCESSES, PAIRS))):
            sums = [sum(tokens[place] for place in group) for group in groups]
            found[name].append(max(sums) / fmean(sums))
    return {name: fmean(each) for name, each in found.items()}
