"""A contact sheet of drawn pairs as the model will see them."""

import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from configs.errors import UserError
from data_prep.files import whole_file
from data_prep.prompts import Contract
from data_prep.resizing import resize
from data_prep.sampling.lines import PairPlan
from data_prep.sampling.pairs import Pair
from data_prep.sampling.pictures import pictures_of

COLUMNS, ROWS = 4, 4
INCHES = (4.2, 2.6)  # of a tile
TARGET = "#00e070"
WIDTH = 52  # letters of a line


def write_samples(path: Path, plan: PairPlan, contract: Contract, first: int) -> int:
    """Write a PNG of the pairs from `first` on; returns how many of them could not be read.

    Of each: the template as large as the model gets it beside the search frame with its rectangle; the
    target's box in green, which the model is not shown; the words; and what they should be answered with.
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
    pictures = pictures_of(pair, contract)
    tall, crop = pictures.resized[1], pictures.template
    crop = np.full((1, 1, 3), 255, np.uint8) if crop is None else crop
    room = np.full((tall, crop.shape[1] + 6, 3), 255, np.uint8)
    crop = crop if crop.shape[0] <= tall else resize(crop, (crop.shape[1], tall))
    room[: crop.shape[0], : crop.shape[1]] = crop
    place.imshow(np.hstack([room, pictures.search]))
    if pictures.box_resized is not None:
        left, top, right, bottom = pictures.box_resized
        corner = (left + room.shape[1], top)
        place.add_patch(
            Rectangle(corner, right - left, bottom - top, fill=False, color=TARGET, linewidth=1.2)
        )
    answer = "visible" if pair.visible else "another video's words" if pair.negative else "absent"
    words = textwrap.shorten(pair.expression, 2 * WIDTH, placeholder=" …") or "(no words)"
    place.set_title(
        f"{textwrap.fill(words, WIDTH)}\n{pair.data} {pair.sequence} #{pair.number}: {answer}", fontsize=7
    )
