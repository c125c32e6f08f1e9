"""The tables of `python -m benchmarks inference`; each function prints one and returns its figures."""

import dataclasses
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from benchmarks.inference_floor import counted_flops, measure_machine, weight_bytes
from benchmarks.inference_parts import PARTS, synchronized, timed_model
from benchmarks.inference_setup import Setup
from benchmarks.inference_sides import EngineSide, Side
from data_prep.sequence import Sequence as Video

PART_FRAMES = 8  # frames of a separate run that measures the parts on a GPU
CLOCKS = ("processor", "wall")


def print_speeds(
    sides: Sequence[Side], track_frames: int, scores: dict[str, float]
) -> dict[str, dict[str, float]]:
    """Track-frames a second of each side, by clock (`processor`, `wall`) and by the name of the side."""
    speeds = {clock: {side.name: track_frames / side.seconds[clock] for side in sides} for clock in CLOCKS}
    print(f"{'track-frames/s':<16}" + "".join(f"{clock:>12}" for clock in CLOCKS) + f"{'score':>10}")
    for side in sides:
        cells = "".join(f"{speeds[clock][side.name]:>12.2f}" for clock in CLOCKS)
        score = f"{scores[side.name]:>10.4f}" if scores else f"{'-':>10}"
        print(f"{side.name:<16}{cells}{score}")
    return speeds


def print_drafts(sides: Sequence[EngineSide], track_frames: int) -> dict[str, dict[str, float]]:
    """What the grounder of each side has done."""
    found = {}
    for side in sides:
        work = side.statistics
        offered = max(work.draft_tokens, 1)
        found[side.name] = row = {
            "questions_per_track_frame": round(work.questions / track_frames, 3),
            "questions_per_batch": round(work.questions / max(work.batches, 1), 3),
            "decoding_steps_per_batch": round(work.decoding_steps / max(work.batches, 1), 3),
            "draft_accepted": round(work.accepted_draft_tokens / offered, 3),
        }
        print(f"{side.name:<16}" + "  ".join(f"{name}={value}" for name, value in row.items()))
    return found


def print_parts(setup: Setup, video: Video, track_frames: int) -> dict[str, dict[str, float]]:
    """Milliseconds for a track-frame by part.

    On a CPU these are those of the whole run, in processor time of the main thread; `beside` is that of other
    threads, which read frames and write masks. On a GPU they are those of a separate run over some frames, in
    wall-clock time, which waits for the GPU at the end of each part.
    """
    parts = {}
    for side in setup.sides:
        seconds, count = dict(side.clock.seconds), track_frames
        if setup.is_on_gpu:
            count = min(PART_FRAMES, len(video.frames)) * len(video.expressions)
            side.clock.now = synchronized(side.model.device, time.perf_counter)
            side.clock.reset()
            with timed_model(side.model, side.clock):
                side.warm_up(video, PART_FRAMES)
            side.clock.stop()
            seconds = dict(side.clock.seconds)
        else:
            seconds["beside"] = max(side.seconds["processor"] - sum(seconds.values()), 0.0)
        parts[side.name] = {part: round(1000 * each / count, 3) for part, each in seconds.items()}
    names = (*PARTS, "all") if setup.is_on_gpu else (*PARTS, "beside", "all")
    print(f"\n{'ms/track-frame':<16}" + "".join(f"{part:>12}" for part in names))
    for name, row in parts.items():
        print(f"{name:<16}" + "".join(f"{value:>12.2f}" for value in (*row.values(), sum(row.values()))))
    return parts


def print_floor(
    sides: Sequence[Side], video: Video, num_frames: int, track_frames: int, clock: str
) -> dict[str, Any]:
    """How the time of each side compares with the lower bounds of the machine."""
    rates = measure_machine(sides[0].model.device, sides[0].model.dtype)
    print(
        f"\nthis machine: {rates.flops / 1e9:.1f} GFLOP/s (matrix product), "
        f"{rates.bandwidth / 1e9:.1f} GB/s (copy)"
    )
    titles = ("MFLOP", "floor ms", "of time", "weights MB", "floor ms", "of time")
    print(f"{'':<16}" + "".join(f"{title:>12}" for title in titles))
    found: dict[str, Any] = {name: round(rate / 1e9, 1) for name, rate in dataclasses.asdict(rates).items()}
    counted = min(num_frames, len(video.frames)) * len(video.expressions)
    for side in sides:
        milliseconds = 1000 * side.seconds[clock] / track_frames
        # Before the FLOPs are counted, because that runs the models again.
        read = weight_bytes(side.model, side.passes) / track_frames
        flops = counted_flops(partial(side.warm_up, video, num_frames)) / counted
        floors = [1000 * flops / rates.flops, 1000 * read / rates.bandwidth]
        found[side.name] = {
            "mflop": round(flops / 1e6, 1),
            "flop_share": round(floors[0] / milliseconds, 4),
            "weight_mb": round(read / 1e6, 1),
            "bandwidth_share": round(floors[1] / milliseconds, 4),
        }
        print(
            f"{side.name:<16}{flops / 1e6:>12.1f}{floors[0]:>12.2f}{floors[0] / milliseconds:>12.1%}"
            f"{read / 1e6:>12.1f}{floors[1]:>12.2f}{floors[1] / milliseconds:>12.1%}"
        )
    return found
