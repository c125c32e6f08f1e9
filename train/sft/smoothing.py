"""Soft labels for the numbers of a box: what is near the true number is nearly right.

A label that is one digit says that 099 is as wrong for 100 as 555 is, and a model that is unsure of a few
pixels learns digits that do not go together. Here a number's label is a Gaussian around it (as SimCC's for
coordinates, arXiv 2107.03332), and a digit's what that Gaussian leaves after the digits before it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from transformers import PreTrainedTokenizerBase

from models.grounder.tokens import DIGITS, digit_tokens
from train.answers import IGNORED

REACH = 3  # standard deviations to either side that count
LEAST = 1.0  # side of a target, in units of the numbers, that is taken for smaller ones


@dataclass(frozen=True, eq=False)
class SoftDigits:
    """Shares of the ten digits in the labels of the last columns of a batch, (batch, columns, 10).

    Zero where a label is no digit of a box; else they sum to one. `tokens` (10,) are the digits' own.
    """

    shares: torch.Tensor
    tokens: torch.Tensor

    def to(self, device: torch.device) -> "SoftDigits":
        """The same on a device; copied while it works where its memory is pinned."""
        return SoftDigits(*(each.to(device, non_blocking=True) for each in (self.shares, self.tokens)))

    def pin_memory(self) -> "SoftDigits":
        """The same in memory that a GPU copies from by itself."""
        return SoftDigits(self.shares.pin_memory(), self.tokens.pin_memory())

    def of_answers(self, labels: torch.Tensor) -> torch.Tensor:
        """The shares of each answer token, (answer tokens, 10), row by row."""
        return self.shares[labels[:, -self.shares.shape[1] :] != IGNORED]


def soft_digits(
    labels: torch.Tensor, tokenizer: PreTrainedTokenizerBase, fill: int, width: float
) -> SoftDigits:
    """The soft labels of a left-padded batch that ends with its answers.

    `labels` (batch, length) are `IGNORED` outside them; `fill` is the length to which the contract fills
    numbers with zeros; `width` the standard deviation of the Gaussians in sides of the target.
    """
    tokens = digit_tokens(tokenizer)
    place = {token: digit for digit, token in enumerate(tokens)}
    columns = max(1, int((labels != IGNORED).sum(1).max()))
    shares = torch.zeros(len(labels), columns, len(DIGITS))
    for row, answer in zip(shares, labels[:, -columns:].tolist(), strict=True):
        numbers = numbers_of([place.get(token) for token in answer])
        if len(numbers) != 4:  # the target is absent
            continue
        left, top, right, bottom = (int("".join(map(str, digits))) for _, digits in numbers)
        for (first, digits), side in zip(numbers, (right - left, bottom - top) * 2, strict=True):
            value, deviation = int("".join(map(str, digits))), width * max(side, LEAST)
            row[first : first + len(digits)] = torch.tensor(near(value, round(deviation, 1), fill))
    return SoftDigits(shares, torch.tensor(tokens))


def numbers_of(digits: Sequence[int | None]) -> list[tuple[int, list[int]]]:
    """Where numbers begin in a row of digits (None: something else), and their digits; names' are left out.

    The keys of an answer hold a digit too (`bbox_2d`), before the four numbers of the box.
    """
    found: list[tuple[int, list[int]]] = []
    for column, digit in enumerate(digits):
        if digit is None:
            continue
        if found and column == found[-1][0] + len(found[-1][1]):
            found[-1][1].append(digit)
        else:
            found.append((column, [digit]))
    return found[-4:] if len(found) >= 4 else []


@lru_cache(maxsize=65536)
def near(value: int, deviation: float, fill: int) -> tuple[tuple[float, ...], ...]:
    """For each digit of a number, the shares of 0 to 9 there, given the true digits before it.

    Numbers around it count as a Gaussian of so many units says, each written as it would be.
    """
    deviation = max(deviation, 1e-3)
    reach = math.ceil(REACH * deviation)
    true = str(value).zfill(fill)
    written = [
        (str(other).zfill(fill), math.exp(-0.5 * ((other - value) / deviation) ** 2))
        for other in range(max(0, value - reach), value + reach + 1)
    ]
    rows = []
    for place in range(len(true)):
        row = [0.0] * len(DIGITS)
        for text, weight in written:
            if len(text) > place and text[:place] == true[:place]:
                row[int(text[place])] += weight
        rows.append(tuple(share / sum(row) for share in row))
    return tuple(rows)


def soft_loss(
    logits: torch.Tensor, targets: torch.Tensor, shares: torch.Tensor, digits: torch.Tensor
) -> torch.Tensor:
    """How far predictions are from labels, summed: the divergence from soft ones, else the cross-entropy.

    `logits` (answer tokens, vocabulary), `targets` (answer tokens,), `shares` (answer tokens, 10) of the
    `digits` (10,), zero where a label is its target alone.
    """
    logits = logits.float()
    true = logits.gather(1, targets[:, None])[:, 0] * (1 - shares.sum(1))
    near_true = (logits[:, digits] * shares).sum(1)
    crossed: torch.Tensor = (logits.logsumexp(1) - true - near_true).sum()
    return crossed - torch.special.entr(shares).sum()
