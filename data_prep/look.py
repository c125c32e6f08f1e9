"""Images of what is drawn from data sets, to be looked at before a long training: statistics and a
sheet of pairs.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from configs.errors import UserError
from data_prep.contract.contract import Contract
from data_prep.contract.images import resize
from data_prep.files import whole_file
from data_prep.index.store import Index
from data_prep.sampling.draws import NUMBERS, draw
from data_prep.sampling.images import images_of
from data_prep.sampling.lines import PairPlan
from data_prep.sampling.pairs import Pair, PairSampler
from data_prep.sampling.source import Source
from data_prep.sequence import ABSENT, PRESENT

DRAWN = 20_000  # pairs that are drawn for the histogram of gaps


def write_plots(path: Path, sampler: PairSampler) -> None:
    """Write a PNG of four histograms, with a line for each data set."""
    figure, ((sizes, gaps), (presence, texts)) = plt.subplots(2, 2, figsize=(11, 7))
    for source in sampler.sources:
        index, name = source.index, source.index.about.data
        style = {"histtype": "step", "density": True, "label": name}
        sizes.hist(_box_sides(source), bins=np.linspace(0, 1, 51), **style)
        drawn = _gaps(sampler, source)
        gaps.hist(drawn, bins=_whole_bins(int(np.abs(drawn).max(initial=1))), **style)
        presence.hist(_present_shares(index), bins=np.linspace(0, 1, 21), **style)
        texts.hist(_text_lengths(index), bins=np.arange(0.5, 40), **style)
    sizes.set(title="Boxes", xlabel="square root of the box's share of the frame", yticks=[])
    gaps.set(title="Gaps", xlabel="frames from template to search frame", yticks=[])
    presence.set(
        title="Presence", xlabel="share of a sequence's known frames that show the target", yticks=[]
    )
    texts.set(title="Texts", xlabel="words of an expression", yticks=[])
    sizes.legend()
    figure.tight_layout()
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)


def _whole_bins(reach: int) -> np.ndarray:
    """The edges of about sixty bins with equally many whole numbers, from -reach to reach."""
    step = -(-(2 * reach + 1) // 60)
    # Edges lie between whole numbers, so no number lies on an edge.
    return np.arange(-reach - 0.5, reach + step + 0.5, step)


def _box_sides(source: Source) -> np.ndarray:
    """The square root of the box's share of the frame, for every frame that shows the target."""
    index = source.index
    # The sequence of each frame, from the starts of the sequences, gives the size of the frame.
    frames = source.frames[PRESENT]
    sizes = index.sizes[np.searchsorted(index.starts, frames, side="right") - 1]
    areas = index.boxes_xywh[frames, 2:].prod(axis=1)
    sides: np.ndarray = np.sqrt(areas / sizes.prod(axis=1))
    return sides


def _gaps(sampler: PairSampler, source: Source) -> np.ndarray:
    """Frames from template to search frame, of pairs of one video; negative: the template is later."""
    random = np.random.default_rng(sampler.seed).random((DRAWN, NUMBERS))
    draws = draw(source, random, sampler.settings)
    gaps: np.ndarray = (draws.search - draws.template)[~draws.negative]
    return gaps


def _present_shares(index: Index) -> np.ndarray:
    """The share of annotated frames that show the target, for each sequence with such frames."""
    # Sums over rows of unequal length: differences of the cumulative sum at the starts of the sequences.
    counts = [
        np.diff(np.concatenate([[0], np.cumsum(index.present == kind)])[index.starts])
        for kind in (PRESENT, ABSENT)
    ]
    known: np.ndarray = counts[0] + counts[1]
    shares: np.ndarray = (counts[0] / np.maximum(known, 1))[known > 0]
    return shares


def _text_lengths(index: Index) -> Sequence[int]:
    return [len(text.split()) for text in index.expressions.to_pylist()]


COLUMNS, ROWS = 4, 4
INCHES = (4.2, 2.6)  # of a tile
TARGET = "#00e070"
WIDTH = 52  # letters of a line


def write_samples(path: Path, plan: PairPlan, contract: Contract, first: int) -> int:
    """Write a PNG of the pairs from `first` on; returns how many of them could not be read.

    Each tile shows the template in the size that the model receives, beside the search image with its
    rectangle; the target's box in green, which is not in the model's image; the expression; and the expected
    answer.
    """
    figure, axes = plt.subplots(ROWS, COLUMNS, figsize=(COLUMNS * INCHES[0], ROWS * INCHES[1]))
    failed = 0
    for place, pair in zip(axes.flat, plan.sampler().pairs(range(first, first + axes.size)), strict=True):
        place.axis("off")
        try:
            _show(place, pair, contract)
        except UserError as fault:
            failed += 1
            place.set_title(textwrap.fill(str(fault), WIDTH), fontsize=7, color="#c03020")
    figure.tight_layout()
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)
    return failed


def _show(place: Axes, pair: Pair, contract: Contract) -> None:
    drawn = images_of(pair, contract)
    tall, crop = drawn.resized[1], drawn.template
    # A pair without template gets a white pixel in its place.
    crop = np.full((1, 1, 3), 255, np.uint8) if crop is None else crop
    room = np.full((tall, crop.shape[1] + 6, 3), 255, np.uint8)
    # The template is shown in its real size, unless it is higher than the search image.
    crop = crop if crop.shape[0] <= tall else resize(crop, (crop.shape[1], tall))
    room[: crop.shape[0], : crop.shape[1]] = crop
    place.imshow(np.hstack([room, drawn.search]))
    if drawn.box_resized is not None:
        left, top, right, bottom = drawn.box_resized
        corner = (left + room.shape[1], top)
        place.add_patch(
            Rectangle(corner, right - left, bottom - top, fill=False, color=TARGET, linewidth=1.2)
        )
    answer = "visible" if pair.visible else "another video's target" if pair.negative else "absent"
    text = textwrap.shorten(pair.expression, 2 * WIDTH, placeholder=" …") or "(no expression)"
    place.set_title(
        f"{textwrap.fill(text, WIDTH)}\n{pair.data} {pair.sequence} #{pair.number}: {answer}", fontsize=7
    )
