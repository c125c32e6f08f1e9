"""Loops that the tracker is measured against: one question a frame, no memory."""

import numpy as np

from data_prep.geometry import Box
from data_prep.prompts import Contract
from data_prep.visual_prompt import crop_template
from infer.requests import Locate, Report, Segment, StartTrack, State, Track
from models.grounder import Answer
from models.mask_head import MaskResult


def per_frame_tracker(visible_above: float, repeat_last: bool, contract: Contract) -> StartTrack:
    """The grounder on every frame, its box made a mask.

    With `repeat_last` this is VPTracker's published loop: where the target is not visible, its last
    box is given again. Without, "not visible" is honoured and absence written.
    """

    def start(words: str, frame: np.ndarray) -> Track:
        return _per_frame(words, frame, visible_above, repeat_last, contract)

    return start


def _per_frame(
    words: str, frame: np.ndarray, visible_above: float, repeat_last: bool, contract: Contract
) -> Track:
    template: np.ndarray | None = None
    last: Box | None = None
    while True:
        answer: Answer = yield Locate(words, template, last)
        seen = answer.visible >= visible_above and answer.box_xyxy is not None
        if seen:
            last = answer.box_xyxy
        box = last if seen or repeat_last else None
        if box is None:
            frame = yield Report(State.SEARCH if last is None else State.LOST, visible=answer.visible)
            continue
        if template is None:
            template = crop_template(frame, box, contract)
        result: MaskResult = yield Segment(box)
        frame = yield Report(State.TRACK, result.mask, box, answer.box_confidence, answer.visible)


def empty_track(_words: str, _frame: np.ndarray) -> Track:
    """The track of an empty prompt: absent in every frame."""
    while True:
        yield Report(State.EMPTY)
