"""What a memory policy is: it decides what a propagated frame leaves in the memory of a target.

A policy sees numbers and masks on the host, never tensors, and its state is a value that lies in the memory
bank. So a memory stays a value, and the same policy serves SAM 2, EdgeTAM and the tracker of SAM 3.

A policy is a frozen dataclass in a file of this package. Its fields are declared with `configs.schema.key`,
and `register_memory_policy` gives it its name.
"""

import dataclasses
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

import numpy as np

from data_prep.geometry import Box, box_of_mask


@dataclass(frozen=True, eq=False)
class Candidates:
    """What the mask decoder found of one target in a propagated frame.

    `is_present` says whether the logit of the object score is above 0; `object_score` is its probability.
    `ious` (M,) are the predicted IoUs of the M masks of the target, 3 in the published models. `masks` are
    bool (M, height, width) at the resolution of the decoder, in which a frame is resized to a square. They
    are None for a policy without `needs_masks`.
    """

    is_present: bool
    object_score: float
    ious: np.ndarray
    masks: np.ndarray | None = None

    @property
    def best(self) -> int:
        """The index of the mask with the highest predicted IoU, which SAM 2 chooses."""
        return int(self.ious.argmax())

    def box(self, index: int) -> Box | None:
        """The box of a mask, in pixels of the mask; None where the target or the mask is absent."""
        assert self.masks is not None
        return box_of_mask(self.masks[index]) if self.is_present else None


class Write(Enum):
    """What a frame leaves in the memory."""

    RECENT = "it is the newest of the recent frames"
    REPLACE = "it is the newest of the recent frames, in place of the one that was"
    ANCHOR = "it is kept like a frame with a box, and the recent frames stay as they are"
    NOTHING = "the memory stays as it is, and its clock too, so that no frame of it becomes older"


@dataclass(frozen=True)
class Decision:
    """What a policy decides: what is written, its new state, and the index of the mask that is the result.

    The index is read of policies with `chooses_masks`; of others the result is `Candidates.best`.
    """

    write: Write
    state: Any = None
    chosen: int = 0


WRITTEN = Decision(Write.RECENT)
"""The decision about every frame in SAM 2."""


@dataclass(frozen=True)
class MemoryPolicy:
    """The base class of policies, whose fields are their settings."""

    name: ClassVar[str] = ""  # set by `register_memory_policy`
    decides: ClassVar[bool] = True  # False: every decision is `WRITTEN`, and `decide` is not called
    needs_masks: ClassVar[bool] = False  # whether `Candidates.masks` is given
    chooses_masks: ClassVar[bool] = (
        False  # whether `Decision.chosen` may be another one than `Candidates.best`
    )

    def decide(self, state: Any, candidates: Candidates) -> Decision:
        """The decision about the next frame. `state` is that of the last decision, or None after a box."""
        raise NotImplementedError

    def identity(self) -> dict[str, Any]:
        """What the memories depend on, for the identity of a mask head."""
        return {"policy": self.name, **dataclasses.asdict(self)}
