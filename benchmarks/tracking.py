"""Settings of `tracker=referral` compared on rendered videos: `python -m benchmarks tracking KEYS KEYS …`

    python -m benchmarks tracking tracker.search_region=0 tracker.search_region=4,model.second_look=off

Each argument is one side: keys of `tracker`, `model` and `mask_head` with their values, separated by commas;
`default` changes nothing. All sides track the same rendered videos of the preset `val` with the small models,
video by video in turns. The last line has the questions, the processor time and the figures of
`python -m evaluation` of each.

Videos 66 to 95 of `val` are those on which settings are chosen, and 96 to 125 confirm them.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.inference_sides import EngineSide
from benchmarks.machine import machine
from configs.terminal import echo
from data_prep.votsr.workspace import read_workspace
from data_prep.world.presets import PRESETS
from data_prep.world.render import render_workspace
from evaluation.votsr import referral_figures
from infer.config import InferSettings
from infer.trackers.referral import ReferralConfig
from models.config import NANO
from models.mask_head.config import MASK_HEADS

PRESET = "val"
FIGURES = ("accuracy", "iou_when_present", "absent_precision", "absent_recall")
WARM_UP = 2  # frames that are not timed


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table and a final JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks tracking", description=__doc__)
    parser.add_argument("sides", nargs="+", help="keys with values, separated by commas, or default")
    parser.add_argument("--videos", type=int, default=30, help="rendered videos to track")
    parser.add_argument("--first", type=int, default=66, help="number of the first of them, from 1")
    parser.add_argument("--frames", type=int, default=60, help="of each video")
    parser.add_argument("--expressions", type=int, default=1, help="of each video")
    parser.add_argument("--workspace", help="rendered videos that are there already")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(options.workspace or Path(folder) / "workspace")
        if options.workspace is None:
            numbers = options.videos, options.expressions, options.frames
            render_workspace(root, PRESETS[PRESET], *numbers, first=options.first - 1)
        sides = compare(root, Path(folder), options.sides)
    report = {"benchmark": "tracking", "sides": sides, "machine": machine()}
    echo(json.dumps(report))
    return 0


def compare(root: Path, out: Path, sides: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The work, time and figures of each side on the videos of a workspace."""
    videos = read_workspace(root).sequences
    engines = {
        side: EngineSide(settings_of(side, root, out / str(index), f"side{index}"), time.thread_time)
        for index, side in enumerate(sides)
    }
    # 1. Warm up, so that nothing is allocated for the first time while it is timed.
    for engine in engines.values():
        engine.warm_up(videos[0], WARM_UP)
        engine.clock.reset()
    # 2. Track each video with all sides; another one begins each time.
    for number, video in enumerate(videos):
        for engine in list(engines.values())[:: 1 if number % 2 else -1]:
            engine.run([video])
    return {side: _figures(root, side, engine) for side, engine in engines.items()}


def _figures(root: Path, side: str, engine: EngineSide) -> dict[str, Any]:
    """Print and return the figures of a side."""
    figures = referral_figures(root, engine.name)
    found = {
        "seconds": engine.seconds["processor"],
        "questions": engine.statistics.questions,
        "second_looks": engine.statistics.second_looks,
        "decoding_steps": engine.statistics.decoding_steps,
        **{name: figures[name] for name in FIGURES},
    }
    # A figure is None where no target is absent, or none is present.
    known = {name: value for name, value in found.items() if value is not None}
    echo(f"{side:<40}" + "  ".join(f"{name} {value:.4g}" for name, value in known.items()))
    return found


def settings_of(side: str, root: Path, out: Path, tracker_id: str) -> InferSettings:
    """The settings of a run with the keys of a side. Raises SystemExit for a key that does not exist."""
    parts: dict[str, Any] = {"tracker": ReferralConfig(), "model": NANO, "mask_head": MASK_HEADS["nano"]}
    for change in [] if side == "default" else side.split(","):
        name, _, value = change.partition("=")
        part, _, key = name.partition(".")
        known = {field.name for field in dataclasses.fields(parts[part])} if part in parts else set()
        if key not in known:
            raise SystemExit(f"{name}: no key of {', '.join(parts)}")
        parts[part] = dataclasses.replace(parts[part], **{key: yaml.safe_load(value)})
    return InferSettings(
        workspace=str(root), tracker_id=tracker_id, device="cpu", threads=1, out=str(out), **parts
    )
