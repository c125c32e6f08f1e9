"""Recent frames and anchors apart: the memory of DAM4SAM.

Videnovic, Lukezic and Kristan 2025, "A Distractor-Aware Memory for Visual Object Tracking with SAM2"
(https://arxiv.org/abs/2411.17576). The numbers are those of the authors' code
(https://github.com/jovanavidenovic/DAM4SAM, `dam4sam_tracker.py`).

The decoder makes several masks of a target. Where a look-alike is near, some of them include it, and the
frame shows what tells the two apart. Such a frame is kept as an anchor, if its chosen mask can be relied on.

Two things differ from the authors' code. There anchors and recent frames share seven places, so each anchor
takes the place of a recent frame; here an anchor takes the place of an earlier anchor or of a frame with a
box, except the first one (`MemoryLimits.conditioning_frames`). And there object pointers are those of the
last 15 frames; here they are those of the last 15 frames that stay, as the maps are.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from configs.schema import key
from data_prep.geometry import box_of_mask, iou
from models.mask_head.memory_policies.policy import Candidates, Decision, MemoryPolicy, Write
from models.mask_head.memory_policies.registry import register_memory_policy


@dataclass(frozen=True)
class History:
    """The state of the policy since the last box.

    `areas` are the last areas of the mask where there was one. `since_anchor` and `since_kept` count the
    frames since the last anchor (None: there is none) and since the last recent frame that stays.
    `is_provisional`: the newest recent frame does not stay.
    """

    areas: tuple[int, ...] = ()
    since_anchor: int | None = None
    since_kept: int = 0
    is_provisional: bool = False


@register_memory_policy("distractor_aware")
@dataclass(frozen=True)
class DistractorAware(MemoryPolicy):
    """The newest frame and every few earlier ones are recent frames; anchors are frames with a look-alike."""

    needs_masks: ClassVar[bool] = True

    interval: int = key(
        5, "frames from one recent frame that stays to the next; the newest is there", minimum=1
    )
    min_iou: float = key(0.8, "predicted IoU above which a frame may be an anchor", minimum=0.0, maximum=1.0)
    max_area_change: float = key(
        0.2, "how far the area of an anchor's mask may be from the usual one, as a share of it", minimum=0.0
    )
    usual_frames: int = key(10, "frames whose median area is the usual one", minimum=1)
    max_agreement_iou: float = key(
        0.7,
        "an alternative mask competes if the box around it and the chosen mask has at most this IoU with the "
        "box of the chosen mask",
        minimum=0.0,
        maximum=1.0,
    )
    anchor_interval: int = key(5, "frames that must lie between two anchors", minimum=0)

    def decide(self, state: History | None, candidates: Candidates) -> Decision:
        """Whether the frame is an anchor, a recent frame that stays, only the newest one, or nothing."""
        assert candidates.masks is not None
        # 1. One frame later. A frame without a mask leaves nothing else.
        last = state or History()
        since_anchor = None if last.since_anchor is None else last.since_anchor + 1
        now = replace(last, since_anchor=since_anchor, since_kept=last.since_kept + 1)
        best = candidates.best
        area = int(np.count_nonzero(candidates.masks[best])) if candidates.is_present else 0
        if area == 0:
            return Decision(Write.NOTHING, now)
        now = replace(now, areas=(*now.areas, area)[-self.usual_frames :])
        # 2. An anchor leaves the recent frames as they are.
        if self._is_reliable(now, float(candidates.ious[best])) and self._has_look_alike(
            candidates.masks, best
        ):
            return Decision(Write.ANCHOR, replace(now, since_anchor=0))
        # 3. Otherwise it is the newest recent frame, in place of one that does not stay.
        write = Write.REPLACE if now.is_provisional else Write.RECENT
        stays = now.since_kept >= self.interval
        since_kept = 0 if stays else now.since_kept
        return Decision(write, replace(now, since_kept=since_kept, is_provisional=not stays))

    def _is_reliable(self, now: History, predicted_iou: float) -> bool:
        """Whether the mask is good and of the usual area, and the last anchor long enough ago."""
        if predicted_iou <= self.min_iou or len(now.areas) < 2:
            return False
        if now.since_anchor is not None and now.since_anchor <= self.anchor_interval:
            return False
        # The median includes this frame, as in the authors' code.
        change = now.areas[-1] / float(np.median(now.areas)) - 1
        return abs(change) <= self.max_area_change

    def _has_look_alike(self, masks: np.ndarray, best: int) -> bool:
        """Whether an alternative mask shows something else beside the target."""
        chosen = box_of_mask(masks[best])
        assert chosen is not None
        for region in _competing_regions(masks, best):
            around_both = box_of_mask(region | masks[best])
            assert around_both is not None
            if iou(chosen, around_both) <= self.max_agreement_iou:
                return True
        return False


def _competing_regions(masks: np.ndarray, best: int) -> Iterator[np.ndarray]:
    """For each alternative mask its largest connected part beside the best mask, bool (height, width)."""
    import cv2  # here, since `--help` imports all policies

    for index, alternative in enumerate(masks):
        others = alternative & ~masks[best]
        if index == best or not others.any():
            continue
        _, labels, statistics, _ = cv2.connectedComponentsWithStats(others.astype(np.uint8))
        # The label 0 is the background.
        yield labels == 1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax())
