"""Loops that the tracker is measured against: one question a frame, no memory."""

from dataclasses import dataclass

import numpy as np

from configs.schema import key
from data_prep.contract.contract import Contract
from data_prep.contract.images import crop_template
from data_prep.geometry import Box
from infer.trackers.registry import register_tracker
from infer.trackers.requests import Locate, Report, Segment, StartTrack, State, Track
from models.interfaces import Answer, MaskResult


@dataclass(frozen=True)
class PerFrameConfig:
    """A loop without memory: the grounder on every frame, its box made a mask."""

    visible_above: float = key(0.5, "visible probability from which the grounder is taken to see the target")
    repeat_last: bool = key(
        False, "give the last box again where the target is not visible, as VPTracker does"
    )


@register_tracker(per_frame=PerFrameConfig(), vptracker=PerFrameConfig(repeat_last=True))
def per_frame_tracker(config: PerFrameConfig, contract: Contract) -> StartTrack:
    """The grounder on every frame, its box made a mask.

    With `repeat_last` this is VPTracker's published loop: where the target is not visible, its last
    box is given again. Without, "not visible" is honoured and absence written.
    """

    def start(words: str, frame: np.ndarray, box_xyxy: Box | None = None) -> Track:
        return _per_frame(words, frame, box_xyxy, config.visible_above, config.repeat_last, contract)

    return start


def _per_frame(
    words: str,
    frame: np.ndarray,
    last: Box | None,
    visible_above: float,
    repeat_last: bool,
    contract: Contract,
) -> Track:
    """`last` is where the target is in the first frame, if that is known."""
    template = None if last is None else crop_template(frame, last, contract)
    if last is not None:
        given: MaskResult = yield Segment(last)
        frame = yield Report(State.TRACK, given.mask, last, 1.0)
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
