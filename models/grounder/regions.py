"""Questions about a region of a frame (`Question.region_xyxy`), for every grounder.

Such a question is turned into one about an image, the region, with its boxes in pixels of that image. The
answer is turned back. So a grounder, or the server that computes its answers, knows nothing of regions.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from data_prep.contract.contract import Contract
from data_prep.contract.windows import PixelRegion, pixel_region
from data_prep.geometry import Box, is_inside
from models.interfaces import Answer, Question

Locate = Callable[[Sequence[Question]], Sequence[Answer]]


def locate_in_regions(questions: Sequence[Question], locate: Locate, contract: Contract) -> list[Answer]:
    """The answers of `locate` to questions, some of which are about a region of their frame.

    `locate` gets questions about whole images only. Boxes are in pixels of the frame.
    """
    # Grounders tell images apart by their ids. So the questions about one region of a frame share one array,
    # and all arrays are held until the answers are there.
    views: dict[tuple[int, PixelRegion], np.ndarray] = {}
    regions = [region_of(question, contract) for question in questions]
    asked = []
    for question, region in zip(questions, regions, strict=True):
        if region is None:
            asked.append(question)
            continue
        left, top, right, bottom = region
        view = views.setdefault((id(question.image), region), question.image[top:bottom, left:right])
        asked.append(_in_view(question, view, left, top))
    return [
        answer if region is None else _in_frame(answer, region[0], region[1])
        for answer, region in zip(locate(asked), regions, strict=True)
    ]


def region_of(question: Question, contract: Contract) -> PixelRegion | None:
    """The region that is searched, in whole pixels; None: the whole frame.

    A contract whose search image is a crop around the last box (R1-Track) cuts that crop out of the frame, as
    its checkpoint was trained, and then searches no other region.
    """
    height, width = question.image.shape[:2]
    if question.region_xyxy is None:
        return None
    if contract.form(question.template is not None, question.marked).is_cropped:
        return None
    region = pixel_region(question.region_xyxy, (width, height))
    return None if region == (0, 0, width, height) else region


def _in_view(question: Question, view: np.ndarray, left: int, top: int) -> Question:
    """The question about a region as one about an image; what lies outside of the region is left out."""
    size = (view.shape[1], view.shape[0])

    def inside(box_xyxy: Box | None) -> Box | None:
        if box_xyxy is None:
            return None
        moved = _moved(box_xyxy, -left, -top)
        return moved if is_inside(moved, size) else None

    return replace(
        question,
        image=view,
        region_xyxy=None,
        visual_prompt_xyxy=inside(question.visual_prompt_xyxy),
        draft_xyxy=inside(question.draft_xyxy),
        # The region is an image of its own, which was not resized from another one.
        original=None,
    )


def _in_frame(answer: Answer, left: int, top: int) -> Answer:
    """The answer to a question about a region, with its box in pixels of the frame."""
    box = answer.box_xyxy
    return answer if box is None else replace(answer, box_xyxy=_moved(box, left, top))


def _moved(box_xyxy: Box, right: float, down: float) -> Box:
    return box_xyxy[0] + right, box_xyxy[1] + down, box_xyxy[2] + right, box_xyxy[3] + down
