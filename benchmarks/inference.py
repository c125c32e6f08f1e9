"""Speed of tracking, compared with the published loop: `python -m benchmarks inference [--sequences 10]`

Three sides track the same rendered videos with the same weights, and make a mask in every frame:

- `published`: VPTracker's loop with plain transformers (`benchmarks/inference_published.py`): one request a
  frame, one track at a time, `generate`, and the mask head on each box;
- `engine`: the same policy (`tracker=vptracker`) through this project's engine;
- `referral`: this project's tracker (`tracker=referral`).

The sides take turns, sequence by sequence, so that other processes on the machine disturb all of them alike.
The answers of the first two must be equal, token by token. The scores are those of `python -m evaluation`.

`ratio` is the speed of `referral` over that of `published`, and `engine_ratio` that of `engine` over
`published`. On a CPU they are ratios of processor time (user and system time of all threads of the process,
with one thread for torch), which other processes disturb less than wall-clock time. On a GPU they are ratios
of wall-clock time.
"""

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.inference_floor import Machine, counted_flops, measure_machine, weight_bytes
from benchmarks.inference_parts import PARTS
from benchmarks.inference_published import PublishedLoop
from benchmarks.inference_sides import EngineSide, PublishedSide, Side
from benchmarks.machine import machine
from data_prep.sequence import Sequence as Video
from data_prep.votsr.workspace import read_workspace
from data_prep.world.presets import PRESETS
from data_prep.world.render import render_workspace
from evaluation.votsr import referral_figures
from infer.config import InferSettings
from infer.trackers.per_frame import PerFrameConfig
from infer.trackers.referral import ReferralConfig
from models.config import MASK_HEADS, NANO, GrounderConfig

PRESET = "test"
CERTAIN = 0.5  # visible probability from which the decision of greedy decoding is "visible"
WARM_UP = 2  # frames of each side that are not timed


def main(arguments: Sequence[str]) -> int:
    """Measure, and print tables and a final JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks inference", description=__doc__)
    parser.add_argument("--sequences", type=int, default=10)
    parser.add_argument("--frames", type=int, default=24, help="frames of a sequence")
    parser.add_argument("--expressions", type=int, default=4, help="expressions of a sequence")
    parser.add_argument("--floor-frames", type=int, default=6, help="frames whose FLOPs are counted; 0: none")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "workspace"
        render_workspace(root, PRESETS[PRESET], options.sequences, options.expressions, options.frames)
        videos = read_workspace(root).sequences
        sides = cpu_sides(root, Path(folder))
        report = compare(sides, videos, root, options.floor_frames)
    print(json.dumps({**report, "machine": machine()}))
    return 0


def cpu_sides(root: Path, out: Path) -> tuple[PublishedSide, EngineSide, EngineSide]:
    """The three sides with the small models on a CPU in float32."""
    now: Callable[[], float] = time.thread_time
    # `generate` decodes no box where the decision is "not visible"; neither does this threshold.
    same = GrounderConfig(NANO.checkpoint, box_threshold=CERTAIN)

    def settings(name: str, tracker: Any, model: GrounderConfig) -> InferSettings:
        return InferSettings(
            workspace=str(root),
            tracker_id=name,
            tracker=tracker,
            model=model,
            device="cpu",
            out=str(out / name),
        )

    engine = EngineSide(settings("engine", PerFrameConfig(CERTAIN, repeat_last=True), same), now)
    referral = EngineSide(settings("referral", ReferralConfig(), NANO), now)
    loop = PublishedLoop(
        NANO.checkpoint, MASK_HEADS["nano"].checkpoint, engine.contract, torch.device("cpu"), torch.float32
    )
    return PublishedSide("published", loop, root, now), engine, referral


def compare(
    sides: tuple[PublishedSide, EngineSide, EngineSide],
    videos: Sequence[Video],
    root: Path,
    floor_frames: int,
) -> dict[str, Any]:
    """Run all sides, print the tables, and return the figures of the last line."""
    published, engine, referral = sides
    for side in sides:
        side.warm_up(videos[0], WARM_UP)
        side.clock.reset()
    for number, video in enumerate(videos):
        # Another side begins each time: what a side leaves in the caches favours the next one.
        for place in range(len(sides)):
            sides[(number + place) % len(sides)].run([video])
    track_frames = sum(len(video.frames) * len(video.expressions) for video in videos)
    clock = "processor"
    speeds = {side.name: track_frames / side.seconds[clock] for side in sides}
    walls = {side.name: track_frames / side.seconds["wall"] for side in sides}
    scores = {side.name: referral_figures(root, side.name)["accuracy"] for side in sides}
    parts = _print_parts(sides, track_frames, speeds, walls, scores)
    equal, total = equal_answers(published, engine)
    print(f"equal answers, token by token: {equal} of {total}")
    report: dict[str, Any] = {
        "benchmark": "inference",
        "ratio": round(speeds[referral.name] / speeds[published.name], 2),
        "engine_ratio": round(speeds[engine.name] / speeds[published.name], 2),
        "ours": round(speeds[referral.name], 2),
        "theirs": round(speeds[published.name], 2),
        "unit": "track-frames a second of processor time, one thread",
        "wall_ratio": round(walls[referral.name] / walls[published.name], 2),
        "wall_engine_ratio": round(walls[engine.name] / walls[published.name], 2),
        "equal_answers": equal,
        "answers": total,
        "scores": {name: round(score, 4) for name, score in scores.items()},
        "milliseconds": parts,
        "sequences": len(videos),
        "track_frames": track_frames,
    }
    if floor_frames:
        report["floor"] = _print_floor(sides, videos[0], floor_frames, track_frames)
    return report


def equal_answers(published: PublishedSide, engine: EngineSide) -> tuple[int, int]:
    """The number of frames in which both sides generated the same tokens, and the number of all."""
    tokenizer = published.loop.processor.tokenizer
    equal = total = 0
    ours = engine.texts()
    for track, tokens in published.tokens.items():
        texts = ours[track]
        assert len(texts) == len(tokens), "both sides ask once about every frame"
        total += len(tokens)
        for theirs, text in zip(tokens, texts, strict=True):
            equal += tuple(tokenizer(text, add_special_tokens=False).input_ids) == theirs
    return equal, total


def _print_parts(
    sides: Sequence[Side],
    track_frames: int,
    speeds: dict[str, float],
    walls: dict[str, float],
    scores: dict[str, float],
) -> dict[str, dict[str, float]]:
    """Print speeds and scores, and the milliseconds for a track-frame by part, which are returned."""
    print(f"{'track-frames/s':<16}{'processor':>12}{'wall clock':>12}{'score':>10}")
    for side in sides:
        print(f"{side.name:<16}{speeds[side.name]:>12.2f}{walls[side.name]:>12.2f}{scores[side.name]:>10.4f}")
    parts = {}
    for side in sides:
        seconds = dict(side.clock.seconds)
        # What other threads do beside the models: reading frames, and writing masks.
        seconds["beside"] = max(side.seconds["processor"] - sum(seconds.values()), 0.0)
        parts[side.name] = {part: round(1000 * each / track_frames, 3) for part, each in seconds.items()}
    print(f"\n{'ms/track-frame':<16}" + "".join(f"{part:>12}" for part in (*PARTS, "beside", "all")))
    for name, row in parts.items():
        print(f"{name:<16}" + "".join(f"{value:>12.2f}" for value in (*row.values(), sum(row.values()))))
    return parts


def _print_floor(
    sides: Sequence[Side], video: Video, num_frames: int, track_frames: int
) -> dict[str, dict[str, float]]:
    """Print how the time of each side compares with the lower bounds of the machine; returns the figures."""
    device, dtype = sides[0].model.device, sides[0].model.dtype
    rates: Machine = measure_machine(device, dtype)
    print(
        f"\nthis machine: {rates.flops / 1e9:.1f} GFLOP/s (matrix product), "
        f"{rates.bandwidth / 1e9:.1f} GB/s (copy)"
    )
    print(f"{'':<16}{'MFLOP':>12}{'floor ms':>12}{'of FLOP/s':>12}{'weights MB':>12}{'floor ms':>12}")
    found = {}
    counted = min(num_frames, len(video.frames)) * len(video.expressions)
    for side in sides:
        milliseconds = 1000 * side.seconds["processor"] / track_frames
        read = weight_bytes(side.model, side.clock) / track_frames
        flops = counted_flops(partial(side.warm_up, video, num_frames)) / counted
        floor = 1000 * flops / rates.flops
        found[side.name] = {
            "mflop": round(flops / 1e6, 1),
            "flop_share": round(floor / milliseconds, 4),
            "weight_mb": round(read / 1e6, 1),
            "bandwidth_share": round(1000 * read / rates.bandwidth / milliseconds, 4),
        }
        print(
            f"{side.name:<16}{flops / 1e6:>12.1f}{floor:>12.2f}{floor / milliseconds:>12.1%}"
            f"{read / 1e6:>12.1f}{1000 * read / rates.bandwidth:>12.2f}"
        )
    return found
