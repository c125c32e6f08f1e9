"""Memory attention: the features of a frame attend to the memories of its targets.

`condition_on_memory` calls the library's module for a batch in which every target has its own image, as in
training. `condition_on_memories` serves all targets of one image, whose memories may differ in age.

Shapes: B or N targets, L tokens of the coarsest feature map, C channels of the image features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from models.mask_head.memory_bank import MemoryBank
from models.mask_head.sam2_forward import VideoModel, VisionFeatures, as_map


@dataclass(frozen=True, eq=False)
class MemoryTokens:
    """What a frame attends to: `tokens` and their position encodings, (tokens, B, channels) each.

    The tokens are those of `num_maps` memory maps, followed by `num_pointer_tokens` of object pointers. They
    have the dtype of the model.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    num_maps: int
    num_pointer_tokens: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """What targets must have in common to be processed in one batch."""
        return len(self.tokens), self.num_maps, self.num_pointer_tokens

    @classmethod
    def of(cls, model: VideoModel, memory: MemoryBank) -> "MemoryTokens":
        """The tokens of a memory, as the frame after its newest one attends to them."""
        now, device = memory.clock + 1, memory.position.device
        session: Any = memory.session()  # of the class of SAM 2; those of the other two have the same code
        # 1. The memory maps of conditioning frames and of recent frames: (L, B, channels) each. Their
        #    position encodings include how many frames ago each of them was.
        frames = model._gather_memory_frame_outputs(session, 0, now)
        maps, map_positions = model._build_memory_attention_inputs(frames, device)
        # 2. The object pointers, which reach further back than the maps. Each is split into tokens with as
        #    many channels as a memory map has.
        offsets, pointers, most = model._get_object_pointers(session, 0, now, 0, device, streaming=True)
        tokens, positions = model._process_object_pointers(
            offsets, pointers, most, memory.num_targets, model.hidden_dim, device
        )
        # Maps are stored in bfloat16. `cat` of tensors of one dtype is faster than of several.
        all_tokens = torch.cat([*(each.to(model.dtype) for each in maps), tokens.to(model.dtype)])
        return cls(all_tokens, torch.cat([*map_positions, positions]), len(maps), len(tokens))

    @classmethod
    def together(cls, targets: Sequence["MemoryTokens"]) -> "MemoryTokens":
        """Tokens of one shape as a batch."""
        if len(targets) == 1:
            return targets[0]
        return cls(
            torch.cat([each.tokens for each in targets], dim=1),
            torch.cat([each.positions for each in targets], dim=1),
            targets[0].num_maps,
            targets[0].num_pointer_tokens,
        )


def condition_on_memory(model: VideoModel, vision: VisionFeatures, memory: MemoryBank) -> torch.Tensor:
    """The coarsest features of B images after attention to the memory of B targets: (B, C, S/16, S/16).

    The images are the frames after the newest one of `memory`.
    """
    conditioned = _library_attention(model, vision, False, MemoryTokens.of(model, memory))
    return as_map(model, conditioned.transpose(0, 1), level=-1)


def condition_on_memories(
    model: VideoModel, vision: VisionFeatures, memories: Sequence[MemoryBank], compresses_maps: bool = False
) -> torch.Tensor:
    """The coarsest features of one image after attention to the memories of N targets: (N, C, S/16, S/16).

    The image is the frame after the newest one of each memory, and each memory is that of a single target.
    `compresses_maps` is that of the model's `Architecture`. No gradient is computed.
    """
    targets = [MemoryTokens.of(model, memory) for memory in memories]
    attend: Callable[[MemoryTokens], torch.Tensor]
    if compresses_maps:
        attend = partial(_library_attention, model, vision, True)
    else:
        attend = FrameAttention(model, vision)
    conditioned: list[torch.Tensor] = [vision.levels[-1]] * len(targets)
    # Attend group by group, and put the targets back in order.
    for members in _groups([target.shape for target in targets], vision.levels[-1].device):
        attended = attend(MemoryTokens.together([targets[index] for index in members]))
        for index, of_target in zip(members, attended.unbind(), strict=True):
            conditioned[index] = of_target
    return as_map(model, torch.stack(conditioned, dim=1), level=-1)  # N × (L, C) -> (L, N, C)


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


class FrameAttention:
    """The memory attention of SAM 2 and of SAM 3's tracker for one image, in evaluation mode.

    It runs the submodules of the library's `Sam2VideoMemoryAttention`, with results that are equal to the
    last bit. It is faster in two ways. The self-attention of the first layer does not depend on a memory, so
    it is computed once for all targets. Rotary position encodings are applied to the keys in fewer passes.
    """

    def __init__(self, model: VideoModel, vision: VisionFeatures) -> None:
        self.module: Any = model.memory_attention
        features = (vision.levels[-1] + 0.1 * vision.positions[-1]).transpose(0, 1)  # (L, 1, C) -> (1, L, C)
        # Cosines and sines of rotary position encodings: (1, L, channels of a head).
        self.cos, sin = self.module.rotary_emb(features, self.module.position_ids)
        # A pair of channels (x, y) is rotated to (x·cos - y·sin, y·cos + x·sin). With a sign in the sines of
        # the first channels, both are a sum.
        self.signed_sin = torch.stack([-sin[..., 0::2], sin[..., 1::2]], dim=-1).flatten(-2)
        self.features = self._attend_to_itself(self.module.layers[0], features)

    def __call__(self, memory: MemoryTokens) -> torch.Tensor:
        """The features after attention to a memory of N targets: (N, L, C)."""
        values = memory.tokens.transpose(0, 1)  # (tokens, N, …) -> (N, tokens, …)
        keys = values + memory.positions.transpose(0, 1)
        features = self.features  # (1, L, C), and (N, L, C) from the first attention to the memory on
        for index, layer in enumerate(self.module.layers):
            if index > 0:
                features = self._attend_to_itself(layer, features)
            queries = layer.layer_norm2(features)
            features = features + self._attention(
                layer.cross_attn_image, queries, keys, values, memory.num_pointer_tokens
            )
            hidden = layer.activation(layer.linear1(layer.layer_norm3(features)))
            features = features + layer.linear2(hidden)
        normed: torch.Tensor = self.module.layer_norm(features)
        return normed

    def _attend_to_itself(self, layer: Any, features: torch.Tensor) -> torch.Tensor:
        normed = layer.layer_norm1(features)
        return features + self._attention(layer.self_attn, normed, normed, normed, num_pointer_tokens=0)

    def _attention(
        self,
        module: Any,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        num_pointer_tokens: int,
    ) -> torch.Tensor:
        """Attention with rotary position encodings, except for the last keys, those of object pointers.

        `queries` (N or 1, L, C), `keys` and `values` (N, tokens, channels) -> (N, L, C).
        """
        # 1. Project, and split the heads: (N, tokens, channels) -> (N, heads, tokens, channels of a head).
        query, key, value = (
            project(each).unflatten(-1, (module.num_attention_heads, -1)).transpose(1, 2)
            for project, each in (
                (module.q_proj, queries),
                (module.k_proj, keys),
                (module.v_proj, values),
            )
        )
        # 2. Rotate. Every memory map has the grid of the queries.
        query = self._rotate(query).expand(len(key), -1, -1, -1)
        num_rotated = key.shape[-2] - num_pointer_tokens
        rotated = self._rotate(key[..., :num_rotated, :])
        key = torch.cat([rotated, key[..., num_rotated:, :]], dim=-2) if num_pointer_tokens else rotated
        # 3. Attend, and merge the heads.
        attended = F.scaled_dot_product_attention(query, key, value, scale=module.scaling)
        merged: torch.Tensor = module.o_proj(attended.transpose(1, 2).flatten(-2))
        return merged

    def _rotate(self, states: torch.Tensor) -> torch.Tensor:
        """Rotate `states` (…, k·L, channels), of which each L tokens are a grid."""
        # In float32, as the library does it.
        grids = states.float().unflatten(-2, (-1, self.cos.shape[-2]))
        swapped = grids.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)  # (x, y) -> (y, x)
        rotated = (grids * self.cos).add_(swapped.mul_(self.signed_sin))
        return rotated.flatten(-3, -2).type_as(states)
