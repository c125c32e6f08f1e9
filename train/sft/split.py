"""Which pairs a process takes in which step, and which of them together.

What a step learns does not depend on it: its loss is one sum over all of its answer tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from configs.errors import UserError
from data_prep.geometry import Size
from data_prep.prompts import Contract
from data_prep.resizing import search_size
from data_prep.sampling.lines import PairPlan


class ImageTokens:
    """How many language tokens the pictures of pairs have, without reading them."""

    def __init__(self, plan: PairPlan, contract: Contract) -> None:
        self._sampler = plan.sampler()
        token = contract.side_multiple**2
        template = contract.template_pixels // token if plan.settings.template else 0

        @lru_cache(maxsize=4096)
        def tokens(size: Size) -> int:
            try:
                width, height = search_size(contract, size)
            except UserError:  # it is told with the pair's name when the pair is read
                return 1
            return width * height // token + template  # at most so many: a template may have fewer

        self._tokens = tokens

    def of(self, numbers: range) -> list[int]:
        """Those of the pairs of these numbers."""
        return [self._tokens(size) for size in self._sampler.frame_sizes(numbers)]


@dataclass(frozen=True)
class Split:
    """Step s takes the pairs from s·batch on, rank r of R its share of them, some at once.

    At once are at most `micro_batch` pairs, and where there are `tokens` at most `micro_tokens` of them, or
    one pair. All ranks take equally many micro-batches, with as equal sums of tokens as can be had simply,
    since all wait for the slowest.
    """

    batch: int
    micro_batch: int
    rank: int = 0
    ranks: int = 1
    micro_tokens: int | None = None
    tokens: ImageTokens | None = None

    def __post_init__(self) -> None:
        if self.batch % self.ranks:
            raise UserError(f"recipe.batch={self.batch}: {self.ranks} processes do not share it evenly")

    @property
    def fewest(self) -> int:
        """Micro-batches of a step, at least."""
        return -(-self.batch // (self.ranks * self.micro_batch))

    def of_step(self, step: int) -> list[list[int]]:
        """The numbers of each of this rank's micro-batches."""
        numbers = range(step * self.batch, (step + 1) * self.batch)
        tokens = self.tokens.of(numbers) if self.tokens is not None else [1] * self.batch
        for micro in range(self.fewest, self.batch // self.ranks + 1):
            groups = shared_out(tokens, micro * self.ranks, self.micro_batch)
            if self.micro_tokens is None or all(
                sum(tokens[place] for place in group) <= self.micro_tokens for group in groups
            ):
                break
        return [[numbers[place] for place in group] for group in groups[self.rank :: self.ranks]]


def shared_out(tokens: Sequence[int], groups: int, most: int) -> list[list[int]]:
    """Places 0, 1, … in so many groups of at most `most`, rising in each, with like sums of tokens.

    Longest first, each to the group with the least so far (Graham, 1969, doi 10.1137/0117039), equal ones in
    turn. There must be room for all, and at least one for each group.
    """
    made: list[list[int]] = [[] for _ in range(groups)]
    sums = [0] * groups
    for place in sorted(range(len(tokens)), key=lambda place: -tokens[place]):
        group = min((g for g in range(groups) if len(made[g]) < most), key=lambda g: (sums[g], len(made[g])))
        made[group].append(place)
        sums[group] += tokens[place]
    return [sorted(group) for group in made]
