"""SAM 2's forward pass in parts: image encoder, memory attention, mask decoder, memory encoder.

Tracking and training call the same functions, so a model is trained on what it does when it tracks. They
are composed of the modules of transformers' `Sam2VideoModel`. The library's own forward pass serves one
target at a time and overwrites the mask logits of a target that it takes for absent, which stops their
gradient. For one target the results are the same bit for bit.

Legend of shapes: B images or targets in a batch, P boxes an image, M masks a box, C channels,
S the side of the square image in pixels, L tokens of a feature map (row-major).
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from transformers import Sam2VideoModel

from models.mask_head.memory_bank import FrameMemory, MemoryBank, MemoryLimits
from models.mask_head.sam2_model import config_of, image_side

ABSENT_LOGIT = -1024.0  # what SAM 2 writes into the mask of an absent target
BOX_CORNERS = (2, 3)  # SAM 2's point labels of a box's left top and right bottom corner
NO_POINT = -1


@dataclass(frozen=True, eq=False)
class VisionFeatures:
    """Features of B images, finest level first: `levels` and their position encodings, (L, B, C) each."""

    levels: tuple[torch.Tensor, ...]
    positions: tuple[torch.Tensor, ...]

    def repeated(self, times: int) -> "VisionFeatures":
        """Each image `times` times in a row, for that many targets in it."""
        levels, positions = (
            tuple(level.repeat_interleave(times, dim=1) for level in group)
            for group in (self.levels, self.positions)
        )
        return VisionFeatures(levels, positions)


@dataclass(frozen=True, eq=False)
class MaskDecoderOutput:
    """The output of the mask decoder for N = B·P targets, before absent targets lose their masks.

    `logits` (N, M, S/4, S/4) of the masks; `ious` (N, M) predicted IoU of each mask; `score` (N,) object
    score logit; `tokens` (N, M or 1, C) mask tokens, one for each mask or one for all.
    """

    logits: torch.Tensor
    ious: torch.Tensor
    score: torch.Tensor
    tokens: torch.Tensor

    def best(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The mask of highest predicted IoU of each target: logits (N, S/4, S/4), iou (N,), token (N, C)."""
        best = self.ious.argmax(dim=-1)
        rows = torch.arange(len(best), device=best.device)
        token = self.tokens[rows, best] if self.tokens.shape[1] > 1 else self.tokens[:, 0]
        return self.logits[rows, best], self.ious[rows, best], token

    def gated(self) -> torch.Tensor:
        """The best masks' logits (N, S/4, S/4), `ABSENT_LOGIT` where the object score says absent."""
        return torch.where((self.score > 0)[:, None, None], self.best()[0], ABSENT_LOGIT)


def encode_images(model: Sam2VideoModel, pixels: torch.Tensor) -> VisionFeatures:
    """Features of normalised images (B, 3, S, S)."""
    output = model.get_image_features(pixels, return_dict=True)
    return VisionFeatures(tuple(output.fpn_hidden_states), tuple(output.fpn_position_encoding))


def add_no_memory_embedding(model: Sam2VideoModel, vision: VisionFeatures) -> torch.Tensor:
    """The coarsest features as SAM 2 gives them to the decoder on a frame with a box: (B, C, S/16, S/16)."""
    return _as_map(model, vision.levels[-1] + model.no_memory_embedding, level=-1)


def condition_on_memory(model: Sam2VideoModel, vision: VisionFeatures, memory: MemoryBank) -> torch.Tensor:
    """The coarsest features after memory attention, for the frame after the memory's: (B, C, S/16, S/16)."""
    current, now = vision.levels[-1], memory.clock + 1  # current: (L, B, C)
    session, device = memory.session(), current.device
    # 1. Memory maps of the conditioning frames and of the recent frames, with position encodings that
    #    include how many frames ago each one was.
    frames = model._gather_memory_frame_outputs(session, 0, now)
    maps, map_positions = model._build_memory_attention_inputs(frames, device)
    # 2. Object pointers, which reach further back than the maps, as tokens of the memory's width.
    offsets, pointers, most = model._get_object_pointers(session, 0, now, 0, device, streaming=True)
    tokens, token_positions = model._process_object_pointers(
        offsets, pointers, most, current.shape[1], model.hidden_dim, device
    )
    # 3. The current frame attends to all of them. (`posision` is how transformers spells it.)
    conditioned = model.memory_attention(
        current_vision_features=current,
        current_vision_position_embeddings=vision.positions[-1],
        memory=torch.cat([*maps, tokens]).to(current.dtype),
        memory_posision_embeddings=torch.cat([*map_positions, token_positions]),
        num_object_pointer_tokens=len(tokens),
    )  # (1, B, L, C)
    return _as_map(model, conditioned.squeeze(0).transpose(0, 1), level=-1)


def decode_masks(
    model: Sam2VideoModel, vision: VisionFeatures, coarse: torch.Tensor, boxes_resized: torch.Tensor | None
) -> MaskDecoderOutput:
    """Run the prompt encoder and the mask decoder.

    `coarse` (B, C, S/16, S/16) comes from `add_no_memory_embedding` or `condition_on_memory`.
    `boxes_resized` (B, P, 4) are xyxy in pixels of the square image. None asks for the target that the memory
    holds (P = 1).
    """
    points, labels = _box_points(boxes_resized, coarse)
    sparse, dense = model.prompt_encoder(points, labels, None, None)
    prompt = None if boxes_resized is None else {"point_labels": labels}
    fine = [_as_map(model, level, index) for index, level in enumerate(vision.levels[:-1])]
    logits, ious, tokens, score = model.mask_decoder(
        image_embeddings=coarse,
        image_positional_embeddings=model.get_image_wide_positional_embeddings().repeat(len(coarse), 1, 1, 1),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=model._use_multimask(boxes_resized is not None, prompt),
        high_resolution_features=fine,
    )  # (B, P, …) each
    return MaskDecoderOutput(logits.flatten(0, 1), ious.flatten(0, 1), score.flatten(), tokens.flatten(0, 1))


def encode_memory(
    model: Sam2VideoModel, vision: VisionFeatures, decoded: MaskDecoderOutput, had_box: bool
) -> tuple[FrameMemory, torch.Tensor]:
    """The memory of a frame for B targets (one an image), and the position encoding of its memory map.

    An absent target is encoded too, as SAM 2 does it: an empty mask, the learned embedding of absence on the
    map, and the learned pointer of no object.
    """
    gated = decoded.gated()  # (B, S/4, S/4)
    side = image_side(config_of(model))
    mask = F.interpolate(gated[:, None].float(), (side, side), mode="bilinear", align_corners=False)
    encoded: Any = model._encode_new_memory(
        current_vision_feats=vision.levels[-1],
        pred_masks_high_res=mask.to(gated.dtype),  # (B, 1, S, S)
        object_score_logits=decoded.score[:, None, None],
        is_mask_from_pts=had_box,
    )
    features, position = encoded  # transformers annotates `position` as a list
    return FrameMemory(_object_pointer(model, decoded), features), position


def start_memory(model: Sam2VideoModel, vision: VisionFeatures, decoded: MaskDecoderOutput) -> MemoryBank:
    """A new memory bank of B targets from the first frame, whose masks were decoded from boxes."""
    frame_memory, position = encode_memory(model, vision, decoded, had_box=True)
    return MemoryBank.start(MemoryLimits.of(config_of(model)), position, frame_memory)


def _object_pointer(model: Sam2VideoModel, decoded: MaskDecoderOutput) -> torch.Tensor:
    """The target's token for later frames, (B, 1, C)."""
    pointer = model.object_pointer_proj(decoded.best()[2])
    present = (decoded.score > 0).to(pointer.dtype)[:, None]
    return (present * pointer + (1 - present) * model.no_object_pointer)[:, None]


def _box_points(boxes: torch.Tensor | None, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (B, P, 2, 2) and labels of boxes; without boxes one point (B, 1, 1, 2) that is none."""
    if boxes is None:
        points = torch.zeros(len(like), 1, 1, 2, dtype=like.dtype, device=like.device)
        return points, torch.full(points.shape[:3], NO_POINT, dtype=torch.int32, device=like.device)
    points = boxes.unflatten(-1, (2, 2))
    return points, torch.tensor(BOX_CORNERS, dtype=torch.int32, device=like.device).expand(points.shape[:3])


def _as_map(model: Sam2VideoModel, tokens: torch.Tensor, level: int) -> torch.Tensor:
    """(L, B, C) to (B, C, height, width)."""
    return tokens.permute(1, 2, 0).unflatten(-1, tuple(model.backbone_feature_sizes[level]))
