"""Attention within the sequences of one row (variable-length attention), for packed samples and image
windows.

A packed row contains samples one after the other without padding. Attention gets the indices at which they
begin (`cu_seq_lens_q`, as the variable-length kernels of flash-attention) and stays within each sample. All
other operations of the language model work on single tokens, so they do not depend on the samples.
"""

import inspect
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

PACKED = "packed"
"""The name of `packed_attention` as an `attn_implementation` of transformers."""
HALF = (torch.bfloat16, torch.float16)


def attend_varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seqlens: torch.Tensor,
    longest: int | None = None,
    *,
    scale: float | None = None,
    causal: bool = False,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Attention of each token to the tokens of its own sequence.

    `query` is (tokens, heads, width); `key` and `value` are (tokens, key heads, width). `cu_seqlens` int32
    (sequences + 1,) are the indices of the first token of each sequence, and the end of the last one.
    `longest` is the length of the longest sequence, if it is known: computing it synchronises with the GPU.
    Returns (tokens, heads, width).

    On a GPU in half precision this is one call of PyTorch's flash-attention kernel for sequences of different
    lengths. Elsewhere, sequences of equal length form a batch, and others are processed one by one. Grouping
    them by length takes longer than it saves (on a CPU 10 instead of 8 ms for 32 samples of 140 tokens).
    """
    # PyTorch's kernel takes half precision only, and has no dropout.
    if query.is_cuda and not dropout and query.dtype in HALF:
        longest = longest or int(torch.diff(cu_seqlens).max())
        return _flash(query, key, value, cu_seqlens.int(), longest, scale, causal)
    attend = partial(
        F.scaled_dot_product_attention,
        is_causal=causal,
        scale=scale,
        dropout_p=dropout,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    # Python needs the lengths here, so on a GPU this path synchronises.
    lengths = torch.diff(cu_seqlens).tolist()
    if lengths[:1] * len(lengths) == lengths:
        # (tokens, heads, width) to (sequences, heads, length, width) and back
        batched = [states.unflatten(0, (len(lengths), -1)).transpose(1, 2) for states in (query, key, value)]
        return attend(*batched).transpose(1, 2).flatten(0, 1)
    # (1, heads, length, width) for each sequence
    rows = [states.transpose(0, 1)[None].split(lengths, dim=2) for states in (query, key, value)]
    return torch.cat([attend(*each) for each in zip(*rows, strict=True)], dim=2)[0].transpose(0, 1)


def _flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seqlens: torch.Tensor,
    longest: int,
    scale: float | None,
    causal: bool,
) -> torch.Tensor:
    """`attend_varlen` by PyTorch's kernel, which is imported here because some versions do not have it."""
    from torch.nn.attention.varlen import varlen_attn

    groups = query.shape[1] // key.shape[1]
    grouped: dict[str, Any] = {}
    if groups > 1 and "enable_gqa" in inspect.signature(varlen_attn).parameters:
        grouped = {"enable_gqa": True}
    elif groups > 1:  # older versions of PyTorch need as many key heads as query heads
        key, value = (states.repeat_interleave(groups, dim=1) for states in (key, value))
    # (tokens before, tokens after) that a token attends to; -1: all of its sequence
    window = (-1, 0) if causal else (-1, -1)
    attended = varlen_attn(
        query,
        key,
        value,
        cu_seqlens,
        cu_seqlens,
        longest,
        longest,
        scale=scale,
        window_size=window,
        **grouped,
    )
    assert isinstance(attended, torch.Tensor)
    return attended


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
    """Causal attention within each sample of a packed row, with the signature of attention in transformers.

    `query` is (1, heads, tokens, width); `key` and `value` are (1, key heads, tokens, width). Returns (1,
    tokens, heads, width). Without `cu_seq_lens_q`, as in generation, transformers' own attention is used.
    """
    if cu_seq_lens_q is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    # (1, heads, tokens, width) -> (tokens, heads, width). Rotary embeddings turn queries and keys into
    # float32 where hidden states are float32. Under autocast values are in half precision, and all three need
    # one dtype.
    query, key, value = (states[0].transpose(0, 1).to(value.dtype) for states in (query, key, value))
    dropout = kwargs.get("dropout", 0.0)
    attended = attend_varlen(
        *(query, key, value, cu_seq_lens_q, max_length_q), scale=scaling, causal=True, dropout=dropout
    )
    return attended[None], None


AttentionInterface.register(PACKED, packed_attention)
# Without packing, `packed_attention` is SDPA and needs its mask.
AttentionMaskInterface.register(PACKED, sdpa_mask)


def use_packed_attention(model: PreTrainedModel) -> None:
    """Make the language model of a model accept packed rows, in place; results for other
    inputs do not change.
    """
    # Of the language model alone: the vision tower keeps its own attention.
    model.set_attn_implementation({"text_config": PACKED})
