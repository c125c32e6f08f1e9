"""The miniature videos' masks in the forms in which data sets keep them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.dataset_miniature import Video


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's run lengths: column by column, zeros first."""
    runs, value, count = [], False, 0
    for pixel in mask.ravel(order="F").tolist():
        if pixel != value:
            runs.append(count)
            value, count = pixel, 0
        count += 1
    return [*runs, count]


def packed(runs: list[int]) -> str:
    """Run lengths as COCO packs them into a text."""
    text = ""
    for at, run in enumerate(runs):
        number, more = (run - runs[at - 2] if at > 2 else run), True
        while more:
            low, number = number & 31, number >> 5
            more = number != (-1 if low & 16 else 0)
            text += chr(48 + low + 32 * more)
    return text


def rle(mask: np.ndarray) -> dict[str, Any]:
    """A mask as MeViS and SA-V write it."""
    return {"size": list(mask.shape), "counts": packed(run_lengths(mask))}


def write_palette(path: Path, ids: np.ndarray) -> None:
    """A palette PNG of objects' ids, in colours of which two objects share one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(ids.astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 200, 30, 30, 200, 30, 30] + [90] * 759)
    image.save(path)


def ids_of(*pairs: tuple[Video, int], frame: int) -> np.ndarray:
    """The ids, uint8 (height, width), of videos' targets in one picture; the later hides the earlier."""
    ids = np.zeros_like(pairs[0][0].mask(frame), np.uint8)
    for video, number in pairs:
        ids[video.mask(frame)] = number
    return ids


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
