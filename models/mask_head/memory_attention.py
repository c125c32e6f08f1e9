"""Memory attention: the features of a frame attend to the memories of its targets.

`condition_on_memory` calls the library's module for a batch in which every target has its own image, as in
training. `MemoryAttention` serves all targets of one image, whose memories may differ in age.

Shapes: B or N targets, L tokens of the coarsest feature map, C channels of the image features.
"""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import torch

from models.mask_head.frame_attention import FrameAttention
from models.mask_head.memory_bank import MemoryBank
from models.mask_head.memory_tokens import MemoryTokens, TargetTokens
from models.mask_head.rotary import RotaryGrid
from models.mask_head.sam2_forward import VideoModel, VisionFeatures, as_map, uses_cpu_operations
from models.mask_head.target_attention import TargetAttention


def condition_on_memory(model: VideoModel, vision: VisionFeatures, memory: MemoryBank) -> torch.Tensor:
    """The coarsest features of B images after attention to the memory of B targets: (B, C, S/16, S/16).

    The images are the frames after the newest one of `memory`.
    """
    conditioned = _library_attention(model, vision, False, MemoryTokens.of(model, memory))
    return as_map(model, conditioned.transpose(0, 1), level=-1)


class MemoryAttention:
    """Memory attention for all targets of one image. No gradient is computed.

    `compresses_maps` is that of the model's `Architecture`.
    """

    def __init__(self, model: VideoModel, compresses_maps: bool = False) -> None:
        self.model: Any = model
        self.compresses_maps = compresses_maps

    @cached_property
    def rotary(self) -> RotaryGrid:
        """The rotary position encodings, which depend on no weight."""
        return RotaryGrid(self.model.memory_attention)

    def __call__(self, vision: VisionFeatures, memories: Sequence[MemoryBank]) -> torch.Tensor:
        """The coarsest features after attention to the memories of N targets: (N, L, C).

        The image is the frame after the newest one of each memory, and each memory is that of a single
        target.
        """
        return torch.stack(self._by_target(vision, memories))

    def _by_target(self, vision: VisionFeatures, memories: Sequence[MemoryBank]) -> list[torch.Tensor]:
        """The features (L, C) of each target."""
        model = self.model
        # 1. One by one with fewer operations.
        if uses_cpu_operations(model) and not self.compresses_maps:
            target_attention = TargetAttention(model, vision, self.rotary)
            return [target_attention.attend(tokens) for tokens in TargetTokens.of(model, memories)]
        # 2. Otherwise group by group. The targets are put back in order.
        attend: Callable[[MemoryTokens], torch.Tensor]
        if self.compresses_maps:
            attend = partial(_library_attention, model, vision, True)
        else:
            attend = FrameAttention(model, vision, self.rotary)
        targets = [MemoryTokens.of(model, memory) for memory in memories]
        conditioned: dict[int, torch.Tensor] = {}
        for members in _groups([target.shape for target in targets], vision.levels[-1].device):
            attended = attend(MemoryTokens.together([targets[index] for index in members]))
            conditioned |= zip(members, attended.unbind(), strict=True)
        return [conditioned[index] for index in range(len(targets))]


def _groups(shapes: Sequence[tuple[int, ...]], device: torch.device) -> list[list[int]]:
    """The indices of the targets that attend in one batch, by the shapes of their memories.

    A batch of one shape needs no padding, and so no attention mask, which the library's modules do not take
    and which excludes the fastest kernels of a GPU. Nearly all of the time goes into products of queries and
    keys. It grows with the number of targets, and hardly with the number of batches.
    """
    if device.type == "cpu":
        # One by one: the keys and values of several targets do not fit into the cache of a core.
        return [[index] for index in range(len(shapes))]
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, shape in enumerate(shapes):
        groups.setdefault(shape, []).append(index)
    return list(groups.values())


def _library_attention(
    model: VideoModel, vision: VisionFeatures, counts_maps: bool, memory: MemoryTokens
) -> torch.Tensor:
    """The coarsest features after attention to a memory: (B, L, C). A single image serves all B targets.

    With `counts_maps` the number of maps is passed to the memory attention. The maps of EdgeTAM are short
    lists of tokens instead of grids, so its attention cannot derive their number from the length of the
    memory.
    """
    num_targets = memory.tokens.shape[1]
    vision = vision if vision.levels[-1].shape[1] == num_targets else vision.expanded(num_targets)
    counts = {"num_spatial_memory_tokens": memory.num_maps} if counts_maps else {}
    conditioned: torch.Tensor = model.memory_attention(
        current_vision_features=vision.levels[-1],
        current_vision_position_embeddings=vision.positions[-1],
        memory=memory.tokens,
        memory_posision_embeddings=memory.positions,  # transformers spells it so
        num_object_pointer_tokens=memory.num_pointer_tokens,
        **counts,
    )  # (1, B, L, C)
    return conditioned.squeeze(0)
