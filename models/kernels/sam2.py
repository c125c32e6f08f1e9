"""Faster modules for the image encoder of SAM 2, and position encodings that are computed once.

transformers computes the position encodings of all feature levels again for every frame, and in each block of
Hiera attention weights that nothing uses. With a small model and image these two take almost half of the time
of the image encoder. Weights and their names do not change, and results are equal to the last bit. For
inference only: tables that were computed in inference mode cannot be used in training.
"""

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers.models.sam2.modeling_sam2 import Sam2HieraDetModel, Sam2MultiScaleAttention

KEPT_SIZES = 8  # sizes of feature maps whose position encodings are kept; a model has three or four levels


class FastMultiScaleAttention(Sam2MultiScaleAttention):
    """Attention within windows, or within the whole map, with queries that may be pooled."""

    def forward(self, hidden_states: torch.Tensor, **kwargs: Any) -> torch.Tensor:  # noqa: ARG002
        """Hidden states (windows, height, width, channels) to the same, or half the height and width."""
        windows, height, width, _ = hidden_states.shape
        # 1. Project: (windows, height·width, heads, channels of a head) each.
        states = self.qkv(hidden_states).view(windows, height * width, 3, self.num_attention_heads, -1)
        query, key, value = states.unbind(2)
        # 2. The largest query of each square of tokens takes their place.
        if self.query_stride:
            stride: Any = self.query_stride
            maps = query.reshape(windows, height, width, -1).permute(0, 3, 1, 2)
            pooled = F.max_pool2d(maps, kernel_size=stride, stride=stride).permute(0, 2, 3, 1)
            height, width = pooled.shape[1:3]
            query = pooled.reshape(windows, height * width, self.num_attention_heads, -1)
        # 3. Attend, and merge the heads.
        query, key, value = (each.transpose(1, 2) for each in (query, key, value))
        attended = F.scaled_dot_product_attention(query, key, value, scale=self.scale)
        return self.proj(attended.transpose(1, 2).reshape(windows, height, width, -1))


class FastHiera(Sam2HieraDetModel):
    """Hiera, which resizes its learned position embeddings once for each size of image."""

    def _get_pos_embed(self, hw: tuple[int, int]) -> torch.Tensor:
        # Weights that are loaded again in place increase their version. `load_state_dict(assign=True)` and
        # changes through `.data` are not noticed; no code here uses them after the first image.
        weights = self.pos_embed, self.pos_embed_window
        key = tuple(hw), *((each._version, each.dtype, each.device) for each in weights)
        kept: tuple[Any, torch.Tensor] | None = getattr(self, "_kept_pos_embed", None)
        if kept is None or kept[0] != key:
            kept = key, super()._get_pos_embed(hw)
            self._kept_pos_embed = kept
        return kept[1]


def apply_fast_kernels(model: nn.Module) -> None:
    """Put the modules of this file into a mask head, in place; `state_dict` does not change.

    Of mask heads with another image encoder only the position encodings are kept.
    """
    for module in model.modules():
        if type(module) is Sam2MultiScaleAttention:
            module.__class__ = FastMultiScaleAttention
        elif type(module) is Sam2HieraDetModel:
            module.__class__ = FastHiera
        # The sine encodings of all mask heads have this function, which depends on its arguments only.
        build: Any = getattr(module, "build_sine_position_embedding", None)
        if build is not None:
            encoding: Any = module
            encoding.build_sine_position_embedding = lru_cache(maxsize=KEPT_SIZES)(build)
