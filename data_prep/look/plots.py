"""Plots of what is drawn: sizes of boxes, gaps, presence, and lengths of texts."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from data_prep.files import whole_file
from data_prep.index.store import Index
from data_prep.sampling.draws import NUMBERS, draw
from data_prep.sampling.pairs import PairSampler
from data_prep.sampling.source import Source
from data_prep.sequence import ABSENT, PRESENT

DRAWN = 20_000  # pairs whose gaps are counted


def write_plots(path: Path, sampler: PairSampler) -> None:
    """Write a PNG of four histograms, a line a data set."""
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
    """Borders of at most some sixty bins that hold equally many whole numbers from -reach to reach."""
    step = -(-(2 * reach + 1) // 60)
    return np.arange(-reach - 0.5, reach + step + 0.5, step)


def _box_sides(source: Source) -> np.ndarray:
    """Side of a square as large as the box over that of one as large as the frame; a number a shown frame."""
    index = source.index
    frames = source.frames[PRESENT]
    sizes = index.sizes[np.searchsorted(index.starts, frames, side="right") - 1]
    areas = index.boxes_xywh[frames, 2:].prod(axis=1)
    sides: np.ndarray = np.sqrt(areas / sizes.prod(axis=1))
    return sides


def _gaps(sampler: PairSampler, source: Source) -> np.ndarray:
    """Frames from template to search frame, of pairs that show one video; negative: the template is later."""
    random = np.random.default_rng(sampler.seed).random((DRAWN, NUMBERS))
    draws = draw(source, random, sampler.settings)
    gaps: np.ndarray = (draws.search - draws.template)[~draws.negative]
    return gaps


def _present_shares(index: Index) -> np.ndarray:
    """Of the frames of which it is known, the share that shows the target; a number a sequence."""
    counts = [
        np.diff(np.concatenate([[0], np.cumsum(index.present == kind)])[index.starts])
        for kind in (PRESENT, ABSENT)
    ]
    known: np.ndarray = counts[0] + counts[1]
    shares: np.ndarray = (counts[0] / np.maximum(known, 1))[known > 0]
    return shares


def _text_lengths(index: Index) -> Sequence[int]:
    return [len(text.split()) for text in index.expressions.to_pylist()]
