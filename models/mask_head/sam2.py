"""SAM 2 as the mask head: a box becomes a mask, and the mask is propagated from frame to frame.

Frames are numpy arrays; boxes and masks are in pixels of the frame. A frame is encoded once for all its
targets. The memory of a target is a `MemoryBank`, a value that no call changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch

from data_prep.geometry import Box, Size
from models.checkpoint import check_finite
from models.identity import checkpoint_identity
from models.interfaces import Identity, MaskResult
from models.mask_head.checkpoint_checks import KEY
from models.mask_head.checkpoints import Architecture, image_side, load_model
from models.mask_head.memory_bank import MemoryBank
from models.mask_head.sam2_forward import (
    MaskDecoderOutput,
    VideoModel,
    VisionFeatures,
    add_no_memory_embedding,
    condition_on_memory,
    decode_masks,
    encode_images,
    encode_memory,
    start_memory,
)
from models.mask_head.sam2_model import SAM2


@dataclass(frozen=True, eq=False)
class Features:
    """The image features of one frame; `frame_size` is (width, height) of the frame in pixels."""

    vision: VisionFeatures
    frame_size: Size


class MaskHead:
    """SAM 2 (Ravi et al. 2024, https://arxiv.org/abs/2408.00714) with memories as values.

    Implements `models.interfaces.Masking`; `checkpoint` is the name of the weights. A model of the same
    design is a subclass with another `architecture` (`models.mask_head.edgetam`).
    """

    architecture: ClassVar[Architecture] = SAM2

    def __init__(self, model: VideoModel, processor: Any, checkpoint: str = "") -> None:
        self.model: Any = model
        self.processor = processor
        self.checkpoint = checkpoint

    @classmethod
    def load(cls, checkpoint: str, device: torch.device, dtype: torch.dtype = torch.float32) -> Self:
        """Load a local folder or a hub id.

        Raises UserError for a checkpoint that this mask head does not read (`checkpoints.load_model`).
        """
        model, processor = load_model(checkpoint, cls.architecture, dtype, device)
        return cls(model, processor, checkpoint)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the computation."""
        dtype: torch.dtype = self.model.dtype
        return dtype

    @property
    def image_side(self) -> int:
        """The side in pixels of the square image that a frame is resized to."""
        return image_side(self.model.config)

    def identity(self) -> Identity:
        """What the masks depend on: the weights (`checkpoint`) and `dtype`."""
        commit = getattr(self.model.config, "_commit_hash", None)
        return {"checkpoint": checkpoint_identity(self.checkpoint, commit), "dtype": str(self.dtype)}

    @torch.inference_mode()
    def encode(self, frame: np.ndarray) -> Features:
        """Image features of a frame, RGB uint8 (height, width, 3), once for all its targets."""
        # Resized to a square without keeping the aspect ratio, as in SAM 2, so boxes are scaled by axis.
        pixels = self.processor(frame, return_tensors="pt", device=self.model.device)["pixel_values"]
        return Features(
            encode_images(self.model, pixels.to(self.model.dtype)), (frame.shape[1], frame.shape[0])
        )

    @torch.inference_mode()
    def segment(
        self, features: Features, boxes_xyxy: Sequence[Box], memories: Sequence[MemoryBank | None]
    ) -> list[MaskResult]:
        """The masks of the targets in boxes (pixels of the frame), one box and one memory for each target.

        Where the memory of a target is None, the memory of its result is a new one. With the memory of
        earlier frames, this frame becomes one more conditioning frame of it. The mask itself depends on the
        frame and the box alone.
        """
        return [self._segment(features, *each) for each in zip(boxes_xyxy, memories, strict=True)]

    def _segment(self, features: Features, box_xyxy: Box, memory: MemoryBank | None) -> MaskResult:
        vision = features.vision
        coarse = add_no_memory_embedding(self.model, vision)
        decoded = decode_masks(self.model, vision, coarse, self._resized(box_xyxy, features.frame_size))
        if memory is None:
            return self._result(features, decoded, start_memory(self.model, vision, decoded))
        frame_memory, _ = encode_memory(self.model, vision, decoded, had_box=True)
        return self._result(features, decoded, memory.with_conditioning_frame(frame_memory))

    @torch.inference_mode()
    def propagate(self, memories: Sequence[MemoryBank], features: Features) -> list[MaskResult]:
        """Propagate targets to the next frame; the memory of each result includes that frame.

        A caller that does not want this frame in a memory uses `memory.skip_frame()` for the next frame, or
        `memory` itself. With `memory` itself the clock does not advance, so the newest memories stay within
        reach however long the target is absent.
        """
        return [self._propagate(memory, features) for memory in memories]

    def _propagate(self, memory: MemoryBank, features: Features) -> MaskResult:
        vision = features.vision
        counts_maps = self.architecture.counts_memory_maps
        coarse = condition_on_memory(self.model, vision, memory, counts_maps)
        decoded = decode_masks(self.model, vision, coarse, boxes_resized=None)
        frame_memory, _ = encode_memory(self.model, vision, decoded, had_box=False)
        return self._result(features, decoded, memory.with_frame(frame_memory))

    def _resized(self, box_xyxy: Box, frame_size: Size) -> torch.Tensor:
        """A box in pixels of the frame as (1, 1, 4) in pixels of the square image.

        In float32 from the start, as the library's processor does it: equal to the last bit.
        """
        width, height = (self.image_side / side for side in frame_size)
        box = torch.tensor([[box_xyxy]], dtype=torch.float32, device=self.model.device)
        return box * box.new_tensor([width, height, width, height])

    def _result(self, features: Features, decoded: MaskDecoderOutput, memory: MemoryBank) -> MaskResult:
        """The result of one target. Raises NotFiniteError where the model returned NaN or infinity."""
        # Without a batch: one image, one box, so N = 1.
        best, iou, _ = decoded.best()
        # Transfer all numbers from the GPU at once, and check them. The sum of the mask logits is finite only
        # if all of them are.
        score = decoded.score[0].float()
        numbers = torch.stack([score, score.sigmoid(), iou[0].float(), best.float().sum()])
        logit, object_score, predicted_iou, mask_sum = numbers.tolist()
        for what, value in (("object score", logit), ("IoU", predicted_iou), ("mask", mask_sum)):
            check_finite(KEY, self.checkpoint, self.dtype, what, [value])
        # SAM 2 takes a target for absent where the logit of its object score is not above 0.
        mask = self._mask(features, decoded) if logit > 0 else None
        return MaskResult(mask, object_score, predicted_iou, memory)

    def _mask(self, features: Features, decoded: MaskDecoderOutput) -> np.ndarray | None:
        """The mask at the size of the frame, bool (height, width); None where no pixel is set."""
        width, height = features.frame_size
        # (1, S/4, S/4) -> (1, 1, S/4, S/4), then upsampled to the size of the frame and thresholded at 0.
        logits = decoded.gated()[None].float()
        mask = self.processor.post_process_masks([logits], [[height, width]])[0][0, 0].cpu().numpy()
        return mask if mask.any() else None
