"""Pictures of frames with the ground truth, the results of trackers, and a legend."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np

from data_prep.console import one_line
from data_prep.contract.images import Colour
from data_prep.geometry import Size
from data_prep.lettering import line_height, put_text, shortened, text_alpha
from evaluation.scores import Region

TRUTH: Colour = (255, 255, 255)
GROUND: Colour = (19, 21, 26)
LIGHT: Colour = (240, 242, 245)
FAINT: Colour = (150, 157, 168)
# Pixels: letters, what lies between them, the length and width of a piece of line, and its dashes.
TEXT, GAP, SWATCH, THICK, SWATCH_DASH = 17, 7, 22, 4, 7


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
        for start in range(left, right, 2 * SWATCH_DASH):
            cv2.line(bar, (start, middle), (start + SWATCH_DASH - 1, middle), TRUTH, THICK)
    else:
        cv2.line(bar, (left, middle), (right, middle), entry.colour, THICK)


# Okabe and Ito's lighter colours, which stay apart for the colour-blind too; a dark halo parts them from
# any ground.
COLOURS: tuple[Colour, ...] = ((86, 180, 233), (230, 159, 0), (204, 121, 167), (0, 178, 125), (240, 228, 66))
HALO: Colour = (0, 0, 0)
SMALLEST, LARGEST = 560, 960  # pixels of a picture's longer side
LINE, DASH = 2, 12  # pixels
TINT = 0.18  # of a mask's colour over the picture
EXACT = 16  # steps of a pixel in which OpenCV takes corners: 2 to the power of `SHIFT`
SHIFT = 4


def comparison_picture(
    frame: np.ndarray,
    truth: Region,
    results: Mapping[str, Region],
    words: str = "",
    overlaps: Mapping[str, float] | None = None,
) -> np.ndarray:
    """A picture of RGB uint8 (height, width, 3): the truth dashed, trackers' results, a legend below.

    Places are in pixels of `frame`, which is made smaller or larger so that it can be read on a page; a box
    without area is absence. `overlaps` of trackers stand in the legend.
    """
    height, width = frame.shape[:2]
    scale = min(max(1.0, SMALLEST / max(height, width)), LARGEST / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    colours = {name: COLOURS[at % len(COLOURS)] for at, name in enumerate(results)}
    outlines = {name: _outlines(place, scale, size) for name, place in results.items()}
    for name, place in results.items():
        if isinstance(place, np.ndarray):
            _tint(picture, outlines[name], colours[name])
    # The first lines are the widest and all halos come before them: equal places show every colour.
    widths = {name: LINE + 2 * min(len(results) - 1 - at, 2) for at, name in enumerate(results)}
    for name, lines in outlines.items():
        cv2.polylines(picture, lines, True, HALO, widths[name] + 2, cv2.LINE_AA, SHIFT)
    for name, lines in outlines.items():
        cv2.polylines(picture, lines, True, colours[name], widths[name], cv2.LINE_AA, SHIFT)
    true_lines = _outlines(truth, scale, size)
    for line in true_lines:
        _dashed(picture, line[:, 0] / EXACT)
    told = [Entry("truth" if true_lines else "truth: absent", TRUTH, bool(true_lines))]
    for name, lines in outlines.items():
        known = "" if overlaps is None or np.isnan(overlaps[name]) else f" {overlaps[name]:.2f}"
        told.append(
            Entry(f"{one_line(name)}{known}{'' if lines else ' (absent)'}", colours[name], bool(lines))
        )
    return np.vstack([picture, legend(told, one_line(words), size[0])])


def _outlines(place: Region, scale: float, size: Size) -> list[np.ndarray]:
    """Closed lines around a place, int32 (points, 1, 2), in sixteenths of a pixel of the picture."""
    if place is None:
        return []
    if not isinstance(place, np.ndarray):
        left, top, width, height = (side * scale for side in place)
        if not (width > 0 and height > 0):  # not of NaN either
            return []
        corners = [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]
        edge = np.array(size, np.float64) - 1
        inside = np.clip(np.array(corners) - 0.5, [0, 0], edge)
        return [np.round(inside * EXACT).astype(np.int32)[:, None]]
    large = cv2.resize((place != 0).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    lines, _ = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return [line * EXACT for line in lines]


def _tint(picture: np.ndarray, lines: list[np.ndarray], colour: Colour) -> None:
    """Mix a colour into what lies inside the lines, holes left out, in place."""
    covered = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillPoly(covered, lines, 1, shift=SHIFT)
    there = covered > 0
    picture[there] = np.round((1 - TINT) * picture[there] + TINT * np.array(colour))


def _dashed(picture: np.ndarray, points: np.ndarray) -> None:
    """A closed line through points (N, 2) in pixels, in white dashes with a halo, in place.

    What lies below shows between them.
    """
    points = np.vstack([points, points[:1]])
    lengths = np.hypot(*np.diff(points, axis=0).T)
    along = np.concatenate([[0], np.cumsum(lengths)])
    count = 2 * max(2, round(along[-1] / (2 * DASH)))  # even, so that the ends meet
    ends = np.linspace(0, along[-1], count + 1)
    for start, stop in list(pairwise(ends))[::2]:
        at = np.concatenate([[start], along[(along > start) & (along < stop)], [stop]])
        dash = np.stack([np.interp(at, along, points[:, axis]) for axis in (0, 1)], axis=1)
        drawn = [np.round(dash * EXACT).astype(np.int32)[:, None]]
        cv2.polylines(picture, drawn, False, HALO, LINE + 2, cv2.LINE_AA, SHIFT)
        cv2.polylines(picture, drawn, False, TRUTH, LINE, cv2.LINE_AA, SHIFT)
