"""Memory policies of a mask head: `python -m benchmarks memory_policies [--presets val other_look]`

Each policy (`mask_head.memory`) carries the target of the same scenes over the same frames from a box on the
first one, whose sides are shifted by up to a tenth. A frame is encoded once for all of them, and masks are
made without crops. The scenes begin at number 400, so that they are others than those of `small_models`.

Printed are the mean IoU on frames that show the target, the share of frames whose presence or absence is
right, the share of frames without the target that get no mask, and the processor time of a propagated mask
without the encoding of its frame. The interval of the difference from the first policy is that of 95 % over
scenes (bootstrap). `--settings` are those of `mask_head.memory_settings` for the policies that have them.

    python -m benchmarks memory_policies --policies plain gated --settings min_iou=0.7
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch

from benchmarks.machine import machine
from data_prep.world.presets import PRESETS
from models.mask_head.config import MASK_HEADS
from models.mask_head.memory_bank import MemoryBank
from models.mask_head.memory_policies.registry import MEMORY_POLICIES, PLAIN
from models.mask_head.registry import load_mask_head
from models.mask_head.sam2 import MaskHead
from train.scratch.mask_head_metrics import FrameFigures, boxed_clip, frame_figures

JITTER = 0.1
DRAWS = 2000  # of the bootstrap


@dataclass
class Row:
    """What one policy reached on one preset: the figures of the frames of each scene."""

    scenes: list[list[FrameFigures]] = field(default_factory=list)
    anchors: int = 0
    seconds: float = 0.0

    def figures(self) -> dict[str, float]:
        """The means over all frames."""
        every = [frame for scene in self.scenes for frame in scene]
        absent = [frame for frame in every if not frame.shown]
        return {
            "iou": _mean([frame.iou for frame in every if frame.shown]),
            "presence": _mean([frame.found == frame.shown for frame in every]),
            "absent_silent": _mean([not frame.found for frame in absent]),
            "milliseconds": round(1000 * self.seconds / max(1, len(every)), 2),
            "anchors": self.anchors,
        }


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table for each preset and a final JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks memory_policies", description=__doc__)
    # The others are compared with the first one.
    policies = sorted(MEMORY_POLICIES, key=lambda policy: policy != PLAIN)
    parser.add_argument("--policies", nargs="+", default=policies, choices=MEMORY_POLICIES)
    parser.add_argument("--settings", nargs="*", default=[], help="NAME=NUMBER")
    parser.add_argument("--mask-head", default="nano", choices=MASK_HEADS)
    parser.add_argument("--presets", nargs="+", default=["val", "other_look"], choices=PRESETS)
    parser.add_argument("--first-scene", type=int, default=400)
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--frames", type=int, default=61, help="of each scene, the one with the box included")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    settings = {name: float(value) for name, _, value in (each.partition("=") for each in options.settings)}
    heads = {policy: _head(options.mask_head, policy, settings) for policy in options.policies}
    scenes = range(options.first_scene, options.first_scene + options.scenes)
    found = {preset: _measure(heads, preset, scenes, options.frames) for preset in options.presets}
    report = {"benchmark": "memory_policies", **found, "settings": settings, "machine": machine()}
    print(json.dumps({**report, "scenes": options.scenes, "frames": options.frames}))
    return 0


def _head(name: str, policy: str, settings: Mapping[str, float]) -> MaskHead:
    known = {each.name for each in fields(MEMORY_POLICIES[policy])}
    own = {setting: value for setting, value in settings.items() if setting in known}
    config = replace(MASK_HEADS[name], memory=policy, memory_settings=own, crop="none")
    head = load_mask_head(config, torch.device("cpu"))
    assert isinstance(head, MaskHead)
    return head


def _measure(
    heads: Mapping[str, MaskHead], preset: str, scenes: Sequence[int], frames: int
) -> dict[str, dict[str, float]]:
    """The figures of each policy on scenes of a preset."""
    rows = {policy: Row() for policy in heads}
    for scene in scenes:
        _carry(heads, rows, preset, scene, frames)
    first = rows[next(iter(rows))]
    found: dict[str, dict[str, float]] = {}
    print(f"{preset}, {len(scenes)} scenes of at most {frames} frames", flush=True)
    for policy, row in rows.items():
        low, high = _interval(first, row)
        found[policy] = {**row.figures(), "iou_gain_low": low, "iou_gain_high": high}
        print(f"{policy:<18}" + "  ".join(f"{name} {value:g}" for name, value in found[policy].items()))
    return found


def _carry(
    heads: Mapping[str, MaskHead], rows: Mapping[str, Row], preset: str, scene: int, frames: int
) -> None:
    """Carry the target of a scene with each policy."""
    clip = boxed_clip(preset, scene, frames, JITTER)
    if clip is None:
        return
    for row in rows.values():
        row.scenes.append([])
    memories: dict[str, MemoryBank] = {}
    for number, image in enumerate(clip.images):
        # All heads have the same weights, so any of them encodes.
        features = next(iter(heads.values())).encode(image)
        for policy, head in heads.items():
            if number == 0:
                (result,) = head.segment(features, [clip.box_xyxy], [None])
            else:
                begun = time.process_time()
                (result,) = head.propagate([memories[policy]], features)
                rows[policy].seconds += time.process_time() - begun
                before, after = memories[policy].conditioning_frames, result.memory.conditioning_frames
                rows[policy].anchors += after is not before
                if clip.is_clear(number):
                    rows[policy].scenes[-1].append(frame_figures(result, clip.truths[number]))
            memories[policy] = result.memory


def _interval(first: Row, other: Row) -> tuple[float, float]:
    """The interval of 95 % of the difference of mean IoUs, by drawing scenes."""
    ious = [
        [(_sum(scene), sum(frame.shown for frame in scene)) for scene in row.scenes] for row in (first, other)
    ]
    sums = np.array(ious)  # (2, scenes, 2)
    drawn = np.random.default_rng(0).integers(0, sums.shape[1], (DRAWS, sums.shape[1]))
    totals = sums[:, drawn].sum(2)  # (2, draws, 2)
    means = totals[..., 0] / np.maximum(1, totals[..., 1])
    low, high = np.percentile(means[1] - means[0], [2.5, 97.5])
    return round(float(low), 4), round(float(high), 4)


def _sum(scene: Sequence[FrameFigures]) -> float:
    return sum(frame.iou for frame in scene if frame.shown)


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4) if values else 1.0
