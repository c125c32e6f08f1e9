"""Accuracy of the small models: `python -m benchmarks small_models [--questions 250] [--scenes 60]`

The figures of the model cards, on scenes of the preset `val`, which training never uses. The grounder is
measured by kind of question: expression alone, expression and template, and a visual prompt around the
target or elsewhere. The mask head is measured on masks from true boxes, on masks from boxes whose sides are
shifted by up to a tenth, and on masks that are propagated over 30 frames from such a box.

    python -m benchmarks small_models --scenes 0 --grounder OLD NEW --presets val other_look small_val

compares grounders on several presets of the rendered world in one run, with the processor time of a question;
`--decode greedy expectation samples` compares ways of decoding boxes, and `--second-look off small always`
shows what a second look gives. Without second looks frames are resized before they are compressed, as in
training; with them all sides get frames of the size that videos have, out of which windows are cut.

    python -m benchmarks small_models --questions 0 --mask-head OLD NEW --presets val other_look small_val

compares mask heads on several presets of the rendered world, and the processor time that a mask of each
takes. `--crop none small all` measures each one without crops and with both kinds (`mask_head.crop`).

    python -m benchmarks small_models --dtypes float32 bfloat16 float16

measures the same in each dtype, and how far the answers of each are from those of the first one: the share of
answers with the same text, and the largest difference of visible probabilities. `--grounder` and
`--mask-head` name other weights, and `--device cuda` a GPU.
"""

import argparse
import dataclasses
import json
import logging
import time
from collections.abc import Sequence
from itertools import product
from statistics import median
from typing import Any

import torch

from benchmarks.machine import machine
from benchmarks.small_grounders import Side, grounder_figures
from data_prep.world.film import render_clip
from data_prep.world.presets import PRESETS
from models.config import DECODINGS, DTYPES, NANO, SECOND_LOOKS
from models.devices import choose_device, choose_dtype, set_float32_precision
from models.interfaces import Answer, Masking
from models.mask_head.config import CROPS, MASK_HEADS
from models.mask_head.cropping import CroppingMaskHead
from models.mask_head.sam2 import MaskHead
from train.scratch.mask_head_metrics import MaskHeadMetrics, evaluate_mask_head

PRESET = "val"
TIMED_FRAMES = 60
BOXES = {"true": 0.0, "shifted": 0.1}  # the largest shift of each side, as a share of its length


def main(arguments: Sequence[str]) -> int:
    """Measure, and print tables and a final JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks small_models", description=__doc__)
    parser.add_argument("--grounder", nargs="+", default=[NANO.checkpoint], help="folders of weights")
    parser.add_argument(
        "--decode", nargs="+", default=[NANO.decode], choices=DECODINGS, help="of the boxes of the grounders"
    )
    parser.add_argument(
        "--second-look", nargs="+", default=["off"], choices=SECOND_LOOKS, help="of the grounders"
    )
    parser.add_argument(
        "--mask-head", nargs="+", default=[MASK_HEADS["nano"].checkpoint], help="folders of weights"
    )
    parser.add_argument("--boxes", nargs="+", default=list(BOXES), choices=BOXES, help="of the mask heads")
    parser.add_argument(
        "--crop", nargs="+", default=["none"], choices=CROPS, help="of the mask heads: mask_head.crop"
    )
    parser.add_argument("--presets", nargs="+", default=[PRESET], choices=PRESETS, help="of the scenes")
    parser.add_argument("--questions", type=int, default=250, help="of each kind; 0: none")
    parser.add_argument("--scenes", type=int, default=60, help="scenes of the mask head; 0: none")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of the models")
    parser.add_argument("--device", default="cpu", help="device of the models")
    parser.add_argument("--dtypes", nargs="+", default=["float32"], choices=DTYPES, help="of the weights")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    set_float32_precision(tf32=False)
    found, answers = {}, {}
    for dtype in options.dtypes:
        if len(options.dtypes) > 1:
            print(dtype)
        ways = product(options.grounder, options.decode, options.second_look)
        sides = [Side(*each) for each in ways] if options.questions else []
        figures, answers[dtype] = grounder_figures(sides, options.presets, options.questions, device, dtype)
        masks = _mask_head_figures(options, device, dtype)
        found[dtype] = {"grounders": figures, "mask_heads": masks}
    first, *others = options.dtypes
    agreement = {dtype: _agreement(answers[first], answers[dtype]) for dtype in others if answers[first]}
    for dtype, agreed in agreement.items():
        print(f"{dtype} and {first}: {agreed}")
    report = {
        "benchmark": "small_models",
        **found[first],
        "questions": options.questions,
        "scenes": options.scenes,
        "machine": machine() if device.type == "cpu" else torch.cuda.get_device_name(device),
    }
    if others:
        report |= {"dtypes": found, f"agreement_with_{first}": agreement}
    print(json.dumps(report))
    return 0


def _agreement(ours: Sequence[Answer], others: Sequence[Answer]) -> dict[str, float]:
    """How far answers in another dtype are from ours."""
    pairs = list(zip(ours, others, strict=True))
    return {
        "same_text": round(sum(one.text == two.text for one, two in pairs) / len(pairs), 4),
        "largest_visible_difference": round(max(abs(one.visible - two.visible) for one, two in pairs), 4),
    }


def _mask_head_figures(
    options: argparse.Namespace, device: torch.device, dtype: str
) -> dict[str, dict[str, dict[str, float]]]:
    """The figures of each mask head, by the title of the row; times are in milliseconds."""
    if not options.scenes:
        return {}
    heads: dict[str, Masking] = {}
    for name in options.mask_head:
        head = MaskHead.load(name, device, choose_dtype(dtype, device))
        for crop in options.crop:
            if crop == "none":
                heads[name] = head
            else:
                heads[f"{name}, crop={crop}"] = CroppingMaskHead(head, crop)
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in heads}
    for preset in options.presets:
        for boxes in options.boxes:
            rows = {
                name: evaluate_mask_head(head, preset, options.scenes, jitter=BOXES[boxes])
                for name, head in heads.items()
            }
            _print(f"{preset}, {boxes} boxes", rows)
            for name, figures in rows.items():
                found[name][f"{preset}, {boxes} boxes"] = _rounded(figures)
    if device.type == "cpu":
        for name, times in _milliseconds(heads).items():
            print(f"{name}: {times}")
            found[name]["milliseconds"] = times
    return found


def _milliseconds(heads: dict[str, Masking]) -> dict[str, dict[str, float]]:
    """The median processor time of the mask of a small box and of a propagated mask, with the encoding.

    All mask heads are timed at each frame, so that they share what else the machine does.
    """
    preset = PRESETS[PRESET]
    clip = render_clip(preset.first_seed, preset, TIMED_FRAMES)
    box = (200.0, 120.0, 224.0, 144.0)
    times: dict[str, dict[str, list[float]]] = {name: {"box": [], "propagated": []} for name in heads}
    memories: dict[str, Any] = {}
    for image in clip.images:
        for name, head in heads.items():
            begun = time.process_time()
            result = head.segment(head.encode(image), [box], [None])[0]
            times[name]["box"].append(time.process_time() - begun)
            memory: Any = memories.get(name, result.memory)
            begun = time.process_time()
            memories[name] = head.propagate([memory], head.encode(image))[0].memory
            times[name]["propagated"].append(time.process_time() - begun)
    return {
        # The second half, in which the memory is full.
        name: {part: round(1000 * median(each[TIMED_FRAMES // 2 :]), 2) for part, each in parts.items()}
        for name, parts in times.items()
    }


def _print(title: str, found: dict[str, MaskHeadMetrics]) -> None:
    names = [field.name for field in dataclasses.fields(MaskHeadMetrics)]
    print(f"{title:<28}" + "".join(f"{name:>18}" for name in names))
    for row, figures in found.items():
        print(f"{row[-27:]:<28}" + "".join(f"{getattr(figures, name):>18.3f}" for name in names))


def _rounded(figures: MaskHeadMetrics) -> dict[str, float]:
    return {name: round(value, 4) for name, value in vars(figures).items()}
