"""Letters on pictures: DejaVu Sans as matplotlib ships it, so every machine paints the same ones."""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data_prep.contract.images import Colour


@lru_cache(maxsize=32)
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans of `size` pixels. matplotlib is found, not imported: that would take half a second."""
    spec = find_spec("matplotlib")
    assert spec is not None and spec.origin is not None, "matplotlib is a dependency of this project"
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / name), size)


def line_height(size: int) -> int:
    """Height in pixels of the picture that `text_alpha` makes at a font size."""
    return sum(font(size).getmetrics())


@lru_cache(maxsize=512)
def shortened(words: str, size: int, max_width: int, bold: bool = False) -> str:
    """As much of a line as fits into `max_width` pixels, with an ellipsis where something is left out."""
    face = font(size, bold)
    if face.getlength(words) <= max_width:
        return words
    fits, too_long = 0, len(words)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if face.getlength(words[:middle].rstrip() + "…") <= max_width:
            fits = middle
        else:
            too_long = middle
    return words[:fits].rstrip() + "…" if fits else ""


@lru_cache(maxsize=512)
def text_alpha(words: str, size: int, bold: bool = False) -> np.ndarray:
    """One line of text as coverage, uint8 (line height, width), 255 inside letters. Not to be changed."""
    face = font(size, bold)
    # The anchor "ls" is the baseline's left end: lines of different texts then stand level.
    width = max(1, round(face.getlength(words)))
    picture = Image.new("L", (width, line_height(size)))
    ImageDraw.Draw(picture).text((0, face.getmetrics()[0]), words, fill=255, font=face, anchor="ls")
    alpha = np.asarray(picture)
    alpha.flags.writeable = False
    return alpha


def put_text(
    image: np.ndarray, left_top: tuple[int, int], words: str, size: int, colour: Colour, bold: bool = False
) -> int:
    """Paint one line onto RGB uint8 (height, width, 3), in place; what lies outside is cut off.

    `left_top` is the corner of the line, in pixels of `image`. Returns the text's width in pixels.
    """
    if not words:
        return 0
    alpha = text_alpha(words, size, bold)
    left, top = left_top
    cut_left, cut_top = max(0, -left), max(0, -top)
    under = image[top + cut_top : top + alpha.shape[0], left + cut_left : left + alpha.shape[1]]
    if under.size:
        share = alpha[cut_top : cut_top + under.shape[0], cut_left : cut_left + under.shape[1], None]
        mixed = under + (np.asarray(colour, np.float32) - under) * (share / np.float32(255))
        under[:] = np.round(mixed)
    return alpha.shape[1]
