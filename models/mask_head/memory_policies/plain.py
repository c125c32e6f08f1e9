"""The memory of SAM 2 as published, and the one that leaves out frames without the target."""

from dataclasses import dataclass
from typing import Any, ClassVar

from configs.schema import key
from models.mask_head.memory_policies.policy import WRITTEN, Candidates, Decision, MemoryPolicy, Write
from models.mask_head.memory_policies.registry import register_memory_policy


@register_memory_policy("plain")
@dataclass(frozen=True)
class Plain(MemoryPolicy):
    """Every frame is written, as in SAM 2."""

    decides: ClassVar[bool] = False

    def decide(self, state: Any, candidates: Candidates) -> Decision:
        """The frame is written."""
        del state, candidates
        return WRITTEN


@register_memory_policy("gated")
@dataclass(frozen=True)
class Gated(MemoryPolicy):
    """A frame is written where the mask head believes that the target is there and that its mask is good.

    The frames that are written fill the memory in their order. So the last frames that show the target are
    attended to as if they were the last frames, however long ago they were.
    """

    min_object_score: float = key(0.5, "object score from which a frame is written", minimum=0.0, maximum=1.0)
    min_iou: float = key(0.5, "predicted IoU from which a frame is written", minimum=0.0, maximum=1.0)

    def decide(self, state: Any, candidates: Candidates) -> Decision:
        """The frame is written if both numbers are high enough."""
        del state
        best = candidates.best
        is_good = (
            candidates.is_present
            and candidates.object_score >= self.min_object_score
            and float(candidates.ious[best]) >= self.min_iou
        )
        return WRITTEN if is_good else Decision(Write.NOTHING)
