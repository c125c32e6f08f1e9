"""Qwen2.5-VL's vision tower, the same sums in fewer and larger operations.

transformers attends window by window in a Python loop and embeds patches by a 3-D convolution whose
kernel is the whole patch. Here windows are one call (models/varlen.py), the convolution is the matrix
product that it is, and norms, rotations and gates go over memory fewer times. Weights, names and results
stay as they are (to rounding). On a CPU a step of fine-tuning takes 1.2 times as long without.
"""

from typing import Any

import torch
import torch.nn.functional as F
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VisionPatchEmbed,
    Qwen2_5_VisionTransformerPretrainedModel,
    Qwen2_5_VLMLP,
    Qwen2_5_VLRMSNorm,
    Qwen2_5_VLVisionAttention,
)

from models.varlen import attend_varlen


class WindowAttention(Qwen2_5_VLVisionAttention):
    """Attention inside windows (or whole images) as one call, where that can be."""

    longest: int | None = None
    """Patches of a window, at most; None: whole images."""

    def forward(  # type: ignore[override]  # the library's keyword arguments beyond these do not concern it
        self,
        hidden_states: torch.Tensor,
        cu_seqlens: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        max_seqlen: int | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> torch.Tensor:
        """Hidden states (patches, width) to the same shape; `cu_seqlens` holds the windows' bounds."""
        states = self.qkv(hidden_states).view(len(hidden_states), 3, self.num_heads, -1)
        queries, keys = rotated(states[:, :2], *position_embeddings).unbind(1)
        longest = self.longest or max_seqlen
        attended = attend_varlen(queries, keys, states[:, 2], cu_seqlens, longest, scale=self.scaling)
        return self.proj(attended.reshape(len(hidden_states), -1))


def rotated(states: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Queries and keys turned by their places (rotary embedding, arXiv 2104.09864), in float32 within.

    `states` (patches, 2, heads, width); `cosines` and `sines` (patches, width), whose halves are alike.
    """
    half = cosines.shape[-1] // 2
    cosine, sine = (turn[:, None, None, :half].float() for turn in (cosines, sines))
    first, second = states.float().split(half, dim=-1)
    turned = (
        torch.addcmul(first * cosine, second, sine, value=-1),
        torch.addcmul(second * cosine, first, sine),
    )
    return torch.cat(turned, dim=-1).to(states.dtype)


class InPlaceMLP(Qwen2_5_VLMLP):
    """The gated map, with one tensor of its inner width less where no gradient is wanted."""

    def forward(self, hidden_state: torch.Tensor) -> torch.Tensor:
        """Hidden states (patches, width) to the same shape."""
        gate, up = self.act_fn(self.gate_proj(hidden_state)), self.up_proj(hidden_state)
        return self.down_proj(gate * up if torch.is_grad_enabled() else gate.mul_(up))


class FewPassNorm(Qwen2_5_VLRMSNorm):
    """Root-mean-square norm in float32 with half as many passes over memory; the library's own elsewhere."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Hidden states (patches, width) to the same shape."""
        if hidden_states.dtype != torch.float32 or torch.is_grad_enabled():
            return super().forward(hidden_states)
        squares = torch.linalg.vector_norm(hidden_states, dim=-1, keepdim=True).square()
        scale = torch.rsqrt(squares / hidden_states.shape[-1] + self.variance_epsilon)
        return (hidden_states * scale).mul_(self.weight)


class LinearPatchEmbed(Qwen2_5_VisionPatchEmbed):
    """Flattened patches (patches, channels · frames · height · width) to (patches, width)."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """A convolution whose stride is its kernel, as a matrix product."""
        if hasattr(self.proj.weight, "ds_id"):  # in pieces (ZeRO-3), which are gathered when `proj` is called
            return super().forward(hidden_states)
        kernel = self.proj.weight.flatten(1)
        return F.linear(hidden_states.to(kernel.dtype), kernel)


def quicken(visual: Qwen2_5_VisionTransformerPretrainedModel) -> None:
    """Let a vision tower work in larger operations, in place; `state_dict` does not change."""
    visual.patch_embed.__class__ = LinearPatchEmbed
    block: Any
    for number, block in enumerate(visual.blocks):
        block.attn.__class__ = WindowAttention
        if number not in visual.fullatt_block_indexes:
            block.attn.longest = (visual.window_size // visual.patch_size) ** 2
        block.mlp.__class__ = InPlaceMLP
        for norm in (block.norm1, block.norm2):
            norm.__class__ = FewPassNorm
    visual.merger.ln_q.__class__ = FewPassNorm
