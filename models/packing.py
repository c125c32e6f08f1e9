"""Samples one behind the other in one row: no token is padding, and none sees another sample's.

Attention is told where samples begin (`cu_seq_lens_q`, as flash-attention's variable-length kernels are) and
works sample by sample; everything else in the language model looks at single tokens and does not care.
"""

from typing import Any

import torch
import torch.nn.functional as F
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

PACKED = "packed"


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention inside each sample, for `query` (1, heads, tokens, width) and perhaps fewer key heads.

    Without bounds (as in generation) it is transformers' own. Returns (1, tokens, heads, width).
    """
    if cu_seq_lens_q is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    grouped = query.shape[1] != key.shape[1]
    dropout = kwargs.get("dropout", 0.0)
    if query.is_cuda and not dropout and query.dtype in (torch.bfloat16, torch.float16):
        return _varlen(query, key, value, scaling, cu_seq_lens_q), None
    lengths = torch.diff(cu_seq_lens_q).tolist()
    parts = zip(*(states.split(lengths, dim=2) for states in (query, key, value)), strict=True)
    attended = [
        F.scaled_dot_product_attention(
            queries, keys, values, is_causal=True, scale=scaling, dropout_p=dropout, enable_gqa=grouped
        )
        for queries, keys, values in parts
    ]
    return torch.cat(attended, dim=2).transpose(1, 2), None


def _varlen(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None, bounds: torch.Tensor
) -> torch.Tensor:
    """PyTorch's own flash-attention kernel for samples of different lengths."""
    from torch.nn.attention.varlen import varlen_attn

    groups = query.shape[1] // key.shape[1]
    key, value = (states.repeat_interleave(groups, dim=1) for states in (key, value))
    query, key, value = (states[0].transpose(0, 1) for states in (query, key, value))
    longest = int(torch.diff(bounds).max())
    causal = (-1, 0)
    attended = varlen_attn(
        query, key, value, bounds, bounds, longest, longest, scale=scaling, window_size=causal
    )
    assert isinstance(attended, torch.Tensor)
    return attended.unsqueeze(0)


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, sdpa_mask)


def attend_packed(model: PreTrainedModel) -> None:
    """Let a model's language model take packed rows; what it answers to others does not change."""
    model.set_attn_implementation({"text_config": PACKED})
