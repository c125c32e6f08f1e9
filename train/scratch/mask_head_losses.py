"""Losses of a mask head: of the masks, the object score and the predicted IoU.

They follow SAM 2 (https://arxiv.org/abs/2408.00714, appendix D.2). If the decoder gives several masks, the
mask losses are those of the best one, and the IoU loss is over all of them. A frame without the target has
the loss of the object score only. Unlike in SAM 2, the mask loss is a plain cross-entropy instead of a focal
loss: the small model converged sooner with it.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from models.mask_head.sam2_forward import MaskDecoderOutput
from train.scratch.config import MaskHeadRecipe


@dataclass(frozen=True, eq=False)
class MaskLosses:
    """Losses as scalars: `bce`, `dice` and `iou` are means over visible targets, `score` over all targets.

    `overlap` and `right` are metrics without gradient: the mean true IoU of the chosen masks of visible
    targets, and the accuracy of the object score.
    """

    bce: torch.Tensor
    dice: torch.Tensor
    score: torch.Tensor
    iou: torch.Tensor
    overlap: torch.Tensor
    right: torch.Tensor

    def total(self, recipe: MaskHeadRecipe) -> torch.Tensor:
        """The weighted sum of the losses."""
        return (
            recipe.bce_weight * self.bce
            + recipe.dice_weight * self.dice
            + recipe.score_weight * self.score
            + recipe.iou_weight * self.iou
        )


def mask_losses(
    decoded: MaskDecoderOutput, masks: torch.Tensor, present: torch.Tensor, recipe: MaskHeadRecipe
) -> MaskLosses:
    """Losses of N targets with M masks each.

    `masks` (N, h, w) hold the share of each cell that the target covers, `present` (N,) is 1.0 where the
    target is visible, else 0.0.
    """
    # 1. Losses of every mask, each (N, M).
    logits, truth = decoded.logits, masks[:, None].expand_as(decoded.logits)  # (N, M, h, w)
    bce = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((-2, -1))
    dice = dice_loss(logits.sigmoid(), truth)
    overlap = soft_iou(logits, truth).detach()
    # 2. The mask with the lowest loss is trained; the one with the highest predicted IoU is the answer.
    cost = recipe.bce_weight * bce + recipe.dice_weight * dice
    best = cost.detach().argmin(dim=1, keepdim=True)
    chosen = decoded.ious.argmax(dim=1, keepdim=True)

    def over_present(values: torch.Tensor) -> torch.Tensor:
        return (values.squeeze(1) * present).sum() / present.sum().clamp(min=1)

    # 3. Absent targets have no mask, so these means are over visible ones; 0 if there are none.
    return MaskLosses(
        bce=over_present(bce.gather(1, best)),
        dice=over_present(dice.gather(1, best)),
        score=F.binary_cross_entropy_with_logits(decoded.score, present),
        # L1 as in SAM 2 (SAM: squared error), for all M masks: the worse ones must learn low scores.
        iou=over_present((decoded.ious - overlap).abs().mean(dim=1, keepdim=True)),
        overlap=over_present(overlap.gather(1, chosen)),
        right=((decoded.score > 0) == (present > 0)).float().mean(),
    )


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
