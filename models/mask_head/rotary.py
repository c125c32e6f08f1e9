"""Rotary position encodings of a grid of tokens, as the memory attention of SAM 2 has them."""

from typing import Any

import torch


class RotaryGrid:
    """Rotates queries and keys by their places in the coarsest feature map (arXiv 2104.09864, in two axes).

    `module` is the library's memory attention, of which no weight is used. L are the tokens of the map.
    """

    def __init__(self, module: Any) -> None:
        # Cosines and sines: (L, channels of a head).
        like = module.layer_norm.weight.detach()
        cos, sin = (table[0] for table in module.rotary_emb(like, module.position_ids))
        self.cos = cos
        # A pair of channels (x, y) is rotated to (x·cos - y·sin, y·cos + x·sin). With a sign in the sines of
        # the first channels, both are a sum.
        self.signed_sin = torch.stack([-sin[..., 0::2], sin[..., 1::2]], dim=-1).flatten(-2)

    def rotate(self, states: torch.Tensor) -> torch.Tensor:
        """Rotate `states` (…, k·L, channels), of which each L tokens are a grid."""
        # In float32, as the library does it.
        grids = states.float().unflatten(-2, (-1, len(self.cos)))
        rotated = (grids * self.cos).add_(_swapped(grids).mul_(self.signed_sin))
        return rotated.flatten(-3, -2).type_as(states)

    def rotate_everywhere(self, states: torch.Tensor) -> torch.Tensor:
        """Rotate each of `states` (…, channels), which has no place, to every place: (…, L, channels)."""
        vectors = states.float()[..., None, :]
        return torch.addcmul(vectors * self.cos, _swapped(vectors), self.signed_sin).type_as(states)


def _swapped(states: torch.Tensor) -> torch.Tensor:
    """A copy of `states` in which the channels of each pair have changed places: (x, y) -> (y, x)."""
    return states.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
