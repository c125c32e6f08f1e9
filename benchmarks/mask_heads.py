"""Speed of the mask heads at published configurations, with random weights: no download is needed.

    python -m benchmarks mask_heads [--heads sam2_1_tiny edgetam sam3_tracker] [--device cuda] [--targets 1]

For each mask head three times are measured, in milliseconds: `encode` a frame, `segment` a box, and
`propagate` one target to the next frame, with as many frames in the memory as the model attends to. Times do
not depend on the values of weights.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.machine import machine
from models.devices import choose_device, choose_dtype
from models.mask_head.edgetam import EdgeTam, published_edgetam_config
from models.mask_head.sam2 import MaskHead
from models.mask_head.sam2_model import PUBLISHED, published_config
from models.mask_head.sam3_tracker import Sam3Tracker, published_sam3_tracker_config

HEADS: dict[str, tuple[type[MaskHead], Callable[[], Any]]] = {
    **{size: (MaskHead, partial(published_config, size)) for size in PUBLISHED},
    "edgetam": (EdgeTam, published_edgetam_config),
    "sam3_tracker": (Sam3Tracker, published_sam3_tracker_config),
}
FRAME = (720, 1280, 3)  # height, width, channels
BOX = (400.0, 200.0, 700.0, 500.0)
STEPS = ("encode", "segment", "propagate")


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table and a final JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks mask_heads", description=__doc__)
    parser.add_argument(
        "--heads", nargs="+", choices=HEADS, default=["sam2_1_tiny", "edgetam", "sam3_tracker"]
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--targets", type=int, default=1)
    parser.add_argument("--frames", type=int, default=24, help="frames that are measured")
    options = parser.parse_args(arguments)
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    found = {}
    print(
        f"{'':<18}{'M parameters':>14}"
        + "".join(f"{step + ' ms':>14}" for step in STEPS)
        + f"{'frames/s':>12}"
    )
    for name in options.heads:
        head = untrained(name, device, dtype)
        times = measure(head, options.frames, options.targets)
        millions = sum(weight.numel() for weight in head.model.parameters()) / 1e6
        # A frame of a track: it is encoded once, and every target is propagated.
        frames_per_second = 1000 / (times["encode"] + options.targets * times["propagate"])
        found[name] = {**times, "parameters_millions": round(millions, 1), "fps": round(frames_per_second, 2)}
        print(
            f"{name:<18}{millions:>14.1f}"
            + "".join(f"{times[step]:>14.2f}" for step in STEPS)
            + f"{frames_per_second:>12.2f}"
        )
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else machine()
    report = {"benchmark": "mask_heads", "dtype": str(dtype), "targets": options.targets, "heads": found}
    print(json.dumps({**report, "frame": FRAME[:2], "machine": name}))
    return 0


def untrained(name: str, device: torch.device, dtype: torch.dtype) -> MaskHead:
    """A mask head of a published configuration with random weights, which believes every target present."""
    kind, config = HEADS[name]
    torch.manual_seed(0)
    model = kind.architecture.model_class(config()).eval()
    with torch.no_grad():
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(3.0)
    side, mask_side = model.config.image_size, model.prompt_encoder.mask_input_size[0]
    processor = kind.architecture.processor_class(
        size={"height": side, "width": side}, mask_size={"height": mask_side, "width": mask_side}
    )
    return kind(model.to(device, dtype), processor)


def measure(head: MaskHead, frames: int, targets: int) -> dict[str, float]:
    """The median time of each step in milliseconds: `encode` of a frame, the others of one target."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, FRAME, dtype=np.uint8)
    times: dict[str, list[float]] = {step: [] for step in STEPS}

    def timed(step: str, *values: Any) -> Any:
        _synchronise(head)
        begun = time.perf_counter()
        result = getattr(head, step)(*values)
        _synchronise(head)
        times[step].append(1000 * (time.perf_counter() - begun))
        return result

    features = timed("encode", picture)
    memories = [timed("segment", features, [BOX], [None])[0].memory for _ in range(targets)]
    # The first frames fill the memory and warm up; they are not measured.
    warm_up = memories[0].limits.pointers + 1
    for index in range(warm_up + frames):
        if index == warm_up:
            for each in times.values():
                each.clear()
        features = timed("encode", picture)
        for number, memory in enumerate(memories):
            (result,) = timed("propagate", [memory], features)
            memories[number] = result.memory
        timed("segment", features, [BOX], [None])
    return {step: round(median(each), 3) for step, each in times.items()}


def _synchronise(head: MaskHead) -> None:
    """Wait for the GPU, whose calls return before they are done."""
    if head.model.device.type == "cuda":
        torch.cuda.synchronize(head.model.device)
