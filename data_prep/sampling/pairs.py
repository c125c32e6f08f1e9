"""Pairs by number: pair k of a seed does not depend on who draws it or on what was drawn before.

So the workers and processes of a training draw only their own pairs, and a resumed training goes on at any
number without a saved state.
"""

from collections.abc import Iterable, Iterator, Sequence
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

BLOCK = 4096  # pairs that are drawn together, from one random generator
SHOWN = 3  # random numbers that decide whether a pair shows template, rectangle and expression


class Pair(NamedTuple):
    """One training pair. `template` and `search` are paths of image files.

    Boxes are in pixels of their frames. `template_xywh` and `search_xywh` are in the coordinates of the data
    set's files; the latter is None where the target that is meant is not visible. `visual_prompt_xyxy` is the
    rectangle to draw on the search frame; `holds` says whether it holds the target, `visual_prompt_colour`
    (RGB; None: the contract's) and `visual_prompt_width` (of its line, as a multiple of the contract's) how
    it looks. `negative`: expression and template are those of another video's target. `templated` and
    `marked`: the template and the rectangle are shown; `expression` is empty where the pair shows none.
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


class PairColumns(NamedTuple):
    """The fields of `Pair`, in the same order, as columns with an entry for each of n pairs."""

    number: Iterable[int]
    data: Iterable[str]
    sequence: Iterable[str]
    template: Iterable[str]
    search: Iterable[str]
    expression: Iterable[str]
    visible: Iterable[bool]
    negative: Iterable[bool]
    holds: Iterable[bool]
    template_xywh: Iterable[Box]
    search_xywh: Iterable[Box | None]
    visual_prompt_xyxy: Iterable[Box]
    visual_prompt_colour: Iterable[Colour | None]
    visual_prompt_width: Iterable[float]
    templated: Iterable[bool]
    marked: Iterable[bool]

    def pairs(self) -> Iterator[Pair]:
        """The pairs. `map` over columns makes them several times faster than indexing arrays would."""
        return map(Pair, *self)


assert PairColumns._fields == Pair._fields, "`pairs` passes columns by position"


class PairSampler:
    """Draws from several indexes, each as often as its weight says."""

    def __init__(
        self, indexes: Sequence[Index], settings: PairSettings, seed: int, weights: Sequence[float] = ()
    ) -> None:
        """Prepare the indexes for drawing; empty `weights` draw from all of them equally often.

        Raises UserError where there are not as many weights as indexes, no weight is above 0, a colour is not
        known, or no sequence of an index shows its target.
        """
        # Weights become bounds in the interval from 0 to 1, in which a random number finds its index.
        shares = np.array(weights or [1.0] * len(indexes), np.float64)
        if len(shares) != len(indexes) or not len(shares) or (shares < 0).any() or shares.sum() <= 0:
            raise UserError(
                f"weights={list(weights)}: give a weight above 0 for each of {len(indexes)} indexes"
            )
        self.sources = [Source(index) for index in indexes]
        self.settings, self.seed = settings, seed
        self._colours = (*map(_colour, settings.prompt_colours), None)  # `NO_COLOUR` (-1) is the last place
        self._shares = (settings.template, settings.marked, settings.worded)
        # Without the last bound, which is 1 up to rounding: no number may lie beyond the last index.
        self._bounds = np.cumsum(shares / shares.sum())[:-1]

    def pairs(self, numbers: range) -> Iterator[Pair]:
        """The pairs of these numbers, in rising order.

        Rank r of R processes takes `range(start + r, stop, R)`. A run that stopped before pair k continues
        with `range(k, stop)`.
        """
        for block, wanted in _by_block(numbers):
            yield from self._block(block, wanted)

    def frame_sizes(self, numbers: range) -> Iterator[Size]:
        """Width and height of the search frames of these pairs, as their indexes have them.

        This is for grouping pairs of similar size into batches: nothing else of a pair is drawn, and no image
        is read.
        """
        for block, wanted in _by_block(numbers):
            random = self._random(block, wanted)
            # The same random numbers as in `pairs`, but only those for the index and the sequence.
            sizes = np.empty((len(wanted), 2), np.int64)
            for source, places in self._of_sources(random):
                sizes[places] = source.index.sizes[draw_sequences(source, random[places])]
            yield from zip(*sizes.T.tolist(), strict=True)

    def _block(self, block: int, wanted: np.ndarray) -> list[Pair]:
        """The pairs of one block with these numbers."""
        random = self._random(block, wanted)  # (n, NUMBERS + 1 + SHOWN)
        shown = random[:, NUMBERS + 1 :]
        # Draw from one index at a time, and put its pairs where they belong in the block.
        pairs: list[Pair | None] = [None] * len(wanted)
        for source, places in self._of_sources(random):
            draws = draw(source, random[places, :NUMBERS], self.settings)
            drawn = self._columns(source.index, draws, wanted[places], shown[places]).pairs()
            for place, pair in zip(places, drawn, strict=True):
                pairs[place] = pair
        return [pair for pair in pairs if pair is not None]

    def _random(self, block: int, wanted: np.ndarray) -> np.ndarray:
        return _random_block(self.seed, block)[wanted - block * BLOCK]

    def _of_sources(self, random: np.ndarray) -> Iterator[tuple[Source, np.ndarray]]:
        """Each source with the places of the pairs that are drawn from it, unless there are none."""
        # The random number behind those of `draw` chooses the index.
        chosen = np.searchsorted(self._bounds, random[:, NUMBERS], side="right")
        for which, source in enumerate(self.sources):
            places = np.flatnonzero(chosen == which)
            if len(places):
                yield source, places

    def _columns(self, index: Index, draws: Draws, numbers: np.ndarray, shown: np.ndarray) -> PairColumns:
        """Draws as columns of pairs; `shown` (n, `SHOWN`) are the random numbers for what a pair shows."""
        visible = draws.visible.tolist()
        # The numbers do not depend on the shares: another share changes nothing but what it decides.
        template, marked, worded = (u < share for u, share in zip(shown.T, self._shares, strict=True))
        expressions = np.where(worded, draws.expression, NO_EXPRESSION)
        search_xywh = zip(_boxes(draws.search_xywh), visible, strict=True)
        return PairColumns(
            number=numbers.tolist(),
            data=[index.about.data] * len(numbers),
            sequence=index.rows["name"].take(pa.array(draws.sequence)).to_pylist(),
            template=_paths(index, draws.template_sequence, draws.template),
            search=_paths(index, draws.sequence, draws.search),
            expression=_expressions(index, expressions),
            visible=visible,
            negative=draws.negative.tolist(),
            holds=draws.holds.tolist(),
            template_xywh=_boxes(draws.template_xywh),
            search_xywh=[box if seen else None for box, seen in search_xywh],
            visual_prompt_xyxy=_boxes(draws.visual_prompt_xyxy),
            visual_prompt_colour=map(self._colours.__getitem__, draws.colour.tolist()),
            visual_prompt_width=draws.width.tolist(),
            # A pair without expression and template would not say what to look for.
            templated=(template | (expressions == NO_EXPRESSION)).tolist(),
            marked=marked.tolist(),
        )


def _by_block(numbers: range) -> Iterator[tuple[int, np.ndarray]]:
    """Rising numbers, grouped by block: the number of each block and an array of the numbers in it."""
    for block in range(numbers.start // BLOCK, -(-numbers.stop // BLOCK) if len(numbers) else 0):
        first = block * BLOCK
        # All numbers of the block that lie in the range, and on its step.
        wanted = np.arange(first, first + BLOCK)
        wanted = wanted[(wanted >= numbers.start) & (wanted < numbers.stop)]
        yield block, wanted[(wanted - numbers.start) % numbers.step == 0]


@lru_cache(maxsize=2)
def _random_block(seed: int, block: int) -> np.ndarray:
    """The random numbers of a block's pairs, (BLOCK, NUMBERS + 1 + SHOWN): for `draw`, for the index, and for
    what is shown.

    They are cached because a training asks for pairs one by one, and drawing a block takes a millisecond.
    """
    # A generator for each block: any block can be drawn without those before it.
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, block))))
    # The second part was added later; drawn after the first, it left the pairs of earlier seeds unchanged.
    random = np.concatenate([rng.random((BLOCK, NUMBERS + 1)), rng.random((BLOCK, SHOWN))], axis=1)
    # The cached array is handed out again, so it must not change.
    random.flags.writeable = False
    return random


def _colour(name: str) -> Colour:
    """A colour by its name or as #rrggbb. Raises UserError for anything else."""
    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError:
        raise UserError(f"pairs.prompt_colours: {name!r} is no colour; give a name or '#rrggbb'") from None


def _boxes(boxes: np.ndarray) -> Iterator[Box]:
    """Boxes (n, 4) as tuples. Going by columns avoids a list for each box."""
    return zip(*boxes.T.tolist(), strict=True)


def _paths(index: Index, sequences: np.ndarray, frames: np.ndarray) -> list[str]:
    """The paths of frames, which are numbered through the index."""
    folders = index.folders.take(pa.array(sequences))
    # Arrow joins the paths of thousands of pairs at once, without a Python object for each part.
    joined = pc.binary_join_element_wise(index.about.root, folders, index.frames.take(pa.array(frames)), "/")
    return joined.to_pylist()


def _expressions(index: Index, expressions: np.ndarray) -> list[str]:
    """The texts of expressions, which are numbered through the index; empty for `NO_EXPRESSION`."""
    # Masked numbers become nulls, and `take` gives null for a null.
    found = pa.array(expressions, mask=expressions < 0)
    return index.expressions.take(found).fill_null("").to_pylist()
