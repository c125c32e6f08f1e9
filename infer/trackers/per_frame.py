"""Trackers without memory: the grounder is asked about every frame.

They are baselines for the referral tracker. `tracker=vptracker` is the loop of VPTracker
(https://github.com/jcwang0602/VPTracker), which repeats the last box where the target is not visible.
"""

from dataclasses import dataclass

import numpy as np

from configs.schema import key
from data_prep.contract.contract import Contract
from data_prep.contract.crops import crop_template, template_box
from data_prep.geometry import Box
from infer.trackers.registry import register_tracker, thresholds_of
from infer.trackers.requests import Locate, Reason, Report, Segment, State, Track, Tracker
from models.interfaces import Answer, MaskResult


@dataclass(frozen=True)
class PerFrameConfig:
    """The grounder is asked about every frame, and the mask head segments its box; nothing is propagated."""

    # Every frame is decided by itself: no wrong start has to be avoided, as in the referral tracker.
    # (Without an annotation, because OmegaConf would take an annotated attribute for a key.)
    CALIBRATED = (("activation_threshold", "visible_threshold"),)

    activation_threshold: float | None = key(
        None,
        "visible probability from which the target counts as visible; null: the visible_threshold of the "
        "checkpoint's calibration",
    )
    repeat_last: bool = key(
        False, "where the target is not visible, report its last box, as VPTracker does, instead of absence"
    )


@register_tracker(per_frame=PerFrameConfig(), vptracker=PerFrameConfig(repeat_last=True))
def per_frame_tracker(config: PerFrameConfig, contract: Contract) -> Tracker:
    """A tracker that asks the grounder about every frame; `contract` says how templates are cut."""

    def start(expression: str, frame: np.ndarray, box_xyxy: Box | None = None) -> Track:
        return _track(expression, frame, box_xyxy, config, contract)

    return start


def _track(
    expression: str, frame: np.ndarray, last_box: Box | None, config: PerFrameConfig, contract: Contract
) -> Track:
    """One track. `last_box` is the box of the target in the first frame, if it is given."""
    visible_threshold = thresholds_of(config).visible_threshold
    # 1. If the first box is given, it makes the template and the result of the first frame.
    template, box_in_template = None, None
    if last_box is not None:
        template, box_in_template = crop_template(frame, last_box, contract), template_box(last_box, contract)
        first: MaskResult = yield Segment(last_box)
        frame = yield Report(State.TRACK, first.mask, last_box, 1.0, reasons=(Reason.BOX_GIVEN,))
    while True:
        # 2. Ask the grounder, with the rectangle where the target was last seen. The target has probably not
        #    moved far, so most digits of its last box are those of the answer.
        answer: Answer = yield Locate(expression, template, last_box, box_in_template, draft_xyxy=last_box)
        is_visible = answer.visible >= visible_threshold and answer.box_xyxy is not None
        if is_visible:
            last_box = answer.box_xyxy
        # 3. Report absence, or the mask of the box of this frame or, with `repeat_last`, of the last box.
        box = last_box if is_visible or config.repeat_last else None
        if box is None:
            state = State.SEARCH if last_box is None else State.LOST
            frame = yield Report(state, visible=answer.visible, reasons=(Reason.NOT_FOUND,))
            continue
        # The template is cut where the target was found first, and kept.
        if template is None:
            template, box_in_template = crop_template(frame, box, contract), template_box(box, contract)
        result: MaskResult = yield Segment(box)
        reason = Reason.FOUND if is_visible else Reason.BOX_REPEATED
        frame = yield Report(
            State.TRACK, result.mask, box, answer.box_confidence, answer.visible, reasons=(reason,)
        )
