"""Masks of small boxes from crops: a wrapper around any mask head.

A mask head resizes a frame to a fixed size (1024 × 1024 pixels in SAM 2), so a small target is only a few
cells of its mask decoder. `CroppingMaskHead` cuts a square around a small box out of the frame, and segments
the box in it, where the target is several times as large. The memory comes from the whole frame, as without
crops, so propagation is unchanged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from data_prep.geometry import Box, Size
from models.interfaces import FrameFeatures, Identity, Masking, MaskResult, TargetMemory

CONTEXT = 4.0  # side of a crop, in longer sides of the box
# Sides of crops as shares of the shorter side of the frame. Smaller crops would be enlarged beyond what the
# frame resolves, and larger ones would enlarge a target too little to be worth their time.
SMALLEST, LARGEST = 0.25, 0.75


@dataclass(frozen=True, eq=False)
class FrameAndFeatures:
    """A frame, RGB uint8 (height, width, 3), and the features that the mask head computed of it."""

    image: np.ndarray
    features: FrameFeatures


class CroppingMaskHead:
    """A mask head whose `segment` makes the masks of small boxes from crops. Implements `Masking`."""

    def __init__(self, head: Masking) -> None:
        self.head = head

    def identity(self) -> Identity:
        """The identity of the wrapped mask head, and that boxes are cropped."""
        return {**self.head.identity(), "crop": True}

    def encode(self, frame: np.ndarray) -> FrameAndFeatures:
        """The features of the whole frame; those of crops are computed by `segment`."""
        return FrameAndFeatures(frame, self.head.encode(frame))

    def segment(
        self,
        features: FrameAndFeatures,
        boxes_xyxy: Sequence[Box],
        memories: Sequence[TargetMemory | None],
    ) -> list[MaskResult]:
        """As `Masking.segment`; the mask, the object score and the IoU of a small box are those of a crop."""
        results = self.head.segment(features.features, boxes_xyxy, memories)
        return [
            self._from_crop(features.image, box, result)
            for box, result in zip(boxes_xyxy, results, strict=True)
        ]

    def propagate(self, memories: Sequence[TargetMemory], features: FrameAndFeatures) -> list[MaskResult]:
        """As `Masking.propagate`, from the whole frame."""
        return self.head.propagate(memories, features.features)

    def _from_crop(self, image: np.ndarray, box_xyxy: Box, whole: MaskResult) -> MaskResult:
        """The result of a box whose result in the whole frame is given, with that one's memory."""
        height, width = image.shape[:2]
        crop = square_around(box_xyxy, (width, height))
        if crop is None:
            return whole
        left, top, right, bottom = crop
        x1, y1, x2, y2 = box_xyxy
        features = self.head.encode(np.ascontiguousarray(image[top:bottom, left:right]))
        (found,) = self.head.segment(features, [(x1 - left, y1 - top, x2 - left, y2 - top)], [None])
        # A crop without a mask says less than the whole frame, which shows more of the surroundings.
        if found.mask is None:
            return whole
        mask = np.zeros((height, width), bool)
        mask[top:bottom, left:right] = found.mask
        return replace(found, mask=mask, memory=whole.memory)


def square_around(box_xyxy: Box, frame_size: Size) -> tuple[int, int, int, int] | None:
    """The square inside the frame (width, height) from which the mask of a box is made, in whole pixels xyxy.

    None where the box is too large to gain from a crop.
    """
    x1, y1, x2, y2 = box_xyxy
    side = CONTEXT * max(x2 - x1, y2 - y1)
    if side > LARGEST * min(frame_size):
        return None
    length = round(max(side, SMALLEST * min(frame_size)))
    # Centred on the box, and moved into the frame where it would leave it.
    left, top = (
        min(max(0, round(center - length / 2)), limit - length)
        for center, limit in zip(((x1 + x2) / 2, (y1 + y2) / 2), frame_size, strict=True)
    )
    return left, top, left + length, top + length
