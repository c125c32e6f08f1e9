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

`--shape published` takes the shapes of Qwen2.5-VL-3B and SAM 2.1 large with random weights, and replaces
their answers and masks by the ground truth (`benchmarks/inference_forced.py`). There are no scores then, and
on a GPU the sides of this project track all sequences in one run.
"""

import argparse
import json
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.inference_setup import Setup, forced_setup, nano_setup
from benchmarks.inference_sides import EngineSide, PublishedSide
from benchmarks.inference_tables import print_drafts, print_floor, print_parts, print_speeds
from benchmarks.machine import machine
from data_prep.sequence import Sequence as Video
from data_prep.votsr.workspace import read_workspace
from data_prep.world.presets import PRESETS
from data_prep.world.render import render_workspace
from evaluation.votsr import referral_figures
from models.config import DTYPES
from models.devices import choose_device

PRESET = "test"
WARM_UP = 2  # frames of each side that are not timed


def main(arguments: Sequence[str]) -> int:
    """Measure, and print tables and a final JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks inference", description=__doc__)
    parser.add_argument("--sequences", type=int, default=10)
    parser.add_argument("--frames", type=int, default=24, help="frames of a sequence")
    parser.add_argument("--expressions", type=int, default=4, help="expressions of a sequence")
    parser.add_argument("--floor-frames", type=int, default=6, help="frames whose FLOPs are counted; 0: none")
    parser.add_argument("--shape", choices=("nano", "published", "tiny"), default="nano")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto")
    parser.add_argument("--dtype", default="auto", help="dtype of all models", choices=DTYPES)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    device = choose_device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        out, root = Path(folder), Path(folder) / "workspace"
        render_workspace(root, PRESETS[PRESET], options.sequences, options.expressions, options.frames)
        videos = read_workspace(root).sequences
        if options.shape == "nano":
            setup = nano_setup(root, out, device, options.dtype)
        else:
            setup = forced_setup(options.shape, root, out, videos, device, options.dtype)
        report = compare(setup, videos, root, options.floor_frames)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else machine()
    print(json.dumps({**report, "shape": options.shape, "machine": name}))
    return 0


def compare(setup: Setup, videos: Sequence[Video], root: Path, floor_frames: int) -> dict[str, Any]:
    """Run all sides, print the tables, and return the figures of the last line."""
    sides, published, engine, referral = setup.sides, *setup.sides
    # 1. Warm up, so that nothing is loaded or allocated for the first time while it is timed.
    for side in sides:
        side.warm_up(videos[0], WARM_UP)
        side.clock.reset()
    # 2. Run. Another side begins each time: what a side leaves in the caches favours the next one.
    # A GPU is only busy with several sequences. Free answers can be compared of single ones only.
    at_once = setup.is_on_gpu and setup.is_forced
    groups = [videos] if at_once else [[video] for video in videos]
    for number, group in enumerate(groups):
        for place in range(len(sides)):
            sides[(number + place) % len(sides)].run(group)
    track_frames = sum(len(video.frames) * len(video.expressions) for video in videos)
    # 3. The table of speeds and scores.
    scores = {}
    if not setup.is_forced:
        scores = {side.name: referral_figures(root, side.name)["accuracy"] for side in sides}
    speeds = print_speeds(sides, track_frames, scores)
    ratios = {
        clock: [each[name] / each[published.name] for name in (referral.name, engine.name)]
        for clock, each in speeds.items()
    }
    clock, other = ("wall", "processor") if setup.is_on_gpu else ("processor", "wall")
    report: dict[str, Any] = {
        "benchmark": "inference",
        "ratio": round(ratios[clock][0], 2),
        "engine_ratio": round(ratios[clock][1], 2),
        "ours": round(speeds[clock][referral.name], 2),
        "theirs": round(speeds[clock][published.name], 2),
        "unit": f"track-frames a second of {clock} time",
        f"{other}_ratio": round(ratios[other][0], 2),
        f"{other}_engine_ratio": round(ratios[other][1], 2),
        "scores": {name: round(score, 4) for name, score in scores.items()},
        "sequences": len(videos),
        "track_frames": track_frames,
        "dtype": str(published.model.dtype),
        "loading_seconds": round(setup.loading_seconds, 2),
    }
    # 4. Whether both sides with the same policy gave the same answers.
    if not setup.is_forced:
        equal, total = equal_answers(published, engine)
        print(f"equal answers, token by token: {equal} of {total}")
        report |= {"equal_answers": equal, "answers": total}
    # 5. Where the time goes, and the least that it could be.
    report["statistics"] = print_drafts(sides[1:], track_frames)
    report["milliseconds"] = print_parts(setup, videos[0], track_frames)
    if floor_frames:
        report["floor"] = print_floor(sides, videos[0], floor_frames, track_frames, clock)
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
