"""Samples one behind the other in one row: no token is padding, and none sees another sample's.

Attention is told where samples begin (`cu_seq_lens_q`, as flash-attention's variable-length kernels are) and
works sample by sample; everything else in the language model looks at single tokens and does not care.
"""

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from models.varlen import attend_varlen

PACKED = "packed"


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention inside each sample, for `query` (1, heads, tokens, width) and perhaps fewer key heads.

    Without bounds (as in generation) it is transformers' own. Returns (1, tokens, heads, width).
    """
    if cu_seq_lens_q is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    # Rotations are in float32 where the hidden states are; under autocast the values are not.
    query, key, value = (states[0].transpose(0, 1).to(value.dtype) for states in (query, key, value))
    dropout = kwargs.get("dropout", 0.0)
    attended = attend_varlen(
        *(query, key, value, cu_seq_lens_q, max_length_q), scale=scaling, causal=True, dropout=dropout
    )
    return attended[None], None


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, sdpa_mask)


def attend_packed(model: PreTrainedModel) -> None:
    """Let a model's language model take packed rows; what it answers to others does not change."""
    model.set_attn_implementation({"text_config": PACKED})
