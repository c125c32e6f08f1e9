"""The steps of SAM 2 on tensors: see an image, recall a memory, outline, remember.

Tracking and training share them, so a net is trained on what it will do. They are put together
from the parts of transformers' `Sam2VideoModel`, whose own step serves one target at a time and
hides the mask's logits where it believes the target absent, so that no gradient reaches them; for
one target the results are the same bit for bit.

Legend of shapes: B images or targets in a batch, P boxes an image, M masks a box, C channels,
S the side of the square image in pixels, L tokens of a feature map (row-major).
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from transformers import Sam2VideoModel

from models.mask_memory import Limits, Memory, Moment
from models.sam2 import config_of, image_side

ABSENT_LOGIT = -1024.0  # what SAM 2 writes into the mask of an absent target
BOX_CORNERS = (2, 3)  # SAM 2's point labels of a box's left top and right bottom corner
NO_POINT = -1


@dataclass(frozen=True, eq=False)
class Vision:
    """Image features of B images, finest level first: `levels` and their position codes, (L, B, C)."""

    levels: tuple[torch.Tensor, ...]
    positions: tuple[torch.Tensor, ...]

    def repeated(self, times: int) -> "Vision":
        """Each image `times` times in a row, for that many targets in it."""
        levels, positions = (
            tuple(level.repeat_interleave(times, dim=1) for level in group)
            for group in (self.levels, self.positions)
        )
        return Vision(levels, positions)


@dataclass(frozen=True, eq=False)
class Outline:
    """What the mask decoder says of N = B·P targets, before anything is called absent.

    `logits` (N, M, S/4, S/4) of the masks; `ious` (N, M) predicted; `score` (N,) logit of the
    target being there; `tokens` (N, M or 1, C), one for each mask or one for all.
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
        """The best masks' logits (N, S/4, S/4), forced far below zero where the score says absent."""
        return torch.where((self.score > 0)[:, None, None], self.best()[0], ABSENT_LOGIT)


def see(model: Sam2VideoModel, pixels: torch.Tensor) -> Vision:
    """Image features of normalised images (B, 3, S, S)."""
    seen = model.get_image_features(pixels, return_dict=True)
    return Vision(tuple(seen.fpn_hidden_states), tuple(seen.fpn_position_encoding))


def without_memory(model: Sam2VideoModel, vision: Vision) -> torch.Tensor:
    """The coarsest features as SAM 2 feeds them to the decoder on a frame with a box: (B, C, S/16, S/16)."""
    return _as_map(model, vision.levels[-1] + model.no_memory_embedding, level=-1)


def recall(model: Sam2VideoModel, vision: Vision, memory: Memory) -> torch.Tensor:
    """The coarsest features conditioned on B targets' memories, for the next frame: (B, C, S/16, S/16)."""
    current, now = vision.levels[-1], memory.clock + 1
    session, device = memory.session(), current.device
    frames = model._gather_memory_frame_outputs(session, 0, now)
    maps, codes = model._build_memory_attention_inputs(frames, device)
    offsets, pointers, most = model._get_object_pointers(session, 0, now, 0, device, streaming=True)
    tokens, token_codes = model._process_object_pointers(
        offsets, pointers, most, current.shape[1], model.hidden_dim, device
    )
    conditioned = model.memory_attention(
        current_vision_features=current,
        current_vision_position_embeddings=vision.positions[-1],
        memory=torch.cat([*maps, tokens]).to(current.dtype),
        memory_posision_embeddings=torch.cat([*codes, token_codes]),
        num_object_pointer_tokens=len(tokens),
    )  # (1, B, L, C)
    return _as_map(model, conditioned.squeeze(0).transpose(0, 1), level=-1)


def outline(
    model: Sam2VideoModel, vision: Vision, coarse: torch.Tensor, boxes_resized: torch.Tensor | None
) -> Outline:
    """Ask the mask decoder for targets.

    `coarse` (B, C, S/16, S/16) comes from `without_memory` or `recall`; `boxes_resized` (B, P, 4)
    are xyxy in pixels of the square image; None asks for the target that the memory means (P = 1).
    """
    points, labels = _prompt(boxes_resized, coarse)
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
    )
    return Outline(logits.flatten(0, 1), ious.flatten(0, 1), score.flatten(), tokens.flatten(0, 1))


def remember(
    model: Sam2VideoModel, vision: Vision, outlined: Outline, had_box: bool
) -> tuple[Moment, torch.Tensor]:
    """What stays of this frame for B targets (one an image), and the position code of the memory map.

    Where the score says absent, SAM 2 remembers that too: an empty mask, its learned mark of
    absence on the map and its learned pointer of no object.
    """
    gated = outlined.gated()
    side = image_side(config_of(model))
    mask = F.interpolate(gated[:, None].float(), (side, side), mode="bilinear", align_corners=False)
    encoded: Any = model._encode_new_memory(
        current_vision_feats=vision.levels[-1],
        pred_masks_high_res=mask.to(gated.dtype),
        object_score_logits=outlined.score[:, None, None],
        is_mask_from_pts=had_box,
    )
    features, position = encoded  # transformers annotates `position` as a list
    return Moment(_pointer(model, outlined), features), position


def begin(model: Sam2VideoModel, vision: Vision, outlined: Outline) -> Memory:
    """A new memory of B targets from their first frame, outlined from boxes."""
    moment, position = remember(model, vision, outlined, had_box=True)
    return Memory.start(Limits.of(config_of(model)), position, moment)


def _pointer(model: Sam2VideoModel, outlined: Outline) -> torch.Tensor:
    """The target's token for later frames, (B, 1, C)."""
    pointer = model.object_pointer_proj(outlined.best()[2])
    there = (outlined.score > 0).to(pointer.dtype)[:, None]
    return (there * pointer + (1 - there) * model.no_object_pointer)[:, None]


def _prompt(boxes: torch.Tensor | None, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (B, P, 2, 2) and labels of boxes; without boxes one point (B, 1, 1, 2) that is none."""
    if boxes is None:
        points = torch.zeros(len(like), 1, 1, 2, dtype=like.dtype, device=like.device)
        return points, torch.full(points.shape[:3], NO_POINT, dtype=torch.int32, device=like.device)
    points = boxes.unflatten(-1, (2, 2))
    return points, torch.tensor(BOX_CORNERS, dtype=torch.int32, device=like.device).expand(points.shape[:3])


def _as_map(model: Sam2VideoModel, tokens: torch.Tensor, level: int) -> torch.Tensor:
    """(L, B, C) to (B, C, height, width)."""
    return tokens.permute(1, 2, 0).unflatten(-1, tuple(model.backbone_feature_sizes[level]))
