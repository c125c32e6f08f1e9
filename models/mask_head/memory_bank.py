"""SAM 2's memory of one target as a value: no method changes a memory bank, each returns a new one.

A memory bank has a clock that is 0 at the first frame with a box and counts frames. The model uses only
differences of clock readings, so a track may begin at any frame of a video, or run backwards.

Frames that the model can no longer attend to (`MemoryLimits`) are removed, so the memory does not grow with
the length of the video. Removing them changes no bit: with the operations of the library a track is
bit-identical to one through a session of transformers that removes nothing.

A memory policy other than `plain` decides which frames are written (`with_decision`). The clock then counts
the frames that are kept, so the model takes them for consecutive ones.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import Sam2VideoInferenceSession

from models.mask_head.memory_map import MemoryMap
from models.mask_head.memory_policies.policy import Decision, Write


@dataclass(frozen=True)
class MemoryLimits:
    """How many frames before the current one a model attends to, and how many conditioning frames are kept.

    Memory maps are used from the last `spatial` frames, object pointers from the last `pointers` frames.
    Conditioning frames (frames with a box) are used at any distance: the first one and the newest ones are
    kept. SAM 2 itself keeps all of them.
    """

    spatial: int
    pointers: int
    conditioning_frames: int = 4

    @classmethod
    def of(cls, config: Any) -> "MemoryLimits":
        """The limits that follow from a model's configuration."""
        # `num_maskmem` (7 in the published sizes) includes the map of a conditioning frame, and pointers are
        # taken from distances below `max_object_pointers_in_encoder` (16).
        return cls(config.num_maskmem - 1, config.max_object_pointers_in_encoder - 1)


@dataclass(frozen=True, eq=False)
class FrameMemory:
    """The memory of one frame, for a batch of B targets.

    `pointer` (B, 1, hidden) is the object pointer. `memory_map` is None when the frame is too old for its map
    to be attended to.
    """

    pointer: torch.Tensor
    memory_map: MemoryMap | None

    @property
    def features(self) -> torch.Tensor | None:
        """The memory map in bfloat16, row-major over the coarsest feature map: (height·width, B, channels).

        EdgeTAM compresses the map to tokens: (B, tokens, channels) in the model's dtype.
        """
        return None if self.memory_map is None else self.memory_map.features


FrameMemories = tuple[tuple[int, FrameMemory], ...]


@dataclass(frozen=True, eq=False)
class MemoryBank:
    """Memories of frames with their clock readings, the oldest first; `clock` is the reading at the newest
    frame.

    `position` is the position encoding of a memory map, of the shape of a map; it is the same for all frames.
    `policy_state` is what the memory policy knows of the frames since the last box.
    """

    limits: MemoryLimits
    position: torch.Tensor
    clock: int
    conditioning_frames: FrameMemories
    recent_frames: FrameMemories = ()
    policy_state: Any = None

    @property
    def num_targets(self) -> int:
        """The number of targets B. In training a bank is that of a batch, in inference that of one target."""
        return len(self.conditioning_frames[0][1].pointer)

    @classmethod
    def start(cls, limits: MemoryLimits, position: torch.Tensor, frame_memory: FrameMemory) -> "MemoryBank":
        """A new memory bank; its first frame, at clock 0, is a conditioning frame."""
        return cls(limits, position, 0, ((0, frame_memory),))

    def skip_frame(self) -> "MemoryBank":
        """The memory bank one frame later, without a memory of that frame."""
        now = self.clock + 1
        return replace(self, clock=now, recent_frames=self._within_reach(now, self.recent_frames))

    def with_frame(self, frame_memory: FrameMemory) -> "MemoryBank":
        """The memory bank one frame later, with the memory of that frame."""
        now = self.clock + 1
        recent = self._within_reach(now, (*self.recent_frames, (now, frame_memory)))
        return replace(self, clock=now, recent_frames=recent)

    def with_conditioning_frame(self, frame_memory: FrameMemory) -> "MemoryBank":
        """The memory bank one frame later, where that frame had a box of its own."""
        now = self.clock + 1
        return replace(
            self,
            clock=now,
            conditioning_frames=self._conditioning_frames_with(now, frame_memory),
            recent_frames=self._within_reach(now, self.recent_frames),
            policy_state=None,
        )

    def with_decision(self, decision: Decision, frame_memory: FrameMemory) -> "MemoryBank":
        """The memory bank after a propagated frame, of which a memory policy has decided."""
        bank = replace(self, policy_state=decision.state)
        if decision.write is Write.RECENT:
            return bank.with_frame(frame_memory)
        if decision.write is Write.REPLACE:
            return replace(bank, recent_frames=(*self.recent_frames[:-1], (self.clock, frame_memory)))
        if decision.write is Write.ANCHOR:
            return bank._with_anchor(frame_memory)
        return bank

    def _with_anchor(self, frame_memory: FrameMemory) -> "MemoryBank":
        now = self.clock + 1
        return replace(
            self,
            clock=now,
            conditioning_frames=self._conditioning_frames_with(now, frame_memory),
            # They do not become older, as the anchor does not take the place of one of them.
            recent_frames=tuple((time + 1, each) for time, each in self.recent_frames),
        )

    def _conditioning_frames_with(self, now: int, frame_memory: FrameMemory) -> FrameMemories:
        # The first conditioning frame is the most reliable one, and the newest ones show the present look of
        # the target. So the first is always kept, and the oldest of the others is removed.
        num_others = self.limits.conditioning_frames - 2
        others = self.conditioning_frames[1:][-num_others:] if num_others > 0 else ()
        return (self.conditioning_frames[0], *others, (now, frame_memory))

    def _within_reach(self, now: int, frames: FrameMemories) -> FrameMemories:
        """The part of `frames` that the model can still attend to at frame `now + 1` or later."""
        # At frame `now + 1` a memory is one frame older than it is now: hence `<` below and not `<=`.
        reach = max(self.limits.spatial, self.limits.pointers)
        return tuple(
            # Pointers are attended to over more frames than maps. A map is large, so it is removed as soon as
            # it is out of reach, while the pointer is kept.
            (time, each if now - time < self.limits.spatial else replace(each, memory_map=None))
            for time, each in frames
            if now - time < reach
        )

    @property
    def maps(self) -> list[MemoryMap]:
        """The memory maps that the model can still attend to."""
        frames = (*self.conditioning_frames, *self.recent_frames)
        return [each.memory_map for _, each in frames if each.memory_map is not None]

    def session(self) -> Sam2VideoInferenceSession:
        """The memory bank as an inference session of transformers with a single object, whose index is 0.

        Only the parts of a session that memory attention reads are filled.
        """
        session = Sam2VideoInferenceSession()
        # A session keeps the outputs of frames by object and clock reading.
        outputs = session.output_dict_per_obj[session.obj_id_to_idx(0)]
        outputs["cond_frame_outputs"].update(self._as_outputs(self.conditioning_frames))
        outputs["non_cond_frame_outputs"].update(self._as_outputs(self.recent_frames))
        return session

    def _as_outputs(self, frames: FrameMemories) -> dict[int, dict[str, Any]]:
        return {
            time: {
                "maskmem_features": each.features,
                "memory_map": each.memory_map,  # not of the library, which hands it on
                "maskmem_pos_enc": self.position,
                "object_pointer": each.pointer,
            }
            for time, each in frames
        }
