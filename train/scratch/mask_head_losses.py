"""Losses of a mask head: of the masks, the object score and the predicted IoU.

They follow SAM 2 (https://arxiv.org/abs/2408.00714, appendix D.2). If the decoder gives several masks, the
mask losses are those of the best one, and the IoU loss is over all of them. A frame without the target has
the loss of the object score only. Unlike in SAM 2, the mask loss is a plain cross-entropy instead of a focal
loss: the small model converged sooner with it.

Logits are enlarged to the resolution of the true masks first, in the same way as tracking enlarges them to
the frame. So true masks that are finer than the decoder's cells teach it where in a cell a boundary lies.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from models.mask_head.sam2_forward import MaskDecoderOutput
from train.scratch.config import MaskHeadRecipe


@dataclass(frozen=True, eq=False)
class MaskLosses:
    """Losses as scalars: `score` is a mean over all targets, the others are means over visible targets.

    `overlap` and `right` are metrics without gradient: the mean true IoU of the chosen masks of visible
    targets, and the accuracy of the object score.
    """

    bce: torch.Tensor
    boundary: torch.Tensor
    dice: torch.Tensor
    score: torch.Tensor
    iou: torch.Tensor
    overlap: torch.Tensor
    right: torch.Tensor

    def total(self, recipe: MaskHeadRecipe) -> torch.Tensor:
        """The weighted sum of the losses."""
        return (
            recipe.bce_weight * self.bce
            + recipe.boundary_weight * self.boundary
            + recipe.dice_weight * self.dice
            + recipe.score_weight * self.score
            + recipe.iou_weight * self.iou
        )


def mask_losses(
    decoded: MaskDecoderOutput, masks: torch.Tensor, present: torch.Tensor, recipe: MaskHeadRecipe
) -> MaskLosses:
    """Losses of N targets with M masks each.

    `masks` (N, h, w) hold the share of each cell that the target covers, at the resolution of the decoder or
    at a multiple of it; `present` (N,) is 1.0 where the target is visible, else 0.0.
    """
    # 1. Losses of every mask, each (N, M).
    logits = enlarged(decoded.logits, masks.shape[-2:])  # (N, M, h, w)
    truth = masks[:, None].expand_as(logits)
    cells = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    bce, dice = cells.mean((-2, -1)), dice_loss(logits.sigmoid(), truth)
    boundary = _boundary_loss(cells, masks, recipe)
    overlap = soft_iou(logits, truth).detach()
    # 2. The mask with the lowest loss is trained; the one with the highest predicted IoU is the answer.
    cost = recipe.bce_weight * bce + recipe.boundary_weight * boundary + recipe.dice_weight * dice
    best = cost.detach().argmin(dim=1, keepdim=True)
    chosen = decoded.ious.argmax(dim=1, keepdim=True)

    def over_present(values: torch.Tensor) -> torch.Tensor:
        return (values.squeeze(1) * present).sum() / present.sum().clamp(min=1)

    # 3. Absent targets have no mask, so these means are over visible ones; 0 if there are none.
    return MaskLosses(
        bce=over_present(bce.gather(1, best)),
        boundary=over_present(boundary.gather(1, best)),
        dice=over_present(dice.gather(1, best)),
        score=F.binary_cross_entropy_with_logits(decoded.score, present),
        # L1 as in SAM 2 (SAM: squared error), for all M masks: the worse ones must learn low scores.
        iou=over_present((decoded.ious - overlap).abs().mean(dim=1, keepdim=True)),
        overlap=over_present(overlap.gather(1, chosen)),
        right=((decoded.score > 0) == (present > 0)).float().mean(),
    )


def enlarged(logits: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Logits (N, M, h, w) at the resolution `size` (height, width), interpolated as in tracking."""
    if logits.shape[-2:] == tuple(size):
        return logits
    return F.interpolate(logits, tuple(size), mode="bilinear", align_corners=False)


def _boundary_loss(cells: torch.Tensor, masks: torch.Tensor, recipe: MaskHeadRecipe) -> torch.Tensor:
    """The mean cross-entropy of the cells near the true boundary, (N, M), of that of all cells (N, M, h, w).

    A mean over the boundary weighs small targets as much as large ones.
    """
    if not recipe.boundary_weight:
        return cells.new_zeros(cells.shape[:2])
    near = boundary_band(masks, recipe.boundary_width)[:, None]  # (N, 1, h, w)
    return (cells * near).sum((-2, -1)) / near.sum((-2, -1)).clamp(min=1)


def boundary_band(masks: torch.Tensor, width: int) -> torch.Tensor:
    """1.0 for the cells of masks (N, h, w) within `width` cells of a true boundary, else 0.0.

    Beside a boundary, a square of 2 * width + 1 cells holds cells inside and outside of the target.
    """
    there, side = (masks > 0.5).float(), 2 * width + 1
    highest, lowest = (sign * F.max_pool2d(sign * there, side, 1, width) for sign in (1, -1))
    return highest - lowest


def dice_loss(shares: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """1 - Dice coefficient over the last two dimensions of two maps from 0 to 1, smoothed by one cell."""
    both = 2 * (shares * truth).sum((-2, -1)) + 1
    return 1 - both / (shares.sum((-2, -1)) + truth.sum((-2, -1)) + 1)


def soft_iou(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """IoU over the last two dimensions of logits above 0 and shares above 0.5; 0 if both are empty."""
    found, there = logits > 0, truth > 0.5
    either = (found | there).sum((-2, -1))
    return (found & there).sum((-2, -1)) / either.clamp(min=1)


def mean_losses(losses: list[MaskLosses]) -> MaskLosses:
    """The mean of each field, over the frames of a clip."""
    return MaskLosses(
        *(torch.stack(parts).mean() for parts in zip(*(vars(each).values() for each in losses), strict=True))
    )
