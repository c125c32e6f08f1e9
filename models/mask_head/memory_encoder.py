"""The memory encoder of SAM 2: what a frame leaves in the memory of its targets.

In training, `encode_memory` encodes the memories of a batch at once. In inference, `MemoryEncoder` makes
memories whose maps are encoded when they are first attended to.

Shapes are those of `sam2_forward`: B or N targets, L tokens of the coarsest feature map, C channels, S the
side of the square image in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F

from models.mask_head.checkpoints import image_side
from models.mask_head.map_encoder import encode_maps_on_cpu
from models.mask_head.memory_bank import FrameMemory, MemoryBank, MemoryLimits
from models.mask_head.memory_map import MemoryMap
from models.mask_head.sam2_forward import (
    MaskDecoderOutput,
    VideoModel,
    VisionFeatures,
    uses_cpu_operations,
)


@dataclass(frozen=True, eq=False)
class MapSource:
    """What the memory map of one target is encoded from.

    `coarse` (L, 1, C) are the coarsest features of the frame, `mask_logits` (1, S/4, S/4) the logits of the
    target's mask, in which it is empty where the target is absent, and `score` (1,) the logit of its object
    score. `had_box`: the mask was decoded from a box.
    """

    coarse: torch.Tensor
    mask_logits: torch.Tensor
    score: torch.Tensor
    had_box: bool


class MemoryEncoder:
    """Makes memories of frames for the targets in one image.

    `compresses_maps` is that of the model's `Architecture`.
    """

    def __init__(self, model: VideoModel, compresses_maps: bool = False) -> None:
        self.model: Any = model
        self.compresses_maps = compresses_maps

    @cached_property
    def position(self) -> torch.Tensor:
        """The position encoding of a memory map. It has the shape of a map, and is the same for all."""
        model = self.model
        weight = model.memory_encoder.projection.weight
        # It depends on the shape alone.
        empty = weight.new_zeros(1, len(weight), *model.backbone_feature_sizes[-1])
        position = model.memory_encoder.position_encoding(empty.shape, empty.device, empty.dtype)
        if self.compresses_maps:
            encoded: torch.Tensor = model.spatial_perceiver(empty, position)[1].to(weight.dtype)
            return encoded
        return position.to(weight.dtype).flatten(2).permute(2, 0, 1)

    def frame_memories(
        self, vision: VisionFeatures, decoded: MaskDecoderOutput, had_box: bool
    ) -> list[FrameMemory]:
        """The memories of a frame for N targets in one image, whose maps are not yet encoded."""
        # Copies of the pointers: views would keep the pointers of all targets in the memory of each. The
        # logits are kept for one frame only.
        pointers = object_pointers(self.model, decoded).split(1)
        rows = zip(pointers, decoded.gated().split(1), decoded.score.split(1), strict=True)
        return [
            FrameMemory(
                pointer.clone(), MemoryMap(MapSource(vision.levels[-1], mask, score, had_box), self._encode)
            )
            for pointer, mask, score in rows
        ]

    @torch.inference_mode()
    def _encode(self, sources: Sequence[MapSource]) -> list[torch.Tensor]:
        """The maps of several targets, which may be of different frames."""
        if uses_cpu_operations(self.model) and not self.compresses_maps:
            return self._encode_on_cpu(sources)
        # 1. The library's memory encoder takes either masks of boxes or others. The perceiver of EdgeTAM in
        #    transformers 5 raises for more than one target: it calls `view` on an expanded tensor.
        groups: dict[Any, list[int]] = {}
        for index, source in enumerate(sources):
            groups.setdefault(index if self.compresses_maps else source.had_box, []).append(index)
        # 2. Encode each group, and put the maps back in order.
        maps: dict[int, torch.Tensor] = {}
        for members in groups.values():
            batch = [sources[index] for index in members]
            coarse = torch.cat([source.coarse for source in batch], dim=1)
            features, _ = _encode_maps(self.model, coarse, *_masks_of(batch), batch[0].had_box)
            maps |= zip(members, [features] if len(batch) == 1 else _divided(features), strict=True)
        return [maps[index] for index in range(len(sources))]

    def _encode_on_cpu(self, sources: Sequence[MapSource]) -> list[torch.Tensor]:
        levels = [source.coarse for source in sources]
        is_one_frame = all(level is levels[0] for level in levels)
        logits, score = _masks_of(sources)
        features = encode_maps_on_cpu(
            self.model,
            levels[0] if is_one_frame else torch.cat(levels, dim=1),
            _at_mask_size(self.model, _at_image_size(self.model, logits)),
            score,
            torch.tensor([source.had_box for source in sources]),
        )
        return _divided(features)


def _masks_of(sources: Sequence[MapSource]) -> tuple[torch.Tensor, torch.Tensor]:
    """The mask logits (B, S/4, S/4) and the logits of the object scores (B,)."""
    return (
        torch.cat([source.mask_logits for source in sources]),
        torch.cat([source.score for source in sources]),
    )


def _divided(maps: torch.Tensor) -> list[torch.Tensor]:
    """The maps (L, 1, channels) of a batch (L, B, channels).

    They are copies. A memory drops each of its maps when that one is out of reach, and a view would keep the
    maps of all targets of the batch.
    """
    return [each.contiguous().clone() for each in maps.split(1, dim=1)]


def encode_memory(
    model: VideoModel, vision: VisionFeatures, decoded: MaskDecoderOutput, had_box: bool
) -> tuple[FrameMemory, torch.Tensor]:
    """The memory of a frame for B targets (one in each image), and the position encoding of its memory map.

    An absent target is encoded as in SAM 2: with an empty mask, the learned embedding of absence added to the
    map, and the learned pointer for no object.
    """
    features, position = _encode_maps(model, vision.levels[-1], decoded.gated(), decoded.score, had_box)
    return FrameMemory(object_pointers(model, decoded), MemoryMap.of(features)), position


def start_memory(model: VideoModel, vision: VisionFeatures, decoded: MaskDecoderOutput) -> MemoryBank:
    """A new memory bank of B targets from the first frame, whose masks were decoded from boxes."""
    frame_memory, position = encode_memory(model, vision, decoded, had_box=True)
    return MemoryBank.start(MemoryLimits.of(model.config), position, frame_memory)


def object_pointers(model: VideoModel, decoded: MaskDecoderOutput) -> torch.Tensor:
    """The object pointers: the tokens that stand for the targets in later frames, (B, 1, C)."""
    pointer = model.object_pointer_proj(decoded.best()[2])
    present = (decoded.score > 0).to(pointer.dtype)[:, None]
    return (present * pointer + (1 - present) * model.no_object_pointer)[:, None]


def _encode_maps(
    model: VideoModel, coarse: torch.Tensor, mask_logits: torch.Tensor, score: torch.Tensor, had_box: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The memory maps of B targets, and the position encoding of a map.

    `coarse` (L, B, C) are the coarsest features, `mask_logits` (B, S/4, S/4) those of `gated`, and `score`
    (B,) the logits of the object scores.
    """
    mask = _at_image_size(model, mask_logits)
    encoded: Any = model._encode_new_memory(
        current_vision_feats=coarse,
        pred_masks_high_res=mask,
        object_score_logits=score[:, None, None],
        is_mask_from_pts=had_box,
    )
    features, position = encoded  # transformers annotates `position` as a list
    return features, position


def _at_image_size(model: VideoModel, logits: torch.Tensor) -> torch.Tensor:
    """Mask logits (B, S/4, S/4) at the resolution of the image: (B, 1, S, S)."""
    side = image_side(model.config)
    mask = F.interpolate(logits[:, None].float(), (side, side), mode="bilinear", align_corners=False)
    return mask.to(logits.dtype)


def _at_mask_size(model: VideoModel, masks: torch.Tensor) -> torch.Tensor:
    """Masks at the resolution that the memory encoder takes, which is another one in SAM 3's tracker."""
    size = [4 * side for side in model.prompt_encoder.mask_input_size]
    if list(masks.shape[2:]) == size:
        return masks
    return F.interpolate(masks, size=size, mode="bilinear", align_corners=False, antialias=True)
