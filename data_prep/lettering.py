"""Letters on images: DejaVu Sans as matplotlib ships it, so every machine paints the same ones.

DejaVu Sans has no Chinese, Japanese or Korean letters, for example. A text with letters that it lacks is
painted in a font of the system that has them, which fontconfig (`fc-match`) finds. Where there is none, such
letters are empty boxes, and `missing_letters` says which.
"""

import subprocess
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data_prep.contract.images import Colour

PROBE = 32  # pixels: font size at which fonts are asked for their letters
UNASSIGNED = "\U0010ffff"


@lru_cache(maxsize=32)
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans of `size` pixels. matplotlib is found, not imported: that would take half a second."""
    spec = find_spec("matplotlib")
    assert spec is not None and spec.origin is not None, "matplotlib is a dependency of this project"
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / name), size)


def missing_letters(words: str) -> str:
    """The letters of a text that are painted as empty boxes, each once, in order."""
    lacking = _lacking(words, font(PROBE))
    return "" if not lacking or _system_font(lacking) else lacking


def _face(words: str, size: int, bold: bool) -> ImageFont.FreeTypeFont:
    """The font that a text is painted in, at `size` pixels."""
    if words.isascii() or not (lacking := _lacking(words, font(PROBE))):
        return font(size, bold)
    found = _system_font(lacking)
    return font(size, bold) if found is None else ImageFont.truetype(*found[:1], size, index=found[1])


def _lacking(words: str, face: ImageFont.FreeTypeFont) -> str:
    """The letters of a text that a font lacks, each once: it paints them as an unassigned code point."""
    # Pillow does not say whether a font has a letter, so the drawn pixels are compared.
    unknown = bytes(face.getmask(UNASSIGNED))
    letters = dict.fromkeys(letter for letter in words if not letter.isascii())
    return "".join(letter for letter in letters if bytes(face.getmask(letter)) == unknown)


@lru_cache(maxsize=512)
def _system_font(letters: str) -> tuple[str, int] | None:
    """File and index in it of a font of the system that has these letters; None where there is none."""
    # fontconfig always names a font, also one that lacks the letters.
    pattern = f":charset={' '.join(f'{ord(letter):x}' for letter in letters)}"
    try:
        said = subprocess.run(
            ["fc-match", "--format", "%{file}\n%{index}", pattern], capture_output=True, text=True, timeout=10
        )
        path, index = said.stdout.split("\n")
        face = ImageFont.truetype(path, PROBE, index=int(index))
        return None if _lacking(letters, face) else (path, int(index))
    except (OSError, ValueError, subprocess.SubprocessError):  # no fontconfig, or no font that scales
        return None


def line_height(size: int) -> int:
    """Height in pixels of the image that `text_alpha` makes at a font size."""
    return sum(font(size).getmetrics())


@lru_cache(maxsize=512)
def shortened(words: str, size: int, max_width: int, bold: bool = False) -> str:
    """As much of a line as fits into `max_width` pixels, with an ellipsis where something is left out."""
    face = _face(words, size, bold)
    if face.getlength(words) <= max_width:
        return words
    # Binary search for the longest beginning that fits together with the ellipsis.
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
    face = _face(words, size, bold)
    # The anchor "ls" is the baseline's left end: lines of different texts, and fonts, then stand level.
    width, baseline = max(1, round(face.getlength(words))), font(size, bold).getmetrics()[0]
    image = Image.new("L", (width, line_height(size)))
    ImageDraw.Draw(image).text((0, baseline), words, fill=255, font=face, anchor="ls")
    alpha = np.asarray(image)
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
    # 1. The part of the text inside the image.
    cut_left, cut_top = max(0, -left), max(0, -top)
    under = image[top + cut_top : top + alpha.shape[0], left + cut_left : left + alpha.shape[1]]
    if under.size:
        # 2. Blend the colour by the coverage of each pixel.
        share = alpha[cut_top : cut_top + under.shape[0], cut_left : cut_left + under.shape[1], None]
        mixed = under + (np.asarray(colour, np.float32) - under) * (share / np.float32(255))
        under[:] = np.round(mixed)
    return alpha.shape[1]
