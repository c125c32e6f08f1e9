"""A choice of the mask that knows how the target moves: SAMURAI.

Yang, Huang, Chai, Jiang and Hwang 2024, "SAMURAI: Adapting Segment Anything Model for Zero-Shot Visual
Tracking with Motion-Aware Memory" (https://arxiv.org/abs/2411.11922). The numbers are those of the authors'
code (https://github.com/yangchris11/samurai, `sam2_base.py` and its configurations).

A Kalman filter predicts the box of the target. Once the target has been followed for some frames, the mask is
the one with the highest weighted sum of its predicted IoU and of the IoU of its box and the predicted one.
Frames with a low score are not kept in the memory.

Two things differ from the authors' code. Where there is no mask the filter goes on without a measurement;
there it takes an empty box for one. And object pointers are those of the frames that are kept, as the maps
are; there they are those of the last 15 frames.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from configs.schema import key
from data_prep.geometry import Box, iou
from models.mask_head.memory_policies.box_motion import BoxMotion
from models.mask_head.memory_policies.policy import Candidates, Decision, MemoryPolicy, Write
from models.mask_head.memory_policies.registry import register_memory_policy


@dataclass(frozen=True, eq=False)
class Motion:
    """The state of the policy since the last box.

    `filter` is that of the last frame, None before the first mask, and `stable_frames` the number of frames
    that it has followed. `is_provisional`: the newest recent frame does not stay.
    """

    filter: BoxMotion | None = None
    stable_frames: int = 0
    is_provisional: bool = False


@register_memory_policy("samurai")
@dataclass(frozen=True)
class Samurai(MemoryPolicy):
    """The mask where the target is expected, and a memory of frames with high scores."""

    needs_masks: ClassVar[bool] = True
    chooses_masks: ClassVar[bool] = True

    motion_weight: float = key(
        0.15, "weight of the predicted box in the choice of a mask", minimum=0.0, maximum=1.0
    )
    stable_frames: int = key(
        15, "frames that the target must have been followed before its motion counts", minimum=1
    )
    min_stable_iou: float = key(
        0.3, "predicted IoU below which the target is no longer followed", minimum=0.0, maximum=1.0
    )
    min_iou: float = key(
        0.5, "predicted IoU above which a frame stays in the memory", minimum=0.0, maximum=1.0
    )
    min_object_score: float = key(
        0.5, "object score above which a frame stays in the memory", minimum=0.0, maximum=1.0
    )
    min_motion_iou: float = key(
        0.0, "IoU with the predicted box above which a frame stays in the memory", minimum=0.0, maximum=1.0
    )

    def decide(self, state: Motion | None, candidates: Candidates) -> Decision:
        """The mask with the highest weighted sum; the frame stays in the memory if its scores are high."""
        # 1. Where the target is expected, once it has been followed.
        last = state or Motion()
        predicted = None if last.filter is None or last.stable_frames == 0 else last.filter.predicted()
        boxes = [candidates.box(index) for index in range(len(candidates.ious))]
        chosen, motion_iou = candidates.best, None
        if predicted is not None and last.stable_frames >= self.stable_frames:
            motion_ious = np.array([_iou(predicted.box_xyxy, box) for box in boxes])
            scores = self.motion_weight * motion_ious + (1 - self.motion_weight) * candidates.ious
            chosen = int(scores.argmax())
            motion_iou = float(motion_ious[chosen])
        # 2. Whether it is still followed.
        predicted_iou = float(candidates.ious[chosen])
        now = self._followed(last, predicted, boxes[chosen], predicted_iou)
        # 3. The newest frame is always in the memory, and stays there if its scores are high.
        stays = (
            predicted_iou > self.min_iou
            and candidates.object_score > self.min_object_score
            and (motion_iou is None or motion_iou > self.min_motion_iou)
        )
        write = Write.REPLACE if last.is_provisional else Write.RECENT
        return Decision(write, replace(now, is_provisional=not stays), chosen)

    def _followed(
        self, last: Motion, predicted: BoxMotion | None, box: Box | None, predicted_iou: float
    ) -> Motion:
        """The filter after this frame."""
        if predicted is None:  # the first mask starts it
            return Motion() if box is None else Motion(BoxMotion.start(box), 1)
        if predicted_iou < self.min_stable_iou:
            return Motion()
        if box is None:
            return replace(last, filter=predicted)
        return Motion(predicted.updated(box), last.stable_frames + 1)


def _iou(predicted: Box, box: Box | None) -> float:
    return 0.0 if box is None else iou(predicted, box)
