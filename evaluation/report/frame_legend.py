"""The legend below a picture of a frame: which line is whose, and the words that were followed."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from data_prep.lettering import line_height, put_text, shortened, text_alpha
from data_prep.visual_prompt import Colour

TRUTH: Colour = (255, 255, 255)
GROUND: Colour = (19, 21, 26)
LIGHT: Colour = (240, 242, 245)
FAINT: Colour = (150, 157, 168)
# Pixels: letters, what lies between them, the length and width of a piece of line, and its dashes.
TEXT, GAP, SWATCH, THICK, DASH = 17, 7, 22, 4, 7


class Entry(NamedTuple):
    """A name, the colour of its line (that of `TRUTH` is dashed), and whether there is one."""

    name: str
    colour: Colour
    is_there: bool


def legend(entries: Sequence[Entry], words: str, width: int) -> np.ndarray:
    """RGB uint8 (height, `width`, 3): a piece of line and a name each, in rows, and the words."""
    line = line_height(TEXT)
    rows: list[list[tuple[int, str, Entry]]] = [[]]
    left = GAP
    for entry in entries:
        shown = shortened(entry.name, TEXT, width - 4 * GAP - SWATCH)
        taken = SWATCH + GAP + text_alpha(shown, TEXT).shape[1] + 3 * GAP
        if rows[-1] and left + taken > width:
            rows.append([])
            left = GAP
        rows[-1].append((left, shown, entry))
        left += taken
    bar = np.empty((GAP + (len(rows) + bool(words)) * (line + GAP), width, 3), np.uint8)
    bar[:] = GROUND
    for number, row in enumerate(rows):
        top = GAP + number * (line + GAP)
        for left, shown, entry in row:
            _swatch(bar, left, top + line // 2, entry)
            put_text(bar, (left + SWATCH + GAP, top), shown, TEXT, LIGHT if entry.is_there else FAINT)
    if words:
        shown = shortened(f"“{words}”", TEXT, width - 2 * GAP)
        put_text(bar, (GAP, GAP + len(rows) * (line + GAP)), shown, TEXT, LIGHT)
    return bar


def _swatch(bar: np.ndarray, left: int, middle: int, entry: Entry) -> None:
    """A piece of line as in the picture, dashed for the truth; a hollow box where there is nothing."""
    right = left + SWATCH
    if not entry.is_there:
        cv2.rectangle(bar, (left, middle - 5), (right, middle + 5), FAINT, 1)
    elif entry.colour == TRUTH:
        for start in range(left, right, 2 * DASH):
            cv2.line(bar, (start, middle), (start + DASH - 1, middle), TRUTH, THICK)
    else:
        cv2.line(bar, (left, middle), (right, middle), entry.colour, THICK)
