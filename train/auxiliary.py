"""An auxiliary loss on the image tokens: which of them lie on the target, and where its box is.

The words stand before the search image, so each of its tokens can tell whether it lies on what they
name. Asking every token to say so, from a hidden layer half-way up, teaches *which* thing is meant
long before the digits of a box do. The head is thrown away after training.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from data_prep.geometry import Box, Size

Grid = tuple[int, int]  # columns and rows of tokens


class TokenHead(nn.Module):
    """From a token's hidden state to a logit of lying on the target, and a box as shares of the image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 5)

    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states (batch, tokens, width) to logits (batch, tokens) and boxes (batch, tokens, 4)."""
        out = self.out(self.norm(hidden))
        return out[..., 0], out[..., 1:].sigmoid()


def search_tokens(input_ids: torch.Tensor, image_token: int, grid: Grid) -> torch.Tensor:
    """Positions (batch, columns · rows) of the search image's tokens: the last image of each row."""
    count = grid[0] * grid[1]
    return torch.stack([(row == image_token).nonzero()[-count:, 0] for row in input_ids])


def on_target(boxes_resized: Sequence[Box | None], grid: Grid, resized: Size) -> torch.Tensor:
    """Which tokens have their middle inside the target's box, (batch, columns · rows), row-major.

    The token under the middle of the box always counts, however small the box.
    """
    columns, rows = grid
    cell_width, cell_height = resized[0] / columns, resized[1] / rows
    marks = torch.zeros(len(boxes_resized), rows, columns)
    for mark, box in zip(marks, boxes_resized, strict=True):
        if box is None:
            continue
        left, top, right, bottom = box
        x = (torch.arange(columns) + 0.5) * cell_width
        y = (torch.arange(rows) + 0.5) * cell_height
        mark += ((y >= top) & (y < bottom))[:, None] & ((x >= left) & (x < right))[None, :]
        column = min(columns - 1, int((left + right) / 2 / cell_width))
        row = min(rows - 1, int((top + bottom) / 2 / cell_height))
        mark[row, column] = 1
    return marks.flatten(1)


def token_loss(
    head: TokenHead,
    hidden: torch.Tensor,
    positions: torch.Tensor,
    boxes_resized: Sequence[Box | None],
    grid: Grid,
    resized: Size,
) -> torch.Tensor:
    """Cross-entropy of *on the target* over all tokens, and the L1 distance of boxes from tokens on it.

    `hidden` is (batch, length, width), `positions` (batch, tokens); boxes in pixels of the resized image.
    """
    picked = hidden.gather(1, positions[..., None].expand(-1, -1, hidden.shape[-1])).float()
    logits, boxes = head(picked)
    marks = on_target(boxes_resized, grid, resized).to(logits.device)
    # A target covers few tokens: weigh those up so that neither side outweighs the other by far.
    which = F.binary_cross_entropy_with_logits(logits, marks, pos_weight=marks.new_tensor(3.0))
    if not marks.any():
        return which
    scale = torch.tensor([*resized, *resized], device=boxes.device, dtype=boxes.dtype)
    truth = torch.tensor([box or (0, 0, 0, 0) for box in boxes_resized], device=boxes.device) / scale
    where = ((boxes - truth[:, None]).abs().mean(-1) * marks).sum() / marks.sum()
    return which + 2 * where
