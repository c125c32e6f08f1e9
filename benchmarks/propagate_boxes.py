"""A picture of the masks that the mask head propagates through a video.

    python -m benchmarks propagate_boxes VIDEO OUT.png --box 536,456,632,552 --box 636,304,720,392

Each box (left, top, right, bottom in pixels of the first frame) becomes a mask in the first frame. The mask
head propagates it without a grounder and without an expression. The picture shows six frames with all
targets.
"""

import argparse
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from benchmarks.machine import machine
from data_prep.files import whole_file
from data_prep.geometry import Box
from data_prep.video.frames import VideoFrames
from models.interfaces import MaskResult
from models.mask_head.config import MASK_HEADS
from models.mask_head.sam2 import MaskHead

COLOURS = ((0, 230, 255), (255, 32, 160), (255, 255, 255), (180, 255, 0))
TILE = (400, 225)  # width and height in pixels of a frame in the picture
SHOWN = 6


def main(arguments: Sequence[str]) -> int:
    """Propagate the boxes, write the picture, and print a final JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks propagate_boxes", description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--box", type=_box, action="append", required=True, dest="boxes")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--mask-head", default=MASK_HEADS["nano"].checkpoint)
    options = parser.parse_args(arguments)
    video = VideoFrames.open(options.video)
    count = min(options.frames, len(video))
    if count < SHOWN or len(options.boxes) > len(COLOURS):
        parser.error(f"give {SHOWN} frames or more, and at most {len(COLOURS)} boxes")
    torch.set_num_threads(1)
    mask_head = MaskHead.load(options.mask_head, torch.device("cpu"))
    tiles, present = _propagate(mask_head, video, count, options.boxes)
    columns = SHOWN // 2
    # Two rows of tiles: (height, width, 3) each, RGB.
    sheet = np.vstack([np.hstack(tiles[:columns]), np.hstack(tiles[columns:])])
    with whole_file(options.picture) as temporary:
        Image.fromarray(sheet).save(temporary)
    report = {"benchmark": "propagate_boxes", "frames": count, "frames_with_mask": present}
    print(json.dumps({**report, "machine": machine()}))
    return 0


def _propagate(
    mask_head: MaskHead, video: VideoFrames, count: int, boxes: Sequence[Box]
) -> tuple[list[np.ndarray], list[int]]:
    """`SHOWN` of the first `count` frames with masks, and the number of frames with a mask of each target."""
    shown = {round(index) for index in np.linspace(0, count - 1, SHOWN)}
    tiles, present = [], np.zeros(len(boxes), int)
    results: list[MaskResult] = []
    for index, frame in enumerate(islice(video, count)):
        # The features of a frame are shared by all targets.
        features = mask_head.encode(frame)
        if not results:
            results = mask_head.segment(features, boxes, [None] * len(boxes))
        else:
            results = mask_head.propagate([result.memory for result in results], features)
        present += [result.mask is not None for result in results]
        if index in shown:
            tiles.append(_tile(frame, results, boxes if index == 0 else [], index))
    return tiles, present.tolist()


def _box(text: str) -> Box:
    left, top, right, bottom = (float(side) for side in text.split(","))
    return left, top, right, bottom


def _tile(frame: np.ndarray, results: Sequence[MaskResult], boxes: Sequence[Box], index: int) -> np.ndarray:
    """A frame with masks, and with boxes if they are given, at the size of `TILE`. RGB uint8."""
    painted = frame.copy()
    for result, colour in zip(results, COLOURS, strict=False):
        if result.mask is not None:
            # The colour covers the frame by 60 %, so that the object stays visible.
            painted[result.mask] = (0.4 * painted[result.mask] + 0.6 * np.array(colour)).astype(np.uint8)
    for box, colour in zip(boxes, COLOURS, strict=False):
        left, top, right, bottom = (round(side) for side in box)
        # OpenCV writes the channels in the order of the colour, so RGB stays RGB. The line is wide enough
        # to be visible when the frame has been reduced to a tile.
        cv2.rectangle(painted, (left, top), (right, bottom), colour, max(2, frame.shape[1] // 300))
    small = cv2.resize(painted, TILE, interpolation=cv2.INTER_AREA)
    # Font 0 is FONT_HERSHEY_SIMPLEX. The position is that of the lower left corner of the text.
    cv2.putText(small, f"frame {index}", (6, 16), 0, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
    return small
