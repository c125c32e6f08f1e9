"""The parts of SAM 2's forward pass: image encoder, memory attention, mask decoder, memory encoder.

Tracking and training call the same functions, so a model is trained on the computation that tracks. They are
composed of the modules of transformers' `Sam2VideoModel`. The library's own forward pass processes one target
at a time, and overwrites the mask logits of a target that it predicts to be absent, which stops their
gradient. For one target the results are bit-identical. EdgeTAM and the tracker of SAM 3 have the same parts
under the same names, so the functions serve all three (`VideoModel`).

Shapes: B images or targets in a batch, P boxes in an image, M masks for a box, C channels, S the side of the
square image in pixels, L tokens of a feature map (row-major). S/4 and S/16 are the sides of the finest and
the coarsest map of SAM 2 and EdgeTAM; those of SAM 3's tracker are 2S/7 and S/14.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
import torch.nn.functional as F

from models.mask_head.checkpoints import image_side
from models.mask_head.memory_bank import FrameMemory, MemoryBank, MemoryLimits

if TYPE_CHECKING:  # importing a model's module takes time, and only one of them is needed in a run
    from transformers import EdgeTamVideoModel, Sam2VideoModel, Sam3TrackerVideoModel

VideoModel: TypeAlias = "Sam2VideoModel | EdgeTamVideoModel | Sam3TrackerVideoModel"

ABSENT_LOGIT = -1024.0  # SAM 2 fills the mask of an absent target with it (`NO_OBJ_SCORE` in Meta's code)
BOX_CORNERS = (2, 3)  # SAM 2's point labels of the upper left and the lower right corner of a box
NO_POINT = -1  # label of a padding point


@dataclass(frozen=True, eq=False)
class VisionFeatures:
    """Features of B images, the finest level first: `levels` and their position encodings, (L, B, C) each."""

    levels: tuple[torch.Tensor, ...]
    positions: tuple[torch.Tensor, ...]

    def expanded(self, times: int) -> "VisionFeatures":
        """The features of a single image for `times` targets in it, (L, times, C), without a copy."""
        levels, positions = (
            tuple(level.expand(-1, times, -1) for level in group) for group in (self.levels, self.positions)
        )
        return VisionFeatures(levels, positions)

    def repeated(self, times: int) -> "VisionFeatures":
        """The features with each image repeated, for `times` targets in it: (L, B, C) -> (L, B·times, C)."""
        # The targets of an image are neighbours: image 0 for each of its targets, then image 1.
        levels, positions = (
            tuple(level.repeat_interleave(times, dim=1) for level in group)
            for group in (self.levels, self.positions)
        )
        return VisionFeatures(levels, positions)


@dataclass(frozen=True, eq=False)
class MaskDecoderOutput:
    """The output of the mask decoder for N = B·P targets, before masks of absent targets are removed.

    `logits` (N, M, S/4, S/4) are mask logits, `ious` (N, M) the predicted IoU of each mask, `score` (N,) the
    logit of the object score, and `tokens` (N, M or 1, C) the mask tokens, one for each mask or one for all
    of them.
    """

    logits: torch.Tensor
    ious: torch.Tensor
    score: torch.Tensor
    tokens: torch.Tensor

    def split(self) -> "list[MaskDecoderOutput]":
        """The outputs of the single targets, with N = 1 each."""
        rows = zip(
            *(each.split(1) for each in (self.logits, self.ious, self.score, self.tokens)), strict=True
        )
        return [MaskDecoderOutput(*row) for row in rows]

    def best(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The mask with the highest predicted IoU of each target: logits (N, S/4, S/4), IoU
        (N,), token (N, C).
        """
        best = self.ious.argmax(dim=-1)
        rows = torch.arange(len(best), device=best.device)
        token = self.tokens[rows, best] if self.tokens.shape[1] > 1 else self.tokens[:, 0]
        return self.logits[rows, best], self.ious[rows, best], token

    def gated(self) -> torch.Tensor:
        """The logits of the best masks, (N, S/4, S/4); `ABSENT_LOGIT` where the object score
        says *absent*.
        """
        return torch.where((self.score > 0)[:, None, None], self.best()[0], ABSENT_LOGIT)


def encode_images(model: VideoModel, pixels: torch.Tensor) -> VisionFeatures:
    """Features of normalised images (B, 3, S, S)."""
    # The library applies the mask decoder's projections of the two finer levels here (`conv_s0`, `conv_s1`),
    # and flattens the maps to (L, B, C).
    output = model.get_image_features(pixels, return_dict=True)
    return VisionFeatures(tuple(output.fpn_hidden_states), tuple(output.fpn_position_encoding))


def add_no_memory_embedding(model: VideoModel, vision: VisionFeatures) -> torch.Tensor:
    """The coarsest features with the embedding of an empty memory, for frames with a box:
    (B, C, S/16, S/16).
    """
    return _as_map(model, vision.levels[-1] + model.no_memory_embedding, level=-1)


def condition_on_memory(model: VideoModel, vision: VisionFeatures, memory: MemoryBank) -> torch.Tensor:
    """The coarsest features after attention to the memory of B targets: (B, C, S/16, S/16).

    The features are those of the frame after the newest one of `memory`.
    """
    return _as_map(model, _attend(model, vision, [_memory_tokens(model, memory)]).transpose(0, 1), level=-1)


def condition_on_memories(
    model: VideoModel, vision: VisionFeatures, memories: Sequence[MemoryBank], counts_maps: bool = False
) -> torch.Tensor:
    """The coarsest features of one image after attention to the memories of N targets: (N, C, S/16, S/16).

    The image is the frame after the newest one of each memory, and each memory is that of a single target.
    With `counts_maps` the number of maps is passed to the memory attention, which EdgeTAM's needs.
    """
    # 1. Group the targets by the shape of their memories. Groups need no padding, and so no attention mask,
    #    which the model's attention does not take and for which the fastest kernels are not made. Nearly all
    #    of the time goes into the products of queries and keys, which grow with the number of targets and
    #    not of groups.
    memory_tokens = [_memory_tokens(model, memory) for memory in memories]
    groups: dict[tuple[int, int, int], list[int]] = {}
    for index, each in enumerate(memory_tokens):
        groups.setdefault(each.shape, []).append(index)
    # 2. Attend group by group, and put the targets back in order.
    conditioned: list[torch.Tensor] = [vision.levels[-1]] * len(memories)
    for members in groups.values():
        attended = _attend(model, vision, [memory_tokens[index] for index in members], counts_maps)
        for index, of_target in zip(members, attended.unbind(), strict=True):
            conditioned[index] = of_target
    return _as_map(model, torch.stack(conditioned, dim=1), level=-1)  # N × (L, C) -> (L, N, C)


@dataclass(frozen=True, eq=False)
class _MemoryTokens:
    """What a frame attends to: `tokens` and their position encodings, (tokens, B, C) each.

    They are those of `num_maps` memory maps, followed by `num_pointer_tokens` of object pointers.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    num_maps: int
    num_pointer_tokens: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """What targets must have in common to be processed in one batch."""
        return len(self.tokens), self.num_maps, self.num_pointer_tokens


def _memory_tokens(model: VideoModel, memory: MemoryBank) -> _MemoryTokens:
    """The tokens of a memory, as the frame after its newest one attends to them."""
    now, device = memory.clock + 1, memory.position.device
    session: Any = memory.session()  # of the class of SAM 2; those of the other two have the same code
    # 1. The memory maps of conditioning frames and of recent frames: (L, B, C) each. Their position encodings
    #    include how many frames ago each of them was.
    frames = model._gather_memory_frame_outputs(session, 0, now)
    maps, map_positions = model._build_memory_attention_inputs(frames, device)
    # 2. The object pointers, which reach further back than the maps. Each is split into tokens with as many
    #    channels as a memory map has.
    offsets, pointers, most = model._get_object_pointers(session, 0, now, 0, device, streaming=True)
    tokens, token_positions = model._process_object_pointers(
        offsets, pointers, most, memory.num_targets, model.hidden_dim, device
    )
    return _MemoryTokens(
        torch.cat([*maps, tokens]), torch.cat([*map_positions, token_positions]), len(maps), len(tokens)
    )


def _attend(
    model: VideoModel, vision: VisionFeatures, memories: Sequence[_MemoryTokens], counts_maps: bool = False
) -> torch.Tensor:
    """The coarsest features after attention to memories of one shape: (B, L, C), B targets in all."""
    tokens = torch.cat([each.tokens for each in memories], dim=1)
    vision = vision if tokens.shape[1] == vision.levels[-1].shape[1] else vision.expanded(tokens.shape[1])
    # The maps of EdgeTAM are short lists of tokens instead of grids, so its attention cannot derive their
    # number from the length of the memory.
    counts = {"num_spatial_memory_tokens": memories[0].num_maps} if counts_maps else {}
    conditioned: torch.Tensor = model.memory_attention(
        current_vision_features=vision.levels[-1],
        current_vision_position_embeddings=vision.positions[-1],
        memory=tokens.to(vision.levels[-1].dtype),
        # transformers spells it so.
        memory_posision_embeddings=torch.cat([each.positions for each in memories], dim=1),
        num_object_pointer_tokens=memories[0].num_pointer_tokens,
        **counts,
    )  # (1, B, L, C)
    return conditioned.squeeze(0)


def decode_masks(
    model: VideoModel, vision: VisionFeatures, coarse: torch.Tensor, boxes_resized: torch.Tensor | None
) -> MaskDecoderOutput:
    """Run the prompt encoder and the mask decoder.

    `coarse` (B, C, S/16, S/16) comes from `add_no_memory_embedding` or `condition_on_memory`. `boxes_resized`
    (B, P, 4) are xyxy in pixels of the square image. None: the mask of the target that the memory describes
    (P = 1).
    """
    # 1. Encode the boxes as two labelled points each: sparse (B, P, 2, C), dense (B, C, S/16, S/16).
    points, labels = _box_points(boxes_resized, coarse)
    sparse, dense = model.prompt_encoder(points, labels, None, None)
    # 2. Decode. The finer levels of features are added where the decoder upsamples.
    # The library's rule for several masks goes by the number of points. In the published sizes a box, which
    # has two, gets one mask; a propagated target, which has none, gets several.
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
    model: VideoModel, vision: VisionFeatures, decoded: MaskDecoderOutput, had_box: bool
) -> tuple[FrameMemory, torch.Tensor]:
    """The memory of a frame for B targets (one in each image), and the position encoding of its memory map.

    An absent target is encoded as in SAM 2: with an empty mask, the learned embedding of absence added to the
    map, and the learned pointer for no object.
    """
    # The memory encoder takes masks at the resolution of the image: (B, S/4, S/4) -> (B, 1, S, S).
    gated = decoded.gated()
    side = image_side(model.config)
    mask = F.interpolate(gated[:, None].float(), (side, side), mode="bilinear", align_corners=False)
    encoded: Any = model._encode_new_memory(
        current_vision_feats=vision.levels[-1],
        pred_masks_high_res=mask.to(gated.dtype),  # (B, 1, S, S)
        object_score_logits=decoded.score[:, None, None],
        is_mask_from_pts=had_box,
    )
    features, position = encoded  # transformers annotates `position` as a list
    return FrameMemory(_object_pointer(model, decoded), features), position


def start_memory(model: VideoModel, vision: VisionFeatures, decoded: MaskDecoderOutput) -> MemoryBank:
    """A new memory bank of B targets from the first frame, whose masks were decoded from boxes."""
    frame_memory, position = encode_memory(model, vision, decoded, had_box=True)
    return MemoryBank.start(MemoryLimits.of(model.config), position, frame_memory)


def _object_pointer(model: VideoModel, decoded: MaskDecoderOutput) -> torch.Tensor:
    """The object pointer: the token that stands for the target in later frames, (B, 1, C)."""
    pointer = model.object_pointer_proj(decoded.best()[2])
    present = (decoded.score > 0).to(pointer.dtype)[:, None]
    return (present * pointer + (1 - present) * model.no_object_pointer)[:, None]


def _box_points(boxes: torch.Tensor | None, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The corners of boxes as points (B, P, 2, 2) with labels (B, P, 2); without boxes one padding point."""
    if boxes is None:
        points = torch.zeros(len(like), 1, 1, 2, dtype=like.dtype, device=like.device)
        return points, torch.full(points.shape[:3], NO_POINT, dtype=torch.int32, device=like.device)
    # (x1, y1, x2, y2) -> ((x1, y1), (x2, y2)).
    points = boxes.unflatten(-1, (2, 2))
    return points, torch.tensor(BOX_CORNERS, dtype=torch.int32, device=like.device).expand(points.shape[:3])


def _as_map(model: VideoModel, tokens: torch.Tensor, level: int) -> torch.Tensor:
    """Tokens of a level as a feature map: (L, B, C) -> (B, C, height, width)."""
    return tokens.permute(1, 2, 0).unflatten(-1, tuple(model.backbone_feature_sizes[level]))
