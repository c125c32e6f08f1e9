"""The mask head, SAM 2: a box becomes a mask, and the mask is carried from frame to frame.

Frames come as numpy arrays; boxes and masks are in pixels of the frame. A frame is encoded once
for all its targets. What is known of a target is a `Memory`, a value that no call changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import Sam2ImageProcessor, Sam2VideoModel

from data_prep.geometry import Box, Size
from models.finite import check_finite
from models.mask_memory import Memory
from models.sam2 import config_of, image_side
from models.sam2_checkpoint import KEY, load_sam2
from models.sam2_steps import Outline, Vision, begin, outline, recall, remember, see, without_memory


@dataclass(frozen=True, eq=False)
class Features:
    """What the mask head sees in one frame; `frame_size` is the frame's (width, height) in pixels."""

    vision: Vision
    frame_size: Size


@dataclass(frozen=True, eq=False)
class MaskResult:
    """One target in one frame.

    `mask` is bool (height, width) of the frame, or None where the target is absent: the score
    is below one half or no pixel is set. `object_score` is the probability that the target is
    there, `iou` the mask's predicted IoU, both 0 to 1. `memory` knows of this frame.
    """

    mask: np.ndarray | None
    object_score: float
    iou: float
    memory: Memory


class MaskHead:
    """SAM 2 (Ravi et al. 2024, https://arxiv.org/abs/2408.00714) with memories as values."""

    def __init__(self, model: Sam2VideoModel, processor: Sam2ImageProcessor) -> None:
        self.model = model
        self.processor = processor

    @classmethod
    def load(cls, checkpoint: str, device: torch.device, dtype: torch.dtype = torch.float32) -> "MaskHead":
        """Load a local folder or a hub id; raises UserError where it is no SAM 2 video checkpoint."""
        model, processor = load_sam2(checkpoint, dtype)
        return cls(torch.nn.Module.to(model, device), processor)

    @torch.inference_mode()
    def encode(self, frame: np.ndarray) -> Features:
        """Image features of a frame, RGB uint8 (height, width, 3), once for all its targets."""
        pixels = self.processor(frame, return_tensors="pt", device=self.model.device)["pixel_values"]
        return Features(see(self.model, pixels.to(self.model.dtype)), (frame.shape[1], frame.shape[0]))

    @torch.inference_mode()
    def segment(self, features: Features, box_xyxy: Box, memory: Memory | None = None) -> MaskResult:
        """The mask of what a box (pixels of the frame) holds.

        The result's memory is a new one; or, given one that knows of the frames before, that one
        with this frame as a further anchor. The mask itself depends on frame and box alone.
        """
        coarse = without_memory(self.model, features.vision)
        outlined = outline(self.model, features.vision, coarse, self._resized(box_xyxy, features.frame_size))
        if memory is None:
            return self._result(features, outlined, begin(self.model, features.vision, outlined))
        moment, _ = remember(self.model, features.vision, outlined, had_box=True)
        return self._result(features, outlined, memory.anchored(moment))

    @torch.inference_mode()
    def propagate(self, memory: Memory, features: Features, write: bool = True) -> MaskResult:
        """Carry a target to the next frame.

        The result's memory knows of that frame; with `write=False` nothing of the frame is
        remembered and only the clock moves on, as `memory.advanced()` does for a caller who sees
        the result first. A caller who keeps the old `memory` lets its clock stand still: then
        what was last written stays in reach, however long the target is away.
        """
        outlined = outline(self.model, features.vision, recall(self.model, features.vision, memory), None)
        if not write:
            return self._result(features, outlined, memory.advanced())
        moment, _ = remember(self.model, features.vision, outlined, had_box=False)
        return self._result(features, outlined, memory.written(moment))

    def propagate_many(
        self, memories: Sequence[Memory], features: Features, write: bool = True
    ) -> list[MaskResult]:
        """`propagate` for several targets of one frame, one after the other."""
        return [self.propagate(memory, features, write) for memory in memories]

    def _resized(self, box_xyxy: Box, frame_size: Size) -> torch.Tensor:
        """A box in pixels of the frame as (1, 1, 4) in pixels of the square image.

        In float32 from the start, as the library's processor does it: equal to the last bit.
        """
        width, height = (image_side(config_of(self.model)) / side for side in frame_size)
        box = torch.tensor([[box_xyxy]], dtype=torch.float32, device=self.model.device)
        return box * box.new_tensor([width, height, width, height])

    def _result(self, features: Features, outlined: Outline, memory: Memory) -> MaskResult:
        best, iou, _ = outlined.best()
        # One transfer for all that is asked here, and the one check of what the model returns.
        score = outlined.score[0].float()
        numbers = torch.stack([score, score.sigmoid(), iou[0].float(), best.float().sum()])
        logit, object_score, predicted_iou, whole = numbers.tolist()
        for what, value in (("object score", logit), ("IoU", predicted_iou), ("mask", whole)):
            check_finite(KEY, self.model.name_or_path or "", self.model.dtype, what, [value])
        mask = self._mask(features, outlined) if logit > 0 else None
        return MaskResult(mask, object_score, predicted_iou, memory)

    def _mask(self, features: Features, outlined: Outline) -> np.ndarray | None:
        width, height = features.frame_size
        logits = outlined.gated()[None].float()
        mask = self.processor.post_process_masks([logits], [[height, width]])[0][0, 0].cpu().numpy()
        return mask if mask.any() else None
