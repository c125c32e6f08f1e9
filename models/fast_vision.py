"""Qwen2.5-VL's vision tower, the same sums in fewer and larger operations.

transformers attends window by window in a Python loop and embeds patches by a 3-D convolution whose
kernel is the whole patch. Where all windows of a call are equally large they are one batch here, and
the convolution is the matrix product that it is. Weights, names and results stay as they are
(to rounding); on a CPU a small tower takes two thirds of the time.
"""

from typing import Any

import torch
import torch.nn.functional as F
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VisionPatchEmbed,
    Qwen2_5_VisionTransformerPretrainedModel,
    Qwen2_5_VLVisionAttention,
    apply_rotary_pos_emb_vision,
)


class BatchedWindowAttention(Qwen2_5_VLVisionAttention):
    """Attention inside windows (or whole images) of one length as one batched call."""

    def forward(  # type: ignore[override]  # the library's keyword arguments beyond these do not concern it
        self,
        hidden_states: torch.Tensor,
        cu_seqlens: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        **kwargs: Any,
    ) -> torch.Tensor:
        """Hidden states (patches, width) to the same shape; `cu_seqlens` holds the windows' bounds."""
        lengths = torch.diff(cu_seqlens)
        if not bool((lengths == lengths[0]).all()):
            return super().forward(
                hidden_states, cu_seqlens=cu_seqlens, position_embeddings=position_embeddings, **kwargs
            )
        patches, length = len(hidden_states), int(lengths[0])
        queries, keys, values = self.qkv(hidden_states).view(patches, 3, self.num_heads, -1).unbind(1)
        queries, keys = apply_rotary_pos_emb_vision(queries, keys, *position_embeddings)
        queries, keys, values = (
            part.unflatten(0, (patches // length, length)).transpose(1, 2) for part in (queries, keys, values)
        )
        attended = F.scaled_dot_product_attention(queries, keys, values, scale=self.scaling)
        return self.proj(attended.transpose(1, 2).reshape(patches, -1))


class LinearPatchEmbed(Qwen2_5_VisionPatchEmbed):
    """Flattened patches (patches, channels · frames · height · width) to (patches, width)."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """A convolution whose stride is its kernel, as a matrix product."""
        kernel = self.proj.weight.flatten(1)
        return F.linear(hidden_states.to(kernel.dtype), kernel)


def quicken(visual: Qwen2_5_VisionTransformerPretrainedModel) -> None:
    """Let a vision tower work in larger operations, in place; `state_dict` does not change."""
    visual.patch_embed.__class__ = LinearPatchEmbed
    for block in visual.blocks:
        block.attn.__class__ = BatchedWindowAttention
