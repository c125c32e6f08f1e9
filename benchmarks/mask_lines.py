"""Speed of writing and reading masks as lines of a result file: `python -m benchmarks mask_lines`

- Theirs: `str(Mask(mask))` and `parse_region(line)` of the VOT toolkit.
- Ours: `encode_mask` and `decode_mask` of `data_prep/votsr/regions.py`.

The masks have 1080 × 1920 pixels: compact ones, ones with many short runs, and extreme ones. Both sides
process a mask in turn; the result is the shortest of `--rounds` times, because other processes on the machine
can only lengthen a time. `ratio` is the smallest one of all masks. The benchmark fails if the toolkit does
not read from our line exactly the mask that was written.
"""

import argparse
import functools
import json
import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from benchmarks.machine import machine
from data_prep.votsr.regions import decode_mask, encode_mask

HEIGHT, WIDTH = 1080, 1920


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table and a final JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks mask_lines", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args(arguments)
    found = {name: _measure(mask, options.rounds) for name, mask in example_masks().items()}
    print(f"{'':<12}{'runs':>9}{'ours ms':>10}{'theirs ms':>11}{'ratio':>8}{'read: ratio':>13}")
    for name, row in found.items():
        print(
            f"{name:<12}{row['runs']:>9.0f}{row['ours']:>10.3f}{row['theirs']:>11.3f}"
            f"{row['ratio']:>8.1f}{row['read_ratio']:>13.1f}"
        )
    slowest = min(found.values(), key=lambda row: row["ratio"])
    report = {
        "benchmark": "mask_lines",
        "ratio": slowest["ratio"],
        "ours": slowest["ours"],
        "theirs": slowest["theirs"],
        "unit": "milliseconds for a mask, of the mask with the smallest ratio",
        "masks": found,
        "machine": machine(),
    }
    print(json.dumps(report))
    return 0


@functools.cache
def example_masks() -> dict[str, np.ndarray]:
    """Masks (1080, 1920), bool, by name."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    noise = rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32)
    # The outline of an ellipse with smooth irregularities, as a mask head draws it.
    distance = np.hypot((columns - 960) / 400, (rows - 540) / 300)
    blob = distance + 4 * cv2.GaussianBlur(noise, (0, 0), 15) < 1
    line = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.line(line, (5, 5), (1900, 1070), 1, thickness=2)
    corners = np.zeros((HEIGHT, WIDTH), bool)
    corners[0, 0] = corners[-1, -1] = True
    return {
        "object": np.hypot(columns - 300, rows - 700) < 40,
        "large object": blob,
        "holes": blob & (cv2.GaussianBlur(noise, (0, 0), 10) < 0.04),
        "specks": blob ^ (rng.random((HEIGHT, WIDTH)) < 0.01),
        "smoke": cv2.GaussianBlur(noise, (0, 0), 4) > 0,
        "noise": rng.random((HEIGHT, WIDTH)) < 0.5,
        "thin": line.astype(bool),
        "column": columns == 700,
        "corners": corners,
        "full frame": np.ones((HEIGHT, WIDTH), bool),
    }


def _measure(mask: np.ndarray, rounds: int) -> dict[str, float]:
    """The shortest times in milliseconds to write and to read a mask, on both sides, and their ratios."""
    from vot.region.io import parse_region
    from vot.region.shapes import Mask

    pixels, line = mask.astype(np.uint8), encode_mask(mask)
    if not np.array_equal(rendered(line), mask):
        raise RuntimeError("the toolkit reads another mask than was written")
    times = {"ours": np.inf, "theirs": np.inf, "our_read": np.inf, "their_read": np.inf}
    calls: dict[str, Callable[[], object]] = {
        "ours": lambda: encode_mask(mask),
        "theirs": lambda: str(Mask(pixels)),
        "our_read": lambda: decode_mask(line, (WIDTH, HEIGHT)),
        "their_read": lambda: parse_region(line),
    }
    for _ in range(rounds):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            times[name] = min(times[name], 1000 * (time.perf_counter() - begun))
    return {
        "runs": line.count(",") - 3,
        "ours": round(times["ours"], 3),
        "theirs": round(times["theirs"], 3),
        "ratio": round(times["theirs"] / times["ours"], 2),
        "read_ratio": round(times["their_read"] / times["our_read"], 2),
    }


def rendered(line: str) -> np.ndarray:
    """The mask (1080, 1920), bool, that the toolkit's analysis makes of a line."""
    from vot.region.io import parse_region

    mask: np.ndarray = parse_region(line).rasterize((0, 0, WIDTH - 1, HEIGHT - 1))
    return mask.astype(bool)
