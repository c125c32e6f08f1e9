"""Attention inside the sequences of one row, for packed samples and for the windows of images.

A packed row holds samples one after the other without padding. Attention is told where they begin
(`cu_seq_lens_q`, as for flash-attention's variable-length kernels) and works inside each sample. Everything
else in the language model works token by token, so it does not need to know.
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

    `query` (tokens, heads, width); `key` and `value` (tokens, key heads, width). `cu_seqlens` int32
    (sequences + 1,) holds where sequences begin, and the end of the last. `longest` is the most tokens of one
    sequence, where it is known: finding it out waits for the GPU. Returns (tokens, heads, width).

    On a GPU in half precision this is one call of PyTorch's flash-attention kernel for sequences of different
    lengths. Elsewhere sequences of one length form a batch, and others are attended one by one: to group them
    by length took longer than it saved (on a CPU 10 against 8 ms for 32 samples of 140 tokens).
    """
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
    """`attend_varlen` by PyTorch's kernel, which some versions lack; so it is imported here."""
    from torch.nn.attention.varlen import varlen_attn

    groups = query.shape[1] // key.shape[1]
    grouped: dict[str, Any] = {}
    if groups > 1 and "enable_gqa" in inspect.signature(varlen_attn).parameters:
        grouped = {"enable_gqa": True}
    elif groups > 1:  # an older PyTorch, which needs as many key heads as query heads
        key, value = (states.repeat_interleave(groups, dim=1) for states in (key, value))
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
    """Causal attention inside each sample of a packed row, as transformers calls an attention.

    `query` (1, heads, tokens, width), `key` and `value` (1, key heads, tokens, width). Without
    `cu_seq_lens_q`, as in generation, it is transformers' own attention. Returns (1, tokens, heads, width).
    """
    if cu_seq_lens_q is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    # Rotary embeddings make queries and keys float32 where hidden states are; under autocast values are not.
    query, key, value = (states[0].transpose(0, 1).to(value.dtype) for states in (query, key, value))
    dropout = kwargs.get("dropout", 0.0)
    attended = attend_varlen(
        *(query, key, value, cu_seq_lens_q, max_length_q), scale=scaling, causal=True, dropout=dropout
    )
    return attended[None], None


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, sdpa_mask)


def use_packed_attention(model: PreTrainedModel) -> None:
    """Let a model's language model take packed rows, in place; its results for other inputs do not change."""
    model.set_attn_implementation({"text_config": PACKED})
