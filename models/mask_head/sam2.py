"""SAM 2 as the mask head: a box becomes a mask, and the mask is propagated from frame to frame.

Frames are numpy arrays; boxes and masks are in pixels of the frame. A frame is encoded once for all its
targets. The memory of a target is a `MemoryBank`, a value that no call changes. What a frame adds to it is
encoded when a later frame first needs it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch

from data_prep.geometry import Box, Size
from models.checkpoint import check_finite
from models.identity import checkpoint_identity
from models.interfaces import Identity, MaskResult
from models.kernels.sam2 import apply_fast_kernels
from models.mask_head.checkpoint_checks import KEY
from models.mask_head.checkpoints import Architecture, image_side, load_model
from models.mask_head.mask_decoder import FrameMaskDecoder
from models.mask_head.memory_attention import MemoryAttention
from models.mask_head.memory_bank import MemoryBank, MemoryLimits
from models.mask_head.memory_encoder import MemoryEncoder
from models.mask_head.memory_map import encode_maps
from models.mask_head.memory_policies.plain import Plain
from models.mask_head.memory_policies.policy import MemoryPolicy
from models.mask_head.policy_decisions import decide
from models.mask_head.sam2_forward import (
    MaskDecoderOutput,
    VideoModel,
    VisionFeatures,
    add_no_memory_embedding,
    as_map,
    decode_masks,
    encode_images,
    uses_cpu_operations,
)
from models.mask_head.sam2_model import SAM2

# Targets in one batch; more than these are processed in several. The memory of a batch on the device grows
# with it (about 200 MB a target in float32 with SAM 2.1 large), and a GPU is busy with this many.
MOST_TARGETS = 8


@dataclass(frozen=True, eq=False)
class Features:
    """The image features of one frame; `frame_size` is (width, height) of the frame in pixels."""

    vision: VisionFeatures
    frame_size: Size


class MaskHead:
    """SAM 2 (Ravi et al. 2024, https://arxiv.org/abs/2408.00714) with memories as values.

    Implements `models.interfaces.Masking`; `checkpoint` is the name of the weights. A model of the same
    design is a subclass with another `architecture` (`models.mask_head.edgetam`). `memory_policy` decides
    which frames the memories keep; it is set before the first frame.
    """

    architecture: ClassVar[Architecture] = SAM2

    def __init__(self, model: VideoModel, processor: Any, checkpoint: str = "") -> None:
        self.model: Any = model
        self.processor = processor
        self.checkpoint = checkpoint
        self.memory_policy: MemoryPolicy = Plain()
        self.mask_decoder = FrameMaskDecoder(model)
        self.memory_attention = MemoryAttention(model, self.architecture.compresses_maps)
        self.memory_encoder = MemoryEncoder(model, self.architecture.compresses_maps)

    @classmethod
    def load(cls, checkpoint: str, device: torch.device, dtype: torch.dtype = torch.float32) -> Self:
        """Load a local folder or a hub id, and apply the fast kernels.

        Raises UserError for a checkpoint that this mask head does not read (`checkpoints.load_model`).
        """
        model, processor = load_model(checkpoint, cls.architecture, dtype, device)
        apply_fast_kernels(model)
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
        """What the masks depend on: the weights (`checkpoint`), `dtype`, and a `memory` that is not plain."""
        commit = getattr(self.model.config, "_commit_hash", None)
        weights = checkpoint_identity(self.checkpoint, commit)
        return {"checkpoint": weights, "dtype": str(self.dtype), **self._memory_identity()}

    def _memory_identity(self) -> Identity:
        """The memory policy and its numbers; nothing for `plain`, so that earlier results can be kept."""
        policy = self.memory_policy
        return {"memory": policy.identity()} if policy.decides else {}

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
        results: list[MaskResult] = []
        for part in _parts(len(boxes_xyxy)):
            results += self._segment(features, boxes_xyxy[part], memories[part])
        return results

    def _segment(
        self, features: Features, boxes_xyxy: Sequence[Box], memories: Sequence[MemoryBank | None]
    ) -> list[MaskResult]:
        vision = features.vision
        # 1. Encode what earlier frames have left: a memory never holds the features of more than one frame.
        encode_maps(each for bank in memories if bank is not None for each in bank.maps)
        # 2. The masks of N boxes in one image.
        boxes_resized = self._resized(boxes_xyxy, features.frame_size)
        if uses_cpu_operations(self.model):
            coarse = vision.levels[-1] + self.model.no_memory_embedding  # (L, 1, C)
            decoded = self.mask_decoder(vision, coarse.transpose(0, 1), boxes_resized[0])
        else:
            image = add_no_memory_embedding(self.model, vision)
            decoded = decode_masks(self.model, vision, image, boxes_resized)
        # 3. The memories of the frame, each of which starts a memory bank or is added to one.
        frame_memories = self.memory_encoder.frame_memories(vision, decoded, had_box=True)
        limits, position = MemoryLimits.of(self.model.config), self.memory_encoder.position
        banks = [
            MemoryBank.start(limits, position, each) if bank is None else bank.with_conditioning_frame(each)
            for bank, each in zip(memories, frame_memories, strict=True)
        ]
        return self._results(features, decoded, banks)

    @torch.inference_mode()
    def propagate(self, memories: Sequence[MemoryBank], features: Features) -> list[MaskResult]:
        """Propagate targets to the next frame; the memory of each result includes that frame.

        Unless the `memory_policy` is plain, it decides what the frame leaves in the memory.

        A caller that does not want this frame in a memory uses `memory.skip_frame()` for the next frame, or
        `memory` itself. With `memory` itself the clock does not advance, so the newest memories stay within
        reach however long the target is absent.
        """
        results: list[MaskResult] = []
        for part in _parts(len(memories)):
            results += self._propagate(memories[part], features)
        return results

    def _propagate(self, memories: Sequence[MemoryBank], features: Features) -> list[MaskResult]:
        vision = features.vision
        encode_maps(each for bank in memories for each in bank.maps)
        coarse = self.memory_attention(vision, memories)  # (N, L, C)
        if uses_cpu_operations(self.model):
            decoded = self.mask_decoder(vision, coarse, boxes_resized=None)
        else:
            image = as_map(self.model, coarse.transpose(0, 1), level=-1)
            decoded = decode_masks(self.model, vision.expanded(len(memories)), image, boxes_resized=None)
        # The policy may choose another mask than the one with the highest predicted IoU.
        decoded, decisions = decide(self.memory_policy, decoded, memories)
        frame_memories = self.memory_encoder.frame_memories(vision, decoded, had_box=False)
        banks = [
            bank.with_decision(decision, each)
            for bank, decision, each in zip(memories, decisions, frame_memories, strict=True)
        ]
        return self._results(features, decoded, banks)

    def _resized(self, boxes_xyxy: Sequence[Box], frame_size: Size) -> torch.Tensor:
        """N boxes in pixels of the frame as (1, N, 4) in pixels of the square image.

        In float32 from the start, as the library's processor does it: equal to the last bit.
        """
        width, height = (self.image_side / side for side in frame_size)
        boxes = torch.tensor([[*boxes_xyxy]], dtype=torch.float32, device=self.model.device)
        return boxes * boxes.new_tensor([width, height, width, height])

    def _results(
        self, features: Any, decoded: MaskDecoderOutput, memories: Sequence[MemoryBank]
    ) -> list[MaskResult]:
        """The results of N targets. Raises NotFiniteError where the model returned NaN or infinity."""
        best, ious, _ = decoded.best()
        # 1. Transfer all numbers of all targets from the GPU at once, and check them. The sum of the mask
        #    logits is finite only if all of them are.
        scores = decoded.score.float()
        numbers = torch.stack([scores, scores.sigmoid(), ious.float(), best.float().sum((1, 2))])  # (4, N)
        logits, object_scores, predicted_ious, mask_sums = numbers.tolist()
        for what, values in (("object score", logits), ("IoU", predicted_ious), ("mask", mask_sums)):
            check_finite(KEY, self.checkpoint, self.dtype, what, values)
        # 2. SAM 2 takes a target for absent where the logit of its object score is not above 0. The masks of
        #    the others are transferred together.
        present = [index for index, logit in enumerate(logits) if logit > 0]
        masks: list[np.ndarray | None] = [None] * len(best)
        if present:
            shown = best if len(present) == len(best) else best[present]
            for index, mask in zip(present, self._masks(shown, features.frame_size), strict=True):
                masks[index] = mask if mask.any() else None
        of_targets = zip(masks, object_scores, predicted_ious, memories, strict=True)
        return [MaskResult(*each) for each in of_targets]

    def _masks(self, logits: torch.Tensor, frame_size: Size) -> np.ndarray:
        """The masks of logits (N, S/4, S/4) at the size of the frame: bool (N, height, width)."""
        width, height = frame_size
        # Upsampled and thresholded at 0 on the device: (N, S/4, S/4) -> (N, 1, height, width).
        upsampled = self.processor.post_process_masks(
            [logits[:, None].float()], [[height, width]], binarize=False
        )[0][:, 0]
        if upsampled.device.type == "cpu":
            return upsampled.numpy() > 0  # four times as fast as torch
        found: np.ndarray = (upsampled > 0).cpu().numpy()
        return found


def _parts(count: int) -> Iterator[slice]:
    """Slices of at most `MOST_TARGETS` that cover `count` targets."""
    return (slice(start, start + MOST_TARGETS) for start in range(0, count, MOST_TARGETS))
