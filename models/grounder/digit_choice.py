"""Which digits of a coordinate are taken, where not the most likely ones are.

The digits of a coordinate are a distribution over numbers. The most likely first digit, then the most likely
second one and so on is a number that small changes of the probabilities move by ten. A quantile is steadier,
and costs no more. It is found digit by digit, as in arithmetic decoding: the digits of a number, in their
order, divide the interval from 0 to 1 by their probabilities; the digit whose part contains the quantile is
taken, and the place of the quantile inside that part is the quantile for the next digit.

Where numbers are padded with zeros, the order of their digits is that of the numbers, and the quantile is
exact. Otherwise the most likely token decides how many digits a number has (`order_around`).
"""

import math
from collections.abc import Sequence
from functools import lru_cache

NUMBERS = 4  # in a box
MEDIAN = (0.5,) * NUMBERS


class QuantileDigits:
    """Chooses the digits of one row, so that number n of a box is the quantile `quantiles[n]`.

    `digits` are the token ids of 0 to 9. `is_padded` says whether numbers are padded with zeros.
    """

    def __init__(self, digits: Sequence[int], is_padded: bool, quantiles: Sequence[float]) -> None:
        self._digits = {token: digit for digit, token in enumerate(digits)}
        self._tokens = list(digits)
        self._is_padded, self._quantiles = is_padded, quantiles
        self._number = 0  # how many numbers have begun
        self._quantile: float | None = None  # inside of what the digits so far leave; None: outside a number

    def choose(self, token: int, score: float, digit_scores: Sequence[float]) -> tuple[int, float]:
        """The token at the next place, and its log-probability.

        `token` is the most likely token, with the log-probability `score`; `digit_scores` are the
        log-probabilities of the digits 0 to 9. Where a digit is not the most likely token, the number ends.
        """
        likely = self._digits.get(token)
        if likely is None:
            self._quantile = None
            return token, score
        order: Sequence[int] = range(len(self._tokens))
        if self._quantile is None:
            self._quantile = self._quantiles[self._number % NUMBERS]
            self._number += 1
            if not self._is_padded:
                order = order_around(likely)
        digit, self._quantile = digit_at(digit_scores, order, self._quantile)
        return self._tokens[digit], digit_scores[digit]


def digit_at(scores: Sequence[float], order: Sequence[int], quantile: float) -> tuple[int, float]:
    """The digit whose part of the interval contains the quantile, and the place of the quantile in that part.

    `scores` are log-probabilities, which need not be normalised.
    """
    highest = max(scores)
    shares = [math.exp(scores[digit] - highest) for digit in order]
    # What is left of the quantile after the parts of the digits before.
    left = quantile * sum(shares)
    for digit, share in zip(order, shares, strict=True):
        if left < share:
            return digit, left / share
        left -= share
    # Only rounding leads here: the quantile is at the very end.
    possible = [digit for digit, share in zip(order, shares, strict=True) if share > 0]
    # There is none where scores are NaN, which the grounder reports after decoding.
    return (possible or order)[-1], 1.0


@lru_cache(maxsize=10)
def order_around(digit: int) -> tuple[int, ...]:
    """The first digits of numbers near each other, in their order, where numbers are not padded.

    Behind 9 there follow 10 and 100, whose first digit is 1. So the digits 1 to 9 form a circle, which is cut
    opposite to the most likely digit.
    """
    if digit == 0:  # the number 0
        return tuple(range(10))
    circle = [(digit - 5 + step) % 9 + 1 for step in range(9)]
    # No other number begins with 0, and 0 is followed by 1.
    place = circle.index(1)
    return (*circle[:place], 0, *circle[place:])
