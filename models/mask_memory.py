"""SAM 2's memory of one target, as a value: keep two, drop one, go back.

Every memory has a clock of its own that starts at 0 with its first box. Only differences of clock
readings reach the model, so a track may start anywhere in a video, or run backwards.

What is kept is what the model can still look at (`Limits`), so a memory does not grow with the
video and a track through it equals one through an unpruned session bit for bit.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import Sam2VideoConfig, Sam2VideoInferenceSession


@dataclass(frozen=True)
class Limits:
    """How far back a model looks, in frames before the current one; and how many anchors are kept.

    Memory maps are read `spatial` frames back, object pointers `pointers` frames back. Anchors
    (frames with a box) are always read, the first and the newest ones; SAM 2 itself keeps all.
    """

    spatial: int
    pointers: int
    anchors: int = 4

    @classmethod
    def of(cls, config: Sam2VideoConfig) -> "Limits":
        """The limits that follow from a configuration."""
        return cls(config.num_maskmem - 1, config.max_object_pointers_in_encoder - 1)


@dataclass(frozen=True, eq=False)
class Moment:
    """What stays of one frame, for a batch of B targets.

    `pointer` (B, 1, hidden) is the target's token, `features` (height·width, B, channels) the memory
    map in bfloat16, row-major over the coarsest feature map; None once it is too old to be read.
    """

    pointer: torch.Tensor
    features: torch.Tensor | None


Moments = tuple[tuple[int, Moment], ...]


@dataclass(frozen=True, eq=False)
class Memory:
    """Moments by clock reading, oldest first; `clock` is the reading at the last frame seen.

    `position` (height·width, B, channels) is the position code of a memory map, the same for all.
    """

    limits: Limits
    position: torch.Tensor
    clock: int
    anchors: Moments
    recent: Moments = ()

    @classmethod
    def start(cls, limits: Limits, position: torch.Tensor, moment: Moment) -> "Memory":
        """A new memory whose first frame, at clock 0, had a box."""
        return cls(limits, position, 0, ((0, moment),))

    def advanced(self) -> "Memory":
        """The memory one frame later, with nothing written for that frame."""
        return replace(self, clock=self.clock + 1, recent=self._readable(self.clock + 1, self.recent))

    def written(self, moment: Moment) -> "Memory":
        """The memory one frame later, with that frame remembered."""
        now = self.clock + 1
        return replace(self, clock=now, recent=self._readable(now, (*self.recent, (now, moment))))

    def anchored(self, moment: Moment) -> "Memory":
        """The memory one frame later, where that frame had a box of its own."""
        now = self.clock + 1
        newest = self.anchors[1:][-(self.limits.anchors - 2) :] if self.limits.anchors > 2 else ()
        anchors = (self.anchors[0], *newest, (now, moment))
        return replace(self, clock=now, anchors=anchors, recent=self._readable(now, self.recent))

    def _readable(self, now: int, moments: Moments) -> Moments:
        """What of `moments` can still be read at frame `now + 1` or later."""
        reach = max(self.limits.spatial, self.limits.pointers)
        return tuple(
            (time, moment if now - time < self.limits.spatial else replace(moment, features=None))
            for time, moment in moments
            if now - time < reach
        )

    def session(self) -> Sam2VideoInferenceSession:
        """The memory as an inference session of transformers with one object, whose index is 0."""
        session = Sam2VideoInferenceSession()
        index = session.obj_id_to_idx(0)
        outputs = session.output_dict_per_obj[index]
        outputs["cond_frame_outputs"].update(self._outputs(self.anchors))
        outputs["non_cond_frame_outputs"].update(self._outputs(self.recent))
        return session

    def _outputs(self, moments: Moments) -> dict[int, dict[str, Any]]:
        return {
            time: {
                "maskmem_features": moment.features,
                "maskmem_pos_enc": self.position,
                "object_pointer": moment.pointer,
            }
            for time, moment in moments
        }
