"""Pairs by number: pair k of a seed is the same whoever draws it, and whatever was drawn before."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import ImageColor

from configs.errors import UserError
from data_prep.contract.images import Colour
from data_prep.geometry import Box, Size
from data_prep.index.store import Index
from data_prep.sampling.draws import NO_EXPRESSION, NUMBERS, Draws, draw, draw_sequences
from data_prep.sampling.settings import PairSettings
from data_prep.sampling.source import Source

BLOCK = 4096  # pairs that are drawn together
TOLD = 3  # random numbers that decide whether template, rectangle and words are told


class Pair(NamedTuple):
    """One training pair. Paths lead to image files; boxes are in pixels of their frames.

    `template_xywh` and `search_xywh` stand as in the data, the latter None where the target that is
    meant is not visible. `visual_prompt_xyxy` is the rectangle to draw on the search frame; `holds` says
    whether it holds the target, `visual_prompt_colour` (RGB; None: the contract's) and `visual_prompt_width`
    (of its line, as a multiple of the contract's) how it looks. `negative`: expression and template are those
    of another video's target. `templated` and `marked`: the template and the rectangle are shown;
    `expression` is empty where the pair shows none.
    """

    number: int
    data: str
    sequence: str
    template: str
    search: str
    expression: str
    visible: bool
    negative: bool
    holds: bool
    template_xywh: Box
    search_xywh: Box | None
    visual_prompt_xyxy: Box
    visual_prompt_colour: Colour | None
    visual_prompt_width: float
    templated: bool = True
    marked: bool = True


class PairSampler:
    """Draws from several indexes, each as often as its weight says."""

    def __init__(
        self, indexes: Sequence[Index], settings: PairSettings, seed: int, weights: Sequence[float] = ()
    ) -> None:
        """Raises UserError where weights and indexes differ in number, no weight is above 0, or a colour
        is none.
        """
        shares = np.array(weights or [1.0] * len(indexes), np.float64)
        if len(shares) != len(indexes) or not len(shares) or (shares < 0).any() or shares.sum() <= 0:
            raise UserError(
                f"weights={list(weights)}: give a weight above 0 for each of {len(indexes)} indexes"
            )
        self.sources = [Source(index) for index in indexes]
        self.settings, self.seed = settings, seed
        self._colours = (*map(_colour, settings.prompt_colours), None)  # `NO_COLOUR` is the last place
        self._shares = (settings.template, settings.marked, settings.worded)
        self._bounds = np.cumsum(shares / shares.sum())[:-1]

    def pairs(self, numbers: range) -> Iterator[Pair]:
        """Pairs of these numbers, rising.

        Rank r of R takes `range(start + r, stop, R)`; a run that stopped before k goes on with
        `range(k, stop)`.
        """
        for block, wanted in _by_block(numbers):
            yield from self._block(block, wanted)

    def frame_sizes(self, numbers: range) -> Iterator[Size]:
        """Widths and heights of the search frames of these pairs, as their indexes have them.

        For choosing pairs that go together: what else a pair is made of is not drawn, and nothing is read.
        """
        for block, wanted in _by_block(numbers):
            random = self._random(block, wanted)
            sizes = np.empty((len(wanted), 2), np.int64)
            for source, places in self._of_sources(random):
                sizes[places] = source.index.sizes[draw_sequences(source, random[places])]
            yield from zip(*sizes.T.tolist(), strict=True)

    def _block(self, block: int, wanted: np.ndarray) -> list[Pair]:
        """Pairs of one block, those of `wanted` numbers."""
        random = self._random(block, wanted)
        told = random[:, NUMBERS + 1 :]
        pairs: list[Pair | None] = [None] * len(wanted)
        for source, places in self._of_sources(random):
            draws = draw(source, random[places, :NUMBERS], self.settings)
            drawn = self._told(source.index, draws, wanted[places], told[places])
            for place, pair in zip(places, drawn, strict=True):
                pairs[place] = pair
        return [pair for pair in pairs if pair is not None]

    def _random(self, block: int, wanted: np.ndarray) -> np.ndarray:
        return _random_block(self.seed, block)[wanted - block * BLOCK]

    def _of_sources(self, random: np.ndarray) -> Iterator[tuple[Source, np.ndarray]]:
        """Each source with the places of the pairs that are drawn from it, if there are any."""
        chosen = np.searchsorted(self._bounds, random[:, NUMBERS], side="right")
        for which, source in enumerate(self.sources):
            places = np.flatnonzero(chosen == which)
            if len(places):
                yield source, places

    def _told(self, index: Index, draws: Draws, numbers: np.ndarray, told: np.ndarray) -> Iterator[Pair]:
        """Draws as pairs; `told` (n, `TOLD`) are random numbers that decide what of each is told."""
        visible = draws.visible.tolist()
        template, marked, worded = (u < share for u, share in zip(told.T, self._shares, strict=True))
        expressions = np.where(worded, draws.expression, NO_EXPRESSION)
        return map(
            Pair,
            numbers.tolist(),
            [index.about.data] * len(numbers),
            index.rows["name"].take(pa.array(draws.sequence)).to_pylist(),
            _paths(index, draws.template_sequence, draws.template),
            _paths(index, draws.sequence, draws.search),
            _expressions(index, expressions),
            visible,
            draws.negative.tolist(),
            draws.holds.tolist(),
            _boxes(draws.template_xywh),
            [box if seen else None for box, seen in zip(_boxes(draws.search_xywh), visible, strict=True)],
            _boxes(draws.visual_prompt_xyxy),
            map(self._colours.__getitem__, draws.colour.tolist()),
            draws.width.tolist(),
            # A pair without words and template would not say what to look for.
            (template | (expressions == NO_EXPRESSION)).tolist(),
            marked.tolist(),
        )


def _by_block(numbers: range) -> Iterator[tuple[int, np.ndarray]]:
    """Numbers, rising, as arrays of those of one block each."""
    for block in range(numbers.start // BLOCK, -(-numbers.stop // BLOCK) if len(numbers) else 0):
        first = block * BLOCK
        wanted = np.arange(first, first + BLOCK)
        wanted = wanted[(wanted >= numbers.start) & (wanted < numbers.stop)]
        yield block, wanted[(wanted - numbers.start) % numbers.step == 0]


@lru_cache(maxsize=2)
def _random_block(seed: int, block: int) -> np.ndarray:
    """The random numbers of a block's pairs, (BLOCK, NUMBERS + 1 + TOLD).

    They are kept since a training asks for pairs one by one, and they cost a millisecond to draw.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, block))))
    random = np.concatenate([rng.random((BLOCK, NUMBERS + 1)), rng.random((BLOCK, TOLD))], axis=1)
    random.flags.writeable = False
    return random


def _colour(name: str) -> Colour:
    """A colour by its name or as #rrggbb. Raises UserError for what is none."""
    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError:
        raise UserError(f"pairs.prompt_colours: {name!r} is no colour; give a name or '#rrggbb'") from None


def _boxes(boxes: np.ndarray) -> Iterator[Box]:
    """Boxes (n, 4) as tuples; by columns, which spares a list a box."""
    return zip(*boxes.T.tolist(), strict=True)


def _paths(index: Index, sequences: np.ndarray, frames: np.ndarray) -> list[str]:
    """Paths of frames that are numbered through the index."""
    folders = index.folders.take(pa.array(sequences))
    joined = pc.binary_join_element_wise(index.about.root, folders, index.frames.take(pa.array(frames)), "/")
    return joined.to_pylist()


def _expressions(index: Index, expressions: np.ndarray) -> list[str]:
    """Texts of expressions; empty where there is none."""
    found = pa.array(expressions, mask=expressions < 0)
    return index.expressions.take(found).fill_null("").to_pylist()
