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
from models.mask_head.memory_bank import FrameMemory, MemoryBank, MemoryLimits
from models.mask_head.memory_map import MemoryMap
from models.mask_head.sam2_forward import MaskDecoderOutput, VideoModel, VisionFeatures


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
        # 1. The memory encoder takes either masks of boxes or others. On a CPU targets are encoded one by
        #    one, which takes as long, so a map does not depend on what it is encoded with. The perceiver of
        #    EdgeTAM in transformers 5 raises for more than one target: it calls `view` on an expanded tensor.
        groups: dict[Any, list[int]] = {}
        is_single = self.compresses_maps or self.model.device.type == "cpu"
        for index, source in enumerate(sources):
            groups.setdefault(index if is_single else source.had_box, []).append(index)
        # 2. Encode each group, and put the maps back in order.
        maps: dict[int, torch.Tensor] = {}
        for members in groups.values():
            group = [sources[index] for index in members]
            features, _ = _encode_maps(
                self.model,
                torch.cat([source.coarse for source in group], dim=1),
                torch.cat([source.mask_logits for source in group]),
                torch.cat([source.score for source in group]),
                group[0].had_box,
            )
            if len(group) == 1:
                maps[members[0]] = features
                continue
            # Copies, since a memory drops each of its maps when that one is out of reach.
            for index, of_target in zip(members, features.split(1, dim=1), strict=True):
                maps[index] = of_target.clone()
        return [maps[index] for index in range(len(sources))]


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
    # The memory encoder takes masks at the resolution of the image: (B, S/4, S/4) -> (B, 1, S, S).
    side = image_side(model.config)
    mask = F.interpolate(mask_logits[:, None].float(), (side, side), mode="bilinear", align_corners=False)
    encoded: Any = model._encode_new_memory(
        current_vision_feats=coarse,
        pred_masks_high_res=mask.to(mask_logits.dtype),  # (B, 1, S, S)
        object_score_logits=score[:, None, None],
        is_mask_from_pts=had_box,
    )
    features, position = encoded  # transformers annotates `position` as a list
    return features, position
