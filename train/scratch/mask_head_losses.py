"""What a mask head is taught by: masks, the object score and the predicted IoU.

After SAM 2 (https://arxiv.org/abs/2408.00714, appendix D.2): of several masks only the best one is
taught the mask, all are taught to predict their IoU, and a frame without the target teaches the
object score alone. Its focal loss is a plain cross-entropy here, which a small net learns sooner.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from models.mask_head.sam2_forward import MaskDecoderOutput
from train.scratch.config import MaskHeadRecipe


@dataclass(frozen=True, eq=False)
class MaskLosses:
    """Means over targets, as scalars: `bce`, `dice`, `iou` over those present, `score` over all.

    `overlap` is the mean true IoU of the chosen masks of targets present and `right` the share of
    targets whose presence is judged rightly: figures to watch, without gradient.
    """

    bce: torch.Tensor
    dice: torch.Tensor
    score: torch.Tensor
    iou: torch.Tensor
    overlap: torch.Tensor
    right: torch.Tensor

    def total(self, recipe: MaskHeadRecipe) -> torch.Tensor:
        """The weighted sum."""
        return (
            recipe.bce_weight * self.bce
            + recipe.dice_weight * self.dice
            + recipe.score_weight * self.score
            + recipe.iou_weight * self.iou
        )


def mask_losses(
    decoded: MaskDecoderOutput, masks: torch.Tensor, present: torch.Tensor, recipe: MaskHeadRecipe
) -> MaskLosses:
    """Losses of N targets: `masks` (N, h, w) true shares from 0 to 1, `present` (N,) 1.0 or 0.0."""
    logits, truth = decoded.logits, masks[:, None].expand_as(decoded.logits)  # (N, M, h, w)
    bce = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((-2, -1))
    dice = dice_loss(logits.sigmoid(), truth)
    overlap = soft_iou(logits, truth).detach()
    cost = recipe.bce_weight * bce + recipe.dice_weight * dice
    best = cost.detach().argmin(dim=1, keepdim=True)
    chosen = decoded.ious.argmax(dim=1, keepdim=True)

    def over_present(values: torch.Tensor) -> torch.Tensor:
        return (values.squeeze(1) * present).sum() / present.sum().clamp(min=1)

    return MaskLosses(
        bce=over_present(bce.gather(1, best)),
        dice=over_present(dice.gather(1, best)),
        score=F.binary_cross_entropy_with_logits(decoded.score, present),
        iou=over_present((decoded.ious - overlap).abs().mean(dim=1, keepdim=True)),
        overlap=over_present(overlap.gather(1, chosen)),
        right=((decoded.score > 0) == (present > 0)).float().mean(),
    )


def dice_loss(shares: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """1 − Dice over the last two dimensions of two maps of shares; one cell of smoothing."""
    both = 2 * (shares * truth).sum((-2, -1)) + 1
    return 1 - both / (shares.sum((-2, -1)) + truth.sum((-2, -1)) + 1)


def soft_iou(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """IoU over the last two dimensions of positive logits and shares above one half; 0 if both are empty."""
    found, there = logits > 0, truth > 0.5
    either = (found | there).sum((-2, -1))
    return (found & there).sum((-2, -1)) / either.clamp(min=1)


def mean_losses(losses: list[MaskLosses]) -> MaskLosses:
    """The mean of each part, over the frames of a clip or the steps since the last line."""
    return MaskLosses(
        *(torch.stack(parts).mean() for parts in zip(*(vars(each).values() for each in losses), strict=True))
    )
