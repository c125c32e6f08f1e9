"""The memory attention of one target with fewer operations, for CPUs.

On a GPU nearly all of the time goes into products of queries and keys. With a small image on a CPU, as much
goes into what precedes them: the maps of a memory are projected to keys and values and rotated again at every
frame. Here the linear maps are applied where they cost least, which changes results by rounding only.

A key at place j of a map is R_j (W (m + p + t) + b), with the map's token m, the encodings p of the place and
t of the map's age, and the rotation R_j. It is the sum of R_j (W (m + p) + b), which does not change with
time and is kept with the map, and of R_j W t, which is the same for all targets of a frame.

The weights a of an attention sum to 1, so Σ a_j (V m_j + c) = V (Σ a_j m_j) + c. A token has fewer channels
than its value, and there are fewer queries than tokens, so the sum comes first.
"""

from typing import Any

import torch
import torch.nn.functional as F

from models.mask_head.frame_attention import FrameAttention, split_heads
from models.mask_head.memory_map import MemoryMap
from models.mask_head.memory_tokens import TargetTokens
from models.mask_head.rotary import RotaryGrid
from models.mask_head.sam2_forward import VideoModel, VisionFeatures

# Tokens of a map up to which its keys are kept. With larger maps their share of the time is small, and they
# would need much memory: 17 MB a map with an image of 1024 pixels in the published sizes.
MOST_KEPT = 1024
# Attention weights that are computed at a time; a megabyte, which fits into a cache of a core.
AT_ONCE = 2**18
FEWEST_QUERIES = 64  # with fewer, a product is slow


class TargetAttention(FrameAttention):
    """Memory attention of one target in one image, in float32."""

    def __init__(self, model: VideoModel, vision: VisionFeatures, rotary: RotaryGrid) -> None:
        super().__init__(model, vision, rotary)
        layers = self.module.layers
        # The queries of the first layer do not depend on a memory.
        self.first_queries = self._queries(layers[0], self.features[0])
        # The part of keys that stands for the age of a map: (ages, heads, L, channels of a head) each.
        ages = model.memory_temporal_positional_encoding.flatten(1)
        self.age_keys = []
        for layer in layers:
            module = layer.cross_attn_image
            projected = F.linear(ages, module.k_proj.weight)
            split = projected.unflatten(-1, (module.num_attention_heads, -1))
            self.age_keys.append(rotary.rotate_everywhere(split))
        self.outputs = [_output_weights(layer.cross_attn_image) for layer in layers]

    def attend(self, memory: TargetTokens) -> torch.Tensor:
        """The features after attention to the memory of one target: (L, C)."""
        # In bfloat16 before they are concatenated, which moves half as many bytes.
        maps = torch.cat([each.features[:, 0] for _, each in memory.maps])
        tokens = torch.cat([maps.to(memory.pointers.dtype), memory.pointers])
        _, heads, _, channels = self.age_keys[0].shape
        keys = tokens.new_empty(heads, len(tokens), channels)  # of one layer at a time
        features = self.features  # (1, L, C)
        for index, layer in enumerate(self.module.layers):
            if index > 0:
                features = self._attend_to_itself(layer, features)
            queries = self._queries(layer, features[0]) if index > 0 else self.first_queries
            self._fill_keys(keys, index, memory)
            sums = _weighted_sums(queries, keys, tokens)
            weights, bias = self.outputs[index]
            features = self._feed_forward(layer, features + torch.addmm(bias, sums, weights))
        normed: torch.Tensor = self.module.layer_norm(features)
        return normed[0]

    def _queries(self, layer: Any, features: torch.Tensor) -> torch.Tensor:
        """Scaled queries of features (L, C): (heads, L, channels of a head)."""
        module = layer.cross_attn_image
        projected = split_heads(module, module.q_proj(layer.layer_norm2(features)))
        return self.rotary.rotate(projected).mul_(module.scaling)

    def _fill_keys(self, keys: torch.Tensor, index: int, memory: TargetTokens) -> None:
        """Write the keys of all tokens for a layer: (heads, tokens, channels of a head)."""
        module, ages = self.module.layers[index].cross_attn_image, self.age_keys[index]
        length, begin = ages.shape[2], 0
        for age, each in memory.maps:
            kept = self._map_keys(each, memory.position)[index]
            torch.add(kept, ages[age], out=keys[:, begin : begin + length])
            begin += length
        # Object pointers have no place.
        keys[:, begin:] = split_heads(module, module.k_proj(memory.pointers + memory.pointer_positions))

    def _map_keys(self, memory_map: MemoryMap, position: torch.Tensor) -> list[torch.Tensor]:
        """The part of a map's keys that does not change with time, for each layer."""
        if memory_map.keys is not None:
            return memory_map.keys
        tokens = memory_map.features[:, 0].to(position.dtype) + position
        modules = [layer.cross_attn_image for layer in self.module.layers]
        keys = [self.rotary.rotate(split_heads(module, module.k_proj(tokens))) for module in modules]
        if len(tokens) <= MOST_KEPT:
            memory_map.keys = keys
        return keys


def _output_weights(module: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The projection to values and that of the output as one.

    Returns weights (heads · channels of a token, C) and a bias (C,).
    """
    heads = module.num_attention_heads
    # (heads, channels of a token, channels of a head) @ (heads, channels of a head, C)
    values = module.v_proj.weight.unflatten(0, (heads, -1)).transpose(1, 2)
    outputs = module.o_proj.weight.unflatten(1, (heads, -1)).permute(1, 2, 0)
    # Not a call of the module, whose hooks, such as those that count FLOPs, fail where a weight is the input.
    bias = F.linear(module.v_proj.bias, module.o_proj.weight, module.o_proj.bias)
    return torch.bmm(values, outputs).flatten(0, 1), bias


def _weighted_sums(queries: torch.Tensor, keys: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """The sums of tokens, weighted by the attention of each query: (L, heads · channels of a token).

    `queries` (heads, L, channels of a head), `keys` (heads, tokens, channels of a head).
    """
    rows = max(FEWEST_QUERIES, AT_ONCE // len(tokens))
    keys = keys.transpose(1, 2)
    sums = [torch.bmm(block, keys).softmax(-1) @ tokens for block in queries.split(rows, dim=1)]
    return torch.cat(sums, dim=1).transpose(0, 1).flatten(1)
