"""Attention inside stretches of a row: what each token sees, on every way that it is computed."""

import itertools
import sys
import types
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.kernels import attention
from models.kernels.attention import attend_varlen


def plain(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bounds: list[int], scale: float, causal: bool
) -> torch.Tensor:
    """By the formula, with a mask over the whole row."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    sample = torch.bucketize(torch.arange(len(query)), torch.tensor(bounds[1:]), right=True)
    seen = sample[:, None] == sample[None]
    if causal:
        seen = seen.tril()
    scores = torch.einsum("qhw,khw->hqk", query, key) * scale
    return torch.einsum("hqk,khw->qhw", scores.masked_fill(~seen, -torch.inf).softmax(-1), value)


def row(tokens: int, heads: int, width: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(tokens * heads)
    return torch.randn(tokens, heads, width, generator=generator)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.booleans(), st.sampled_from([1, 2, 4]))
def test_a_token_sees_its_own_stretch(lengths: list[int], causal: bool, key_heads: int) -> None:
    bounds = [0, *itertools.accumulate(lengths)]
    states = row(bounds[-1], 4), row(bounds[-1], key_heads), row(bounds[-1], key_heads).flip(0)
    found = attend_varlen(*states, torch.tensor(bounds), scale=0.3, causal=causal)
    torch.testing.assert_close(found, plain(*states, bounds, 0.3, causal), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("grouped", [True, False])
def test_the_kernel_for_gpus_is_told_the_same(monkeypatch: pytest.MonkeyPatch, grouped: bool) -> None:
    """The kernel itself wants a GPU: another in its place, with and without `enable_gqa`."""

    def kernel(query: Any, key: Any, value: Any, bounds: Any, other: Any, *longest: int, **told: Any) -> Any:
        assert longest == (5, 5) and torch.equal(bounds, other) and bounds.dtype == torch.int32
        assert grouped or query.shape == key.shape
        return plain(query, key, value, bounds.tolist(), told["scale"], told["window_size"] == (-1, 0))

    def newer(*states: Any, scale: float, window_size: Any, enable_gqa: bool = False) -> Any:
        assert enable_gqa
        return kernel(*states, scale=scale, window_size=window_size)

    module = types.ModuleType("torch.nn.attention.varlen")
    vars(module)["varlen_attn"] = newer if grouped else kernel
    monkeypatch.setitem(sys.modules, "torch.nn.attention.varlen", module)
    states = row(12, 4), row(12, 2), row(12, 2).flip(0)
    bounds = torch.tensor([0, 5, 8, 12])
    for causal in (True, False):
        found = attention._flash(*states, bounds.int(), 5, 0.3, causal)
        torch.testing.assert_close(found, attend_varlen(*states, bounds, scale=0.3, causal=causal))


def test_the_kernel_for_gpus_takes_these_arguments() -> None:
    import inspect

    from torch.nn.attention.varlen import varlen_attn

    inspect.signature(varlen_attn).bind(1, 2, 3, 4, 5, 6, 7, scale=0.3, window_size=(-1, 0))
