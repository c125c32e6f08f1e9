"""Soft labels for the coordinates of a box: numbers close to the true one are partly right.

With hard labels, 099 is as wrong for 100 as 555 is, and a model that is uncertain by a few pixels learns to
combine digits of different numbers. With soft labels, the label of a number is a Gaussian around it (as in
SimCC, arXiv 2107.03332), and the label of a digit is the distribution that this Gaussian gives for it,
conditioned on the digits before it.

Those are the true ones, or with `sampled_box` those of a number that is drawn from the Gaussian. The model
then also learns what follows a digit that is only almost right, and does not rely on the numbers before.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from data_prep.geometry import Box
from models.grounder.model import DIGITS, digit_tokens
from train.pairs import IGNORED

REACH = 3  # standard deviations on either side that are counted
MIN_SIDE = 1.0  # smaller sides count as this long, in the unit of the coordinates
# A hard label: only numbers at most half a unit away have a weight above 0 (e^-312, and not e^-1250).
MIN_DEVIATION = 0.02


@dataclass(frozen=True, eq=False)
class SoftLabels:
    """Distributions over the ten digits for the last columns of a batch: `shares` (batch, columns, 10).

    They sum to one if the label is a digit of a box, and are zero elsewhere. `tokens` (10,) are the token
    ids of the digits.
    """

    shares: torch.Tensor
    tokens: torch.Tensor

    def to(self, device: torch.device) -> "SoftLabels":
        """A copy on a device; asynchronous where the memory is pinned."""
        return SoftLabels(*(each.to(device, non_blocking=True) for each in (self.shares, self.tokens)))

    def pin_memory(self) -> "SoftLabels":
        """A copy in pinned memory."""
        return SoftLabels(self.shares.pin_memory(), self.tokens.pin_memory())

    def of_answers(self, labels: torch.Tensor) -> torch.Tensor:
        """The distribution of each answer token, (answer tokens, 10), row by row."""
        return self.shares[labels[:, -self.shares.shape[1] :] != IGNORED]


def soft_labels(
    labels: torch.Tensor,
    tokenizer: PreTrainedTokenizerBase,
    fill: int,
    width: float,
    true_boxes: Sequence[Box | None] | None = None,
) -> SoftLabels:
    """The soft labels of a left-padded batch that ends with its answers.

    `labels` (batch, length) are IGNORED outside of the answers. `fill` is the number of digits to which the
    contract pads numbers with zeros. `width` is the standard deviation of the Gaussians in sides of the
    target: a few pixels matter more for a small target. `true_boxes` are the true numbers of each answer,
    where the answers hold others (`sampled_box`); None: the answers are true.
    """
    tokens = digit_tokens(tokenizer)
    digit_of_token = {token: digit for digit, token in enumerate(tokens)}
    columns = max(1, int((labels != IGNORED).sum(1).max()))
    shares = torch.zeros(len(labels), columns, len(DIGITS))
    for index, (row, answer) in enumerate(zip(shares, labels[:, -columns:].tolist(), strict=True)):
        # 1. Find the four numbers of the box.
        numbers = numbers_of([digit_of_token.get(token) for token in answer])
        if len(numbers) != 4:  # the target is absent
            continue
        # 2. Its width is the scale of left and right, its height that of top and bottom.
        written = [int("".join(map(str, digits))) for _, digits in numbers]
        true_box = true_boxes[index] if true_boxes is not None else None
        # Halves of a unit matter for small targets; finer values would make many different labels.
        true = written if true_box is None else [round(2 * value) / 2 for value in true_box]
        for (first, digits), value, read, deviation in zip(
            numbers, true, written, _deviations(written if true_box is None else true_box, width), strict=True
        ):
            # 3. The distribution of each digit.
            distributions = digit_distributions(value, deviation, fill, read)
            row[first : first + len(digits)] = torch.tensor(distributions)
    return SoftLabels(shares, torch.tensor(tokens))


def sampled_box(rng: np.random.Generator, box: Box, width: float) -> Box:
    """Whole numbers drawn from the Gaussians of the soft labels around the numbers of `box`."""
    drawn = []
    for value, deviation in zip(box, _deviations(box, width), strict=True):
        # Within the reach, so that each digit has a share of the label.
        reach = math.ceil(REACH * deviation)
        moved = value + min(max(float(rng.normal(0.0, deviation)), -reach), reach)
        drawn.append(float(max(0, round(moved))))
    left, top, right, bottom = drawn
    return left, top, right, bottom


def _deviations(box: Sequence[float], width: float) -> list[float]:
    """The standard deviation of each number of a box, (4,), rounded so that few different ones occur."""
    left, top, right, bottom = box
    sides = (right - left, bottom - top) * 2
    return [max(round(width * max(side, MIN_SIDE), 1), MIN_DEVIATION) for side in sides]


def numbers_of(digits: Sequence[int | None]) -> list[tuple[int, list[int]]]:
    """The first column and the digits of each number of a box; `digits` holds None for other tokens.

    The key of the box (`bbox_2d`) holds a digit too, so the last four numbers are taken. Empty if there are
    fewer.
    """
    found: list[tuple[int, list[int]]] = []
    for column, digit in enumerate(digits):
        if digit is None:
            continue
        # A digit right behind the last one belongs to the same number.
        if found and column == found[-1][0] + len(found[-1][1]):
            found[-1][1].append(digit)
        else:
            found.append((column, [digit]))
    return found[-4:] if len(found) >= 4 else []


@lru_cache(maxsize=65536)
def digit_distributions(
    value: float, deviation: float, fill: int, read: int | None = None
) -> tuple[tuple[float, ...], ...]:
    """For each digit of the number `read`, the probabilities of 0 to 9 given the digits before it.

    Numbers around `value` have the weight of a Gaussian with this standard deviation, in units. `read` is
    within its reach; None: it is `value`.
    """
    deviation = max(deviation, MIN_DEVIATION)
    reach = math.ceil(REACH * deviation)
    read_text = str(round(value) if read is None else read).zfill(fill)
    # All numbers within reach, as the model would write them, with their weights.
    weighted = [
        (str(other).zfill(fill), math.exp(-0.5 * ((other - value) / deviation) ** 2))
        for other in range(max(0, math.floor(value) - reach), math.ceil(value) + reach + 1)
    ]
    rows = []
    for place in range(len(read_text)):
        # Only numbers that begin with the digits before count: in training the model reads those digits.
        row = [0.0] * len(DIGITS)
        for text, weight in weighted:
            if len(text) > place and text[:place] == read_text[:place]:
                row[int(text[place])] += weight
        rows.append(tuple(share / sum(row) for share in row))
    return tuple(rows)


def soft_loss(
    logits: torch.Tensor, targets: torch.Tensor, shares: torch.Tensor, digits: torch.Tensor
) -> torch.Tensor:
    """The sum of `soft_losses`."""
    return soft_losses(logits, targets, shares, digits).sum()


def soft_losses(
    logits: torch.Tensor, targets: torch.Tensor, shares: torch.Tensor, digits: torch.Tensor
) -> torch.Tensor:
    """The Kullback-Leibler divergence from each label: cross-entropy minus the label's entropy.

    `logits` (answer tokens, vocabulary), `targets` (answer tokens,), `shares` (answer tokens, 10) over the
    token ids `digits` (10,). If the shares are zero, the label is the target and the entropy is 0. Returns
    (answer tokens,).
    """
    logits = logits.float()
    # Cross-entropy with a distribution q is logsumexp(logits) - sum(q * logits). q is one-hot at the target,
    # or spread over the digits; the other vocabulary entries need not be touched.
    true = logits.gather(1, targets[:, None])[:, 0] * (1 - shares.sum(1))
    soft = (logits[:, digits] * shares).sum(1)
    return logits.logsumexp(1) - true - soft - torch.special.entr(shares).sum(1)
