"""Text on images, in the DejaVu Sans font of matplotlib, so that every machine draws the same pixels.

DejaVu Sans lacks the letters of some scripts, for example Chinese, Japanese and Korean. A text with such
letters is drawn in a font of the system that has them, which fontconfig (`fc-match`) finds. If there is
none, the letters are empty boxes, and `missing_letters` says which.
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
    """DejaVu Sans of `size` pixels.

    The folder of matplotlib is located without importing it, which would take half a second.
    """
    spec = find_spec("matplotlib")
    assert spec is not None and spec.origin is not None, "matplotlib is a dependency of this project"
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / name), size)


def missing_letters(text: str) -> str:
    """The letters of a text that no available font has, each once, in order; they are drawn as
    empty boxes.
    """
    lacking = _lacking(text, font(PROBE))
    return "" if not lacking or _system_font(lacking) else lacking


def _face(text: str, size: int, bold: bool) -> ImageFont.FreeTypeFont:
    """The font in which a text is drawn, at `size` pixels: DejaVu Sans, or a font of the system if
    that lacks letters.
    """
    if text.isascii() or not (lacking := _lacking(text, font(PROBE))):
        return font(size, bold)
    found = _system_font(lacking)
    return font(size, bold) if found is None else ImageFont.truetype(*found[:1], size, index=found[1])


def _lacking(text: str, face: ImageFont.FreeTypeFont) -> str:
    """The letters of a text that a font lacks, each once: it draws them like an unassigned code point."""
    # Pillow does not say whether a font has a letter, so the drawn pixels are compared.
    unknown = bytes(face.getmask(UNASSIGNED))
    letters = dict.fromkeys(letter for letter in text if not letter.isascii())
    return "".join(letter for letter in letters if bytes(face.getmask(letter)) == unknown)


@lru_cache(maxsize=512)
def _system_font(letters: str) -> tuple[str, int] | None:
    """A font of the system that has these letters: its file and its index in it; None where there is none."""
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
    """Height in pixels of the image that `text_alpha` makes at this font size."""
    return sum(font(size).getmetrics())


@lru_cache(maxsize=512)
def shortened(text: str, size: int, max_width: int, bold: bool = False) -> str:
    """As much of a line as fits into `max_width` pixels, with an ellipsis where something is left out."""
    face = _face(text, size, bold)
    if face.getlength(text) <= max_width:
        return text
    # Binary search for the longest beginning that fits together with the ellipsis.
    fits, too_long = 0, len(text)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if face.getlength(text[:middle].rstrip() + "…") <= max_width:
            fits = middle
        else:
            too_long = middle
    return text[:fits].rstrip() + "…" if fits else ""


@lru_cache(maxsize=512)
def text_alpha(text: str, size: int, bold: bool = False) -> np.ndarray:
    """The coverage of one line of text, uint8 (line height, width), 255 inside letters. Callers
    must not change it.
    """
    face = _face(text, size, bold)
    # The anchor "ls" is the baseline's left end: lines of different texts, and fonts, then stand level.
    width, baseline = max(1, round(face.getlength(text))), font(size, bold).getmetrics()[0]
    image = Image.new("L", (width, line_height(size)))
    ImageDraw.Draw(image).text((0, baseline), text, fill=255, font=face, anchor="ls")
    alpha = np.asarray(image)
    alpha.flags.writeable = False
    return alpha


def put_text(
    image: np.ndarray, left_top: tuple[int, int], text: str, size: int, colour: Colour, bold: bool = False
) -> int:
    """Draw one line of text onto RGB uint8 (height, width, 3), in place; what lies outside is cut off.

    `left_top` is the corner of the line, in pixels of `image`. Returns the text's width in pixels.
    """
    if not text:
        return 0
    alpha = text_alpha(text, size, bold)
    left, top = left_top
    # 1. The part of the text inside the image.
    cut_left, cut_top = max(0, -left), max(0, -top)
    # A view of the image, so that writing to it draws. A negative end would count from the other side.
    bottom, right = max(0, top + alpha.shape[0]), max(0, left + alpha.shape[1])
    under = image[top + cut_top : bottom, left + cut_left : right]
    if under.size:
        # 2. Blend the colour by the coverage of each pixel.
        share = alpha[cut_top : cut_top + under.shape[0], cut_left : cut_left + under.shape[1], None]
        mixed = under + (np.asarray(colour, np.float32) - under) * (share / np.float32(255))
        under[:] = np.round(mixed)
    return alpha.shape[1]
