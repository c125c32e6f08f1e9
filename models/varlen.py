"""Attention inside stretches of one row: samples that lie one behind the other, or windows of pictures.

On a GPU in half precision PyTorch's own flash-attention kernel for stretches of different lengths takes the
whole row. Elsewhere stretches of one length are one batch, and others are attended one by one: to gather
those of each length took longer than it saved (on a CPU 10 against 8 ms for 32 samples of 140 tokens).
"""

import inspect
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

HALF = (torch.bfloat16, torch.float16)


def attend_varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bounds: torch.Tensor,
    longest: int | None = None,
    *,
    scale: float | None = None,
    causal: bool = False,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Attention of each token to those of its own stretch.

    `query` (tokens, heads, width), `key` and `value` perhaps of fewer heads; `bounds` int32 (stretches + 1,)
    holds where stretches begin and the end of the last, `longest` the most tokens of one, where it is known:
    to find it out a GPU must be waited for. Returns (tokens, heads, width).
    """
    if query.is_cuda and not dropout and query.dtype in HALF:
        longest = longest or int(torch.diff(bounds).max())
        return _flash(query, key, value, bounds.int(), longest, scale, causal)
    attend = partial(
        F.scaled_dot_product_attention,
        is_causal=causal,
        scale=scale,
        dropout_p=dropout,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    lengths = torch.diff(bounds).tolist()
    if lengths[:1] * len(lengths) == lengths:
        alike = [states.unflatten(0, (len(lengths), -1)).transpose(1, 2) for states in (query, key, value)]
        return attend(*alike).transpose(1, 2).flatten(0, 1)
    rows = [states.transpose(0, 1)[None].split(lengths, dim=2) for states in (query, key, value)]
    return torch.cat([attend(*each) for each in zip(*rows, strict=True)], dim=2)[0].transpose(0, 1)


def _flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bounds: torch.Tensor,
    longest: int,
    scale: float | None,
    causal: bool,
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    groups = query.shape[1] // key.shape[1]
    grouped: dict[str, Any] = {}
    if groups > 1 and "enable_gqa" in inspect.signature(varlen_attn).parameters:
        grouped = {"enable_gqa": True}
    elif groups > 1:  # an older PyTorch
        key, value = (states.repeat_interleave(groups, dim=1) for states in (key, value))
    window = (-1, 0) if causal else (-1, -1)
    attended = varlen_attn(
        query, key, value, bounds, bounds, longest, longest, scale=scale, window_size=window, **grouped
    )
    assert isinstance(attended, torch.Tensor)
    return attended
