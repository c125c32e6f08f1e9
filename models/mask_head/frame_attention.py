"""The memory attention of SAM 2 and of SAM 3's tracker for one image, in evaluation mode.

It runs the submodules of the library's `Sam2VideoMemoryAttention`.

Shapes: N targets, L tokens of the coarsest feature map, C channels of the image features.
"""

from typing import Any

import torch
import torch.nn.functional as F

from models.mask_head.memory_tokens import MemoryTokens
from models.mask_head.rotary import RotaryGrid
from models.mask_head.sam2_forward import VideoModel, VisionFeatures


class FrameAttention:
    """Memory attention with results that are equal to the library's to the last bit.

    It is faster in two ways. The self-attention of the first layer does not depend on a memory, so it is
    computed once for all targets. Rotary position encodings are applied to the keys in fewer passes.
    """

    def __init__(self, model: VideoModel, vision: VisionFeatures, rotary: RotaryGrid) -> None:
        self.module: Any = model.memory_attention
        self.rotary = rotary
        features = (vision.levels[-1] + 0.1 * vision.positions[-1]).transpose(0, 1)  # (L, 1, C) -> (1, L, C)
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
            attended = self._attention(
                layer.cross_attn_image, queries, keys, values, memory.num_pointer_tokens
            )
            features = self._feed_forward(layer, features + attended)
        normed: torch.Tensor = self.module.layer_norm(features)
        return normed

    def _attend_to_itself(self, layer: Any, features: torch.Tensor) -> torch.Tensor:
        normed = layer.layer_norm1(features)
        return features + self._attention(layer.self_attn, normed, normed, normed, num_pointer_tokens=0)

    def _feed_forward(self, layer: Any, features: torch.Tensor) -> torch.Tensor:
        hidden = layer.activation(layer.linear1(layer.layer_norm3(features)))
        added: torch.Tensor = features + layer.linear2(hidden)
        return added

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
            split_heads(module, project(each))
            for project, each in (
                (module.q_proj, queries),
                (module.k_proj, keys),
                (module.v_proj, values),
            )
        )
        # 2. Rotate. Every memory map has the grid of the queries.
        query = self.rotary.rotate(query).expand(len(key), -1, -1, -1)
        num_rotated = key.shape[-2] - num_pointer_tokens
        rotated = self.rotary.rotate(key[..., :num_rotated, :])
        key = torch.cat([rotated, key[..., num_rotated:, :]], dim=-2) if num_pointer_tokens else rotated
        # 3. Attend, and merge the heads.
        attended = F.scaled_dot_product_attention(query, key, value, scale=module.scaling)
        merged: torch.Tensor = module.o_proj(attended.transpose(1, 2).flatten(-2))
        return merged


def split_heads(module: Any, states: torch.Tensor) -> torch.Tensor:
    """Projected states (…, tokens, channels) as (…, heads, tokens, channels of a head)."""
    return states.unflatten(-1, (module.num_attention_heads, -1)).transpose(-3, -2)
