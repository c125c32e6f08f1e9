"""Speed of the mask heads, by the number of targets in a frame, with random weights: no download is needed.

    python -m benchmarks mask_heads --shape nano --targets 1,4
    python -m benchmarks mask_heads --shape large --targets 1,4 --device cuda

A shape is an option of `mask_head=`; `tiny`, `small`, `base_plus` and `large` are the published SAM 2.1. For
each shape these times are measured, in milliseconds: `encode` a frame, `segment` a box, and `propagate` each
number of targets to the next frame, in one call, with as many frames in the memories as the model attends to.
Times hardly depend on the values of weights. On a CPU they are processor time (user and system time of all
threads) with one thread for torch, as in `benchmarks inference`; on a GPU wall-clock time.

A frame costs `encode` and `propagate`. `cost_ratio` is the cost of a frame with the largest number of targets
over that with the smallest number. `ours` and `theirs` are the cost of a frame with the largest number,
propagated in one call and one by one; `ratio` is theirs over ours. With several shapes these are of the last
one.
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
from data_prep.geometry import Size
from models.devices import choose_device, choose_dtype
from models.interfaces import MaskResult
from models.kernels.sam2 import apply_fast_kernels
from models.mask_head.edgetam import EdgeTam, published_edgetam_config
from models.mask_head.memory_bank import MemoryBank
from models.mask_head.sam2 import MaskHead
from models.mask_head.sam2_model import PUBLISHED, nano_config, published_config
from models.mask_head.sam3_tracker import Sam3Tracker, published_sam3_tracker_config

PREFIX = "sam2_1_"
# The class of a mask head, and the function that makes its configuration.
SHAPES: dict[str, tuple[type[MaskHead], Callable[..., Any]]] = {
    "nano": (MaskHead, nano_config),
    **{size: (MaskHead, partial(published_config, size)) for size in PUBLISHED},
    "edgetam": (EdgeTam, published_edgetam_config),
    "sam3_tracker": (Sam3Tracker, published_sam3_tracker_config),
}
FRAME = 1280, 720  # width, height
BOX = (400.0, 200.0, 700.0, 500.0)


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table and a final JSON object."""
    options = parse(arguments)
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    found = {}
    for name in options.shape:
        head = untrained(name, device, dtype, options.image_size)
        times = measure(head, options.frames, options.targets, options.frame_size)
        millions = sum(weight.numel() for weight in head.model.parameters()) / 1e6
        found[name] = {**times, **costs(times, options.targets), "parameters_millions": round(millions, 1)}
        print(f"{name}, {millions:.1f} M parameters, image of {head.image_side} pixels")
        for part, milliseconds in times.items():
            print(f"    {part:<22}{milliseconds:>10.2f} ms")
        print(
            f"    a frame with {max(options.targets)} targets costs {found[name]['cost_ratio']} times one ",
            end="",
        )
        print(f"with {min(options.targets)}, and one by one {found[name]['ratio']} times as much")
    report = {"benchmark": "mask_heads", **costs(times, options.targets), "unit": "ms a frame"}
    report |= {
        "dtype": str(dtype),
        "targets": options.targets,
        "shapes": found,
        "frame_size": options.frame_size,
    }
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else machine()
    print(json.dumps({**report, "machine": name}))
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks mask_heads",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--shape",
        nargs="+",
        type=lambda name: name if name in SHAPES else PREFIX + name,
        choices=SHAPES,
        default=["sam2_1_tiny", "edgetam", "sam3_tracker"],
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument(
        "--targets",
        type=lambda text: [int(count) for count in text.split(",")],
        default=[1, 4],
        help="numbers of targets in a frame, separated by commas",
    )
    parser.add_argument("--frames", type=int, default=24, help="frames that are measured")
    parser.add_argument(
        "--image-size", type=int, help="side in pixels of the square image; without it, as published"
    )
    parser.add_argument(
        "--frame-size",
        type=lambda text: tuple(int(side) for side in text.split("x")),
        default=FRAME,
        help="width and height of a frame, such as 1920x1080",
    )
    options = parser.parse_args(arguments)
    if options.image_size is not None and "sam3_tracker" in options.shape:
        parser.error("--image-size: the shape sam3_tracker has only its published size")
    return options


def untrained(name: str, device: torch.device, dtype: torch.dtype, image_size: int | None = None) -> MaskHead:
    """A mask head of a shape with random weights, which believes every target present."""
    kind, make_config = SHAPES[name]
    torch.manual_seed(0)
    config = make_config() if image_size is None else make_config(image_size=image_size)
    model = kind.architecture.model_class(config).eval()
    with torch.no_grad():
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(3.0)
    side, mask_side = model.config.image_size, model.prompt_encoder.mask_input_size[0]
    processor = kind.architecture.processor_class(
        size={"height": side, "width": side}, mask_size={"height": mask_side, "width": mask_side}
    )
    model = model.to(device, dtype)
    apply_fast_kernels(model)  # as `load` does it
    return kind(model, processor)


def measure(
    head: MaskHead, frames: int, targets: Sequence[int], frame_size: Size = FRAME
) -> dict[str, float]:
    """The median time of each part in milliseconds, for frames of a size (width, height).

    The parts are `encode`, `segment` of one box, `propagate N` for each number N of targets in one call, and
    `one by one N` for the largest one in N calls.
    """
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (*frame_size[::-1], 3), dtype=np.uint8)
    clock = time.process_time if head.model.device.type == "cpu" else time.perf_counter
    times: dict[str, list[float]] = {}

    def timed(part: str, call: Callable[[], Any]) -> Any:
        _synchronise(head)
        begun = clock()
        result = call()
        _synchronise(head)
        times.setdefault(part, []).append(1000 * (clock() - begun))
        return result

    def one_by_one(memories: Sequence[MemoryBank], features: Any) -> list[MaskResult]:
        return [result for memory in memories for result in head.propagate([memory], features)]

    # Each part has memories of its own: a memory that another part has attended to is encoded already.
    most = max(targets)
    parts: dict[str, tuple[int, Callable[..., list[MaskResult]]]] = {
        f"propagate {count}": (count, head.propagate) for count in sorted(targets)
    }
    parts[f"one by one {most}"] = most, one_by_one
    boxes = [(BOX[0] + shift, BOX[1], BOX[2] + shift, BOX[3]) for shift in range(0, 50 * most, 50)]
    results = {
        part: head.segment(head.encode(picture), boxes[:count], [None] * count)
        for part, (count, _) in parts.items()
    }
    # The first frames fill the memory and warm up; they are not measured.
    warm_up = results[f"propagate {most}"][0].memory.limits.pointers + 1
    for index in range(warm_up + frames):
        features = timed("encode", lambda: head.encode(picture))
        timed("segment", partial(head.segment, features, boxes[:1], [None]))
        # All parts are measured at each frame, so that they share what else the machine does.
        for part, (_, propagate) in parts.items():
            memories = [result.memory for result in results[part]]
            results[part] = timed(part, partial(propagate, memories, features))
        if index + 1 == warm_up:
            times.clear()
    return {part: round(median(each), 3) for part, each in times.items()}


def costs(times: dict[str, float], targets: Sequence[int]) -> dict[str, float]:
    """The costs of a frame in milliseconds and their ratios; see the top of this file."""
    few, many = min(targets), max(targets)
    ours, theirs = (times["encode"] + times[f"{how} {many}"] for how in ("propagate", "one by one"))
    of_few = times["encode"] + times[f"propagate {few}"]
    return {
        "ratio": round(theirs / ours, 2),
        "ours": round(ours, 2),
        "theirs": round(theirs, 2),
        "cost_ratio": round(ours / of_few, 2),
    }


def _synchronise(head: MaskHead) -> None:
    """Wait for the GPU, whose calls return before they are done."""
    if head.model.device.type == "cuda":
        torch.cuda.synchronize(head.model.device)
