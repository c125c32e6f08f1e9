"""Records for VPTracker (https://github.com/jcwang0602/VPTracker), which refer to whole frames.

Its trainer is a modified ms-swift. It crops the template and draws the rectangle while it encodes a record,
with new random numbers each time, as the key `visual_prompt` says. Question and answer are those of the
contract `vptracker`, so the published weights can be trained further on these records.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from configs.errors import UserError
from data_prep.contract.chat import answer_of
from data_prep.contract.contract import BUILT_IN
from data_prep.contract.images import colour_name, drawn_as
from data_prep.contract.wordings import VPTRACKER_TOKENS
from data_prep.exchange.chat import question_text
from data_prep.exchange.exporter import (
    Exporter,
    ExportPlan,
    Record,
    counted,
    plain_expression,
    refuse_fill,
    register_exporter,
)
from data_prep.geometry import Box, Size, center, round_box, xywh_to_xyxy
from data_prep.sampling.pairs import Pair
from data_prep.video.images import AS_STORED, image_header

CONTRACT = BUILT_IN["vptracker"]
SCALES = 2, 8  # smallest and largest side of the rectangle, in sides of the box it is drawn around


def _record(plan: ExportPlan, pair: Pair) -> Record:
    """The record of a pair. Raises UserError where it cannot be one."""
    if not pair.templated:
        raise UserError("format=vptracker: its records always have a template; leave pairs.template=1")
    expression = plain_expression(pair.expression)
    size, template_size = _size(pair.search), _size(pair.template)
    template = _whole(counted(xywh_to_xyxy(pair.template_xywh), template_size, template_size, "frame"))
    # The rectangle is `scale` times the box that it is drawn around. VPTracker draws it around the target
    # where that is visible, else around a box of our choice (`_around`).
    scale = int(np.random.default_rng((plan.pairs.seed, pair.number)).integers(SCALES[0], SCALES[1] + 1))
    answer_box: Box | None = None
    around = _around(pair.visual_prompt_xyxy, size, scale)
    # A visible target: the answer has its box, and the rectangle is drawn around it.
    if pair.search_xywh is not None:
        box = xywh_to_xyxy(pair.search_xywh)
        answer_box = counted(box, size, size, plan.coordinates)
        around = _whole(counted(box, size, size, "frame"))
    # The question names the colour of the rectangle, which may be the pair's own.
    contract = drawn_as(CONTRACT, pair.visual_prompt_colour, pair.visual_prompt_width)
    question = question_text(replace(plan, contract=contract), expression, pair.templated, pair.marked)
    return Record(
        {
            "messages": [
                {"role": "user", "content": question},
                {"role": "assistant", "content": CONTRACT.format.start + answer_of(CONTRACT, answer_box)},
            ],
            "images": [pair.template, pair.search],
            "visual_prompt": {
                "phase": "train",
                "enable": pair.marked,
                "scale": scale,
                "color": colour_name(contract.prompt_colour),
                "width": contract.prompt_line,
                # Rounded, since 1 - 0.8 is 0.19999999999999996.
                "inbbox_ratio": round(1 - plan.pairs.settings.prompt_miss, 6),
                "template_bbox": template,
                "template_scale": plan.contract.template_scale,
                "search_bbox": around,
            },
        }
    )


def _size(path: str) -> Size:
    """Width and height of a frame that a record refers to.

    Raises UserError for a frame that is stored rotated. VPTracker opens it with Pillow, which does not apply
    the EXIF orientation, but the boxes are those of the upright image.
    """
    size, orientation = image_header(Path(path))
    if orientation != AS_STORED:
        raise UserError(
            f"{path}: stored rotated (EXIF orientation {orientation}); save it upright for this format"
        )
    return size


def _around(visual_prompt_xyxy: Box, size: Size, scale: int) -> list[int]:
    """The box around which the rectangle is drawn where no target is visible, in pixels of the frame.

    It is the pair's own rectangle, made `scale` times smaller. An empty box would tell that the target is
    absent, since VPTracker then draws no rectangle.
    """
    # At least two pixels, so that the rectangle is visible whatever the scale is.
    x, y = center(visual_prompt_xyxy)
    width = max(2.0, (visual_prompt_xyxy[2] - visual_prompt_xyxy[0]) / scale)
    height = max(2.0, (visual_prompt_xyxy[3] - visual_prompt_xyxy[1]) / scale)
    return _whole(round_box((x - width / 2, y - height / 2, x + width / 2, y + height / 2), size))


def _whole(box: Box) -> list[int]:
    return [round(side) for side in box]


def _check(plan: ExportPlan) -> None:
    refuse_fill(plan)
    if plan.coordinates == "resized":
        raise UserError(
            "format=vptracker: its records refer to whole frames; give coordinates=frame or thousand"
        )


def _trainer_settings(_plan: ExportPlan) -> dict[str, str]:
    return {"--remove_unused_columns": "false", "--new_special_tokens": " ".join(VPTRACKER_TOKENS)}


VPTRACKER = register_exporter(
    Exporter("vptracker", _record, _check, trainer_settings=_trainer_settings, writes_contract=False)
)
