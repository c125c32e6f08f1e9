"""`tracker.verify=score` against `decode`: `python -m benchmarks verify_score [--videos 20]`

Both track the same rendered videos of the preset `val` with the small models, video by video in turns. With
`score` no box is decoded where the grounder gives the box of the propagated mask a high probability. The last
line has the processor time of both, their decoding steps, and the figures of `python -m evaluation`.

`tracker.min_draft_probability` was chosen on the first videos of `val`, so later ones are measured.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.inference_sides import EngineSide
from benchmarks.machine import machine
from configs.terminal import echo
from data_prep.votsr.workspace import read_workspace
from data_prep.world.presets import PRESETS
from data_prep.world.render import render_workspace
from evaluation.votsr import referral_figures
from infer.config import InferSettings
from infer.trackers.referral import ReferralConfig
from models.config import MASK_HEADS, NANO

PRESET = "val"
FIGURES = ("accuracy", "iou_when_present", "absent_precision", "absent_recall")
WARM_UP = 2  # frames that are not timed


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table and a final JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks verify_score", description=__doc__)
    parser.add_argument("--videos", type=int, default=20, help="rendered videos to track")
    parser.add_argument("--first", type=int, default=45, help="number of the first of them, from 1")
    parser.add_argument("--frames", type=int, default=40, help="of each video")
    parser.add_argument("--expressions", type=int, default=2, help="of each video")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "workspace"
        numbers = options.videos, options.expressions, options.frames
        render_workspace(root, PRESETS[PRESET], *numbers, first=options.first - 1)
        kinds = compare(root, Path(folder))
    decode, score = kinds["decode"], kinds["score"]
    report = {
        "benchmark": "verify_score",
        "kinds": kinds,
        "ours": score["seconds"],
        "theirs": decode["seconds"],
        "ratio": decode["seconds"] / score["seconds"],
        "unit": "seconds of processor time",
        "machine": machine(),
    }
    echo(json.dumps(report))
    return 0


def compare(root: Path, out: Path) -> dict[str, dict[str, Any]]:
    """The work, time and figures of both ways on the videos of a workspace."""
    videos = read_workspace(root).sequences
    sides = {
        verify: EngineSide(_settings(root, out, verify), time.thread_time) for verify in ("decode", "score")
    }
    # 1. Warm up, so that nothing is allocated for the first time while it is timed.
    for side in sides.values():
        side.warm_up(videos[0], WARM_UP)
        side.clock.reset()
    # 2. Track each video with both; another one begins each time.
    for number, video in enumerate(videos):
        for side in list(sides.values())[:: 1 if number % 2 else -1]:
            side.run([video])
    kinds = {}
    for verify, side in sides.items():
        figures = referral_figures(root, verify)
        kinds[verify] = {
            "seconds": side.seconds["processor"],
            "questions": side.statistics.questions,
            "decoding_steps": side.statistics.decoding_steps,
            **{name: figures[name] for name in FIGURES},
        }
        # A figure is None where no target is absent, or none is present.
        known = {name: value for name, value in kinds[verify].items() if value is not None}
        echo(f"{verify:<8}" + "  ".join(f"{name} {value:.4g}" for name, value in known.items()))
    return kinds


def _settings(root: Path, out: Path, verify: str) -> InferSettings:
    return InferSettings(
        workspace=str(root),
        tracker_id=verify,
        tracker=ReferralConfig(verify=verify),
        model=NANO,
        mask_head=MASK_HEADS["nano"],
        device="cpu",
        threads=1,
        out=str(out / verify),
    )
