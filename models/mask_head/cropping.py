"""Masks from crops around the target: a wrapper around any mask head.

A mask head resizes a frame to a fixed size (1024 × 1024 pixels in SAM 2), so a small target is only a few
cells of its mask decoder. `CroppingMaskHead` cuts a square around a box out of the frame, and segments the
box in it, where the target is larger. A small propagated mask is made again in the same way from its own
box. The memory comes from the whole frame, as without crops, so where the target is and whether it is there
are decided as without them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from data_prep.geometry import Box, Size, box_of_mask, mask_iou
from models.interfaces import FrameFeatures, Identity, Masking, MaskResult, TargetMemory

CONTEXT = 3.0  # side of a crop, in longer sides of the box
SMALLEST_CONTEXT = 1.25  # with `all`: the smallest one
# Sides of crops as shares of the shorter side of the frame. Smaller crops would be enlarged beyond what the
# frame resolves. With `small`, larger ones would enlarge a target too little to be worth their time.
SMALLEST, LARGEST = 0.25, 0.75
# IoU of a propagated mask with that of its box in the crop from which both show the same target.
MIN_AGREEMENT = 0.6


@dataclass(frozen=True, eq=False)
class FrameAndFeatures:
    """A frame, RGB uint8 (height, width, 3), and the features that the mask head computed of it."""

    image: np.ndarray
    features: FrameFeatures


class CroppingMaskHead:
    """A mask head that makes masks from crops: of small targets, or of all. Implements `Masking`."""

    def __init__(self, head: Masking, crop: str = "small") -> None:
        """`crop` is `small` or `all`."""
        self.head, self.crop = head, crop

    def identity(self) -> Identity:
        """The identity of the wrapped mask head, and which targets are cropped."""
        return {**self.head.identity(), "crop": self.crop}

    def encode(self, frame: np.ndarray) -> FrameAndFeatures:
        """The features of the whole frame; those of crops are computed by `segment`."""
        return FrameAndFeatures(frame, self.head.encode(frame))

    def segment(
        self,
        features: FrameAndFeatures,
        boxes_xyxy: Sequence[Box],
        memories: Sequence[TargetMemory | None],
    ) -> list[MaskResult]:
        """As `Masking.segment`; the mask, the object score and the IoU are those of a crop."""
        results = self.head.segment(features.features, boxes_xyxy, memories)
        found = (self._in_crop(features.image, box, self.crop == "all") for box in boxes_xyxy)
        # A crop without a mask says less than the whole frame, which shows more of the surroundings.
        return [
            whole if crop is None else replace(crop, memory=whole.memory)
            for whole, crop in zip(results, found, strict=True)
        ]

    def propagate(self, memories: Sequence[TargetMemory], features: FrameAndFeatures) -> list[MaskResult]:
        """As `Masking.propagate`; the mask and the IoU of a small target are those of a crop where both masks
        agree.
        """
        return [
            self._refined(features.image, whole) for whole in self.head.propagate(memories, features.features)
        ]

    def _refined(self, image: np.ndarray, whole: MaskResult) -> MaskResult:
        """A propagated result with the mask of its box in a crop, if it is small.

        On large targets the memory, which the crop does not have, is worth more than the crop's resolution.
        """
        box = None if whole.mask is None else box_of_mask(whole.mask)
        crop = None if box is None else self._in_crop(image, box, of_any_size=False)
        if crop is None or mask_iou(whole.mask, crop.mask) < MIN_AGREEMENT:
            return whole
        # Whether the target is there is known from the memory, which the crop does not have.
        return replace(whole, mask=crop.mask, iou=crop.iou)

    def _in_crop(self, image: np.ndarray, box_xyxy: Box, of_any_size: bool) -> MaskResult | None:
        """The result of a box in a crop around it, with the mask in pixels of the frame.

        None where the target is not cropped, and where the crop shows none.
        """
        height, width = image.shape[:2]
        crop = square_around(box_xyxy, (width, height), of_any_size)
        if crop is None:
            return None
        left, top, right, bottom = crop
        x1, y1, x2, y2 = box_xyxy
        features = self.head.encode(np.ascontiguousarray(image[top:bottom, left:right]))
        (found,) = self.head.segment(features, [(x1 - left, y1 - top, x2 - left, y2 - top)], [None])
        if found.mask is None:
            return None
        mask = np.zeros((height, width), bool)
        mask[top:bottom, left:right] = found.mask
        return replace(found, mask=mask)


def square_around(
    box_xyxy: Box, frame_size: Size, of_any_size: bool = False
) -> tuple[int, int, int, int] | None:
    """The square inside the frame (width, height) from which the mask of a box is made, in whole pixels xyxy.

    None where the box is too large to gain from a crop, or, with `of_any_size`, does not fit into one.
    """
    x1, y1, x2, y2 = box_xyxy
    longer, shorter_side = max(x2 - x1, y2 - y1), min(frame_size)
    side = CONTEXT * longer
    if of_any_size:
        if longer * SMALLEST_CONTEXT > shorter_side:
            return None
        side = min(side, shorter_side)
    elif side > LARGEST * shorter_side:
        return None
    length = round(max(side, SMALLEST * shorter_side))
    # Centred on the box, and moved into the frame where it would leave it.
    left, top = (
        min(max(0, round(center - length / 2)), limit - length)
        for center, limit in zip(((x1 + x2) / 2, (y1 + y2) / 2), frame_size, strict=True)
    )
    return left, top, left + length, top + length
