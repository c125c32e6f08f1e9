"""Soft labels for the coordinates of a box: numbers close to the true one are partly right.

With hard labels, 099 is as wrong for 100 as 555 is, and a model that is uncertain by a few pixels learns to
combine digits of different numbers. With soft labels, the label of a number is a Gaussian around it (as in
SimCC, arXiv 2107.03332), and the label of a digit is the distribution that this Gaussian gives for it,
conditioned on the true digits before it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from transformers import PreTrainedTokenizerBase

from models.grounder.model import DIGITS, digit_tokens
from train.pairs import IGNORED

REACH = 3  # standard deviations on either side that are counted
MIN_SIDE = 1.0  # smaller sides count as this long, in the unit of the coordinates


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
    labels: torch.Tensor, tokenizer: PreTrainedTokenizerBase, fill: int, width: float
) -> SoftLabels:
    """The soft labels of a left-padded batch that ends with its answers.

    `labels` (batch, length) are IGNORED outside of the answers. `fill` is the number of digits to which the
    contract pads numbers with zeros. `width` is the standard deviation of the Gaussians in sides of the
    target: a few pixels matter more for a small target.
    """
    tokens = digit_tokens(tokenizer)
    digit_of_token = {token: digit for digit, token in enumerate(tokens)}
    columns = max(1, int((labels != IGNORED).sum(1).max()))
    shares = torch.zeros(len(labels), columns, len(DIGITS))
    for row, answer in zip(shares, labels[:, -columns:].tolist(), strict=True):
        # 1. Find the four numbers of the box.
        numbers = numbers_of([digit_of_token.get(token) for token in answer])
        if len(numbers) != 4:  # the target is absent
            continue
        # 2. Its width is the scale of left and right, its height that of top and bottom.
        left, top, right, bottom = (int("".join(map(str, digits))) for _, digits in numbers)
        for (first, digits), side in zip(numbers, (right - left, bottom - top) * 2, strict=True):
            # 3. The distribution of each digit.
            value, deviation = int("".join(map(str, digits))), width * max(side, MIN_SIDE)
            distributions = digit_distributions(value, round(deviation, 1), fill)
            row[first : first + len(digits)] = torch.tensor(distributions)
    return SoftLabels(shares, torch.tensor(tokens))


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
def digit_distributions(value: int, deviation: float, fill: int) -> tuple[tuple[float, ...], ...]:
    """For each digit of a number, the probabilities of 0 to 9 given the true digits before it.

    Numbers around `value` have the weight of a Gaussian with this standard deviation, in units.
    """
    deviation = max(deviation, 1e-3)  # almost a hard label
    reach = math.ceil(REACH * deviation)
    true = str(value).zfill(fill)
    # All numbers within reach, as the model would write them, with their weights.
    weighted = [
        (str(other).zfill(fill), math.exp(-0.5 * ((other - value) / deviation) ** 2))
        for other in range(max(0, value - reach), value + reach + 1)
    ]
    rows = []
    for place in range(len(true)):
        # Only numbers that begin with the true digits count: in training the model reads those digits.
        row = [0.0] * len(DIGITS)
        for text, weight in weighted:
            if len(text) > place and text[:place] == true[:place]:
                row[int(text[place])] += weight
        rows.append(tuple(share / sum(row) for share in row))
    return tuple(rows)


def soft_loss(
    logits: torch.Tensor, targets: torch.Tensor, shares: torch.Tensor, digits: torch.Tensor
) -> torch.Tensor:
    """The summed Kullback-Leibler divergence from the labels: cross-entropy minus the labels' entropy.

    `logits` (answer tokens, vocabulary), `targets` (answer tokens,), `shares` (answer tokens, 10) over the
    token ids `digits` (10,). If the shares are zero, the label is the target and the entropy is 0.
    """
    logits = logits.float()
    # Cross-entropy with a distribution q is logsumexp(logits) - sum(q * logits). q is one-hot at the target,
    # or spread over the digits; the other vocabulary entries need not be touched.
    true = logits.gather(1, targets[:, None])[:, 0] * (1 - shares.sum(1))
    soft = (logits[:, digits] * shares).sum(1)
    cross_entropy: torch.Tensor = (logits.logsumexp(1) - true - soft).sum()
    return cross_entropy - torch.special.entr(shares).sum()
