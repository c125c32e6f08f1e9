"""Which pairs a process takes in which optimizer step, and in which micro-batch.

This changes the speed of a step and not its result: the loss is one sum over all answer tokens of the step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from configs.errors import UserError
from data_prep.contract.contract import Contract
from data_prep.contract.images import search_size
from data_prep.geometry import Size
from data_prep.sampling.lines import PairPlan
from train.loop.deepspeed import accumulation_steps


class ImageTokens:
    """The number of image tokens of pairs, computed from the sizes of frames without reading them."""

    def __init__(self, plan: PairPlan, contract: Contract) -> None:
        self._sampler = plan.sampler()
        pixels_per_token = contract.side_multiple**2
        template = contract.template_pixels // pixels_per_token if plan.settings.template else 0

        # A data set has few sizes of frames. The cache is one of the instance: a cached method would keep
        # every instance alive.
        @lru_cache(maxsize=4096)
        def tokens(size: Size) -> int:
            try:
                width, height = search_size(contract, size)
            except UserError:  # reported with the pair's name when the pair is read
                return 1
            return width * height // pixels_per_token + template  # an upper bound: templates may be smaller

        self._tokens = tokens

    def of(self, numbers: range) -> list[int]:
        """The number of image tokens of each pair."""
        return [self._tokens(size) for size in self._sampler.frame_sizes(numbers)]


@dataclass(frozen=True)
class MicroBatchSampler:
    """Step s takes the pairs s·batch … (s+1)·batch-1, rank r of R its share of them, in micro-batches.

    A micro-batch has at most `micro_batch` pairs and, with `tokens`, at most `micro_tokens` image tokens
    (more only if it is a single pair). All ranks take the same number of micro-batches, with about equal
    numbers of tokens, since all of them wait for the slowest.
    """

    batch: int
    micro_batch: int
    rank: int = 0
    ranks: int = 1
    micro_tokens: int | None = None
    tokens: ImageTokens | None = None

    def __post_init__(self) -> None:
        if self.batch % self.ranks:
            raise UserError(
                f"recipe.batch={self.batch}: cannot be divided evenly among {self.ranks} processes"
            )

    def of_step(self, step: int) -> list[list[int]]:
        """The numbers of the pairs in each of this rank's micro-batches."""
        # Every rank computes the same groups from the same sizes, so no communication is needed.
        numbers = range(step * self.batch, (step + 1) * self.batch)
        tokens = self.tokens.of(numbers) if self.tokens is not None else [1] * self.batch
        # Take the least number of micro-batches with which all of them are within the limit of tokens. All
        # ranks compute the same groups, and each takes every R-th of them.
        fewest, most = accumulation_steps(self.batch, self.micro_batch, self.ranks), self.batch // self.ranks
        for count in range(fewest, most + 1):
            groups = balanced_groups(tokens, count * self.ranks, self.micro_batch)
            if self.micro_tokens is None or all(
                sum(tokens[index] for index in group) <= self.micro_tokens for group in groups
            ):
                break
        return [[numbers[index] for index in group] for group in groups[self.rank :: self.ranks]]


def balanced_groups(tokens: Sequence[int], num_groups: int, max_size: int) -> list[list[int]]:
    """The indices of `tokens` in groups of at most `max_size`, with about equal sums of tokens.

    Greedy: the longest first, each to the group with the least sum so far (Graham, 1969, doi
    10.1137/0117039); among equal sums, to the smallest group. Indices rise within a group. There must be room
    for all of them, and at least one for each group.
    """
    groups: list[list[int]] = [[] for _ in range(num_groups)]
    sums = [0] * num_groups
    # `sorted` is stable, so pairs of equal length have the same order on every rank.
    for index in sorted(range(len(tokens)), key=lambda index: -tokens[index]):
        group = min(
            (g for g in range(num_groups) if len(groups[g]) < max_size),
            key=lambda g: (sums[g], len(groups[g])),
        )
        groups[group].append(index)
        sums[group] += tokens[index]
    return [sorted(group) for group in groups]
