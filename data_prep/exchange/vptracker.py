"""A pair as a record of VPTracker, which points at whole frames.

Its trainer (https://github.com/jcwang0602/VPTracker, a changed ms-swift) cuts the template out and draws the
rectangle while it encodes, at random and anew each time, from the key `visual_prompt`. The tokens `<ref>`,
`<template>` and `<search>` are that system's own and stand in its records literally.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError
from data_prep.exchange.forms import IMAGE
from data_prep.exchange.plan import ExportPlan, counted, plain_expression
from data_prep.geometry import Box, Size, center, round_box, xywh_to_xyxy
from data_prep.sampling.pairs import Pair
from data_prep.video.images import AS_STORED, image_header

COLOUR, WIDTH = "red", 3  # of the rectangle unless a pair has its own; its trainer gives them to PIL
SCALES = 2, 8  # sides of the rectangle in sides of the box it is drawn around, both included
TOKENS = ("<ref>", "</ref>", "<template>", "</template>", "<search>", "</search>")
QUESTION = """You follow one target through a video.
This is the target: <template>{image}</template>. In words it is <ref> {expression} </ref>.
This is the search image: <search>{image}</search>.
    1. Say whether the target can be seen in the search image.
    2. Say where: the corners of its box, [x_min, y_min, x_max, y_max].

Answer in JSON, as in: ```json
{{
  "visible": "yes/no",
  "bbox": [x_min, y_min, x_max, y_max]
}}
```.
"""
MARKED = """
The rectangle drawn in it marks where the target may be: look inside it first, then in the rest of the image.
"""


def record_of(plan: ExportPlan, pair: Pair) -> dict[str, Any]:
    """A pair as a record. Raises UserError where it cannot be one."""
    if not pair.templated:
        raise UserError("format=vptracker: its records always have a template; leave pairs.template=1")
    expression = plain_expression(pair.expression).strip()
    size, template_size = _size(pair.search), _size(pair.template)
    template = _whole(counted(xywh_to_xyxy(pair.template_xywh), template_size, template_size, "frame"))
    scale = int(np.random.default_rng((plan.pairs.seed, pair.number)).integers(SCALES[0], SCALES[1] + 1))
    said, around = [0, 0, 0, 0], _around(pair.visual_prompt_xyxy, size, scale)
    if pair.search_xywh is not None:
        box = xywh_to_xyxy(pair.search_xywh)
        said = _whole(counted(box, size, size, plan.coordinates))
        around = _whole(counted(box, size, size, "frame"))
    question = QUESTION.format(image=IMAGE, expression=expression) + (MARKED if pair.marked else "")
    return {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer(pair.search_xywh is not None, said)},
        ],
        "images": [pair.template, pair.search],
        "visual_prompt": {
            "phase": "train",
            "enable": pair.marked,
            "scale": scale,
            "color": "#{:02x}{:02x}{:02x}".format(*pair.visual_prompt_colour)
            if pair.visual_prompt_colour
            else COLOUR,
            "width": max(1, round(WIDTH * pair.visual_prompt_width)),
            "inbbox_ratio": round(1 - plan.pairs.settings.prompt_miss, 6),
            "template_bbox": template,
            "template_scale": plan.contract.template_scale,
            "search_bbox": around,
        },
    }


def answer(visible: bool, box: list[int]) -> str:
    """What its model is to say; a target that cannot be seen has a box of zeros."""
    return f'```json\n{{\n  "visible": "{"yes" if visible else "no"}",\n "bbox": {json.dumps(box)}\n}}\n```'


def _size(path: str) -> Size:
    """Width and height of a frame that a record points at.

    Raises UserError for one that is stored turned: this trainer opens it with Pillow alone, which leaves it
    so, and the boxes are those of the upright picture.
    """
    size, orientation = image_header(Path(path))
    if orientation != AS_STORED:
        raise UserError(
            f"{path}: stored turned (EXIF orientation {orientation}); save it upright for this format"
        )
    return size


def _around(visual_prompt_xyxy: Box, size: Size, scale: int) -> list[int]:
    """The box that a rectangle is drawn around where no target is to be seen.

    An empty one would betray that: its rectangle would be none.
    """
    x, y = center(visual_prompt_xyxy)
    width = max(2.0, (visual_prompt_xyxy[2] - visual_prompt_xyxy[0]) / scale)
    height = max(2.0, (visual_prompt_xyxy[3] - visual_prompt_xyxy[1]) / scale)
    return _whole(round_box((x - width / 2, y - height / 2, x + width / 2, y + height / 2), size))


def _whole(box: Box) -> list[int]:
    return [round(side) for side in box]
