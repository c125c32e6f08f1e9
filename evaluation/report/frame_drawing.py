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
BACKGROUND: Colour = (19, 21, 26)
LIGHT: Colour = (240, 242, 245)
GREY: Colour = (150, 157, 168)
# Pixels: the height of text, gaps, and the length, width and dashes of the lines in the legend.
TEXT_HEIGHT, GAP, SWATCH_LENGTH, SWATCH_WIDTH, SWATCH_DASH = 17, 7, 22, 4, 7


class Entry(NamedTuple):
    """An entry of the legend: a name, the colour of its line, and whether the frame has such a line.

    The line of colour `TRUTH` is dashed.
    """

    name: str
    colour: Colour
    is_present: bool


def legend(entries: Sequence[Entry], expression: str, width: int) -> np.ndarray:
    """The legend as an image, RGB uint8 (height, `width`, 3), with the expression in the last row.

    Each entry is a short line and a name. Entries are put into as many rows as they need.
    """
    # 1. Put the entries into rows: the left end, the shortened name, and the entry.
    line = line_height(TEXT_HEIGHT)
    rows: list[list[tuple[int, str, Entry]]] = [[]]
    left = GAP
    for entry in entries:
        shown = shortened(entry.name, TEXT_HEIGHT, width - 4 * GAP - SWATCH_LENGTH)
        entry_width = SWATCH_LENGTH + GAP + text_alpha(shown, TEXT_HEIGHT).shape[1] + 3 * GAP
        # An entry that is wider than the legend has a row of its own.
        if rows[-1] and left + entry_width > width:
            rows.append([])
            left = GAP
        rows[-1].append((left, shown, entry))
        left += entry_width
    # 2. Draw the rows, and the expression below them.
    bar = np.empty((GAP + (len(rows) + bool(expression)) * (line + GAP), width, 3), np.uint8)
    bar[:] = BACKGROUND
    for number, row in enumerate(rows):
        top = GAP + number * (line + GAP)
        for left, shown, entry in row:
            _swatch(bar, left, top + line // 2, entry)
            put_text(
                bar,
                (left + SWATCH_LENGTH + GAP, top),
                shown,
                TEXT_HEIGHT,
                LIGHT if entry.is_present else GREY,
            )
    if expression:
        shown = shortened(f"“{expression}”", TEXT_HEIGHT, width - 2 * GAP)
        put_text(bar, (GAP, GAP + len(rows) * (line + GAP)), shown, TEXT_HEIGHT, LIGHT)
    return bar


def _swatch(bar: np.ndarray, left: int, middle: int, entry: Entry) -> None:
    """Draw the line of an entry, dashed for the ground truth; an empty box where the frame
    has no such line.
    """
    right = left + SWATCH_LENGTH
    if not entry.is_present:
        cv2.rectangle(bar, (left, middle - 5), (right, middle + 5), GREY, 1)
    elif entry.colour == TRUTH:
        for start in range(left, right, 2 * SWATCH_DASH):
            cv2.line(bar, (start, middle), (start + SWATCH_DASH - 1, middle), TRUTH, SWATCH_WIDTH)
    else:
        cv2.line(bar, (left, middle), (right, middle), entry.colour, SWATCH_WIDTH)


# The lighter colours of Okabe and Ito's palette, which colour-blind people can tell apart. A dark halo makes
# the lines visible on any background.
COLOURS: tuple[Colour, ...] = ((86, 180, 233), (230, 159, 0), (204, 121, 167), (0, 178, 125), (240, 228, 66))
HALO: Colour = (0, 0, 0)
MIN_SIDE, MAX_SIDE = 560, 960  # pixels of the longer side of a picture
LINE, DASH = 2, 12  # pixels
TINT = 0.18  # opacity of the colour of a mask
SHIFT = 4  # OpenCV takes coordinates with so many fractional bits
SUBPIXELS = 1 << SHIFT


def comparison_picture(
    frame: np.ndarray,
    truth: Region,
    results: Mapping[str, Region],
    expression: str = "",
    overlaps: Mapping[str, float] | None = None,
) -> np.ndarray:
    """Draw the ground truth (dashed) and the results of trackers into a frame, with a legend below.

    `frame` is RGB uint8 (height, width, 3), and so is the returned picture, whose longer side is from
    `MIN_SIDE` to `MAX_SIDE` pixels. Boxes and masks are in pixels of `frame`; a box without area is absence.
    `overlaps` are the IoUs of trackers with the ground truth, for the legend.
    """
    # 1. Resize the frame.
    height, width = frame.shape[:2]
    # Small frames are enlarged so that lines and text do not hide them; large ones make large pages.
    scale = min(max(1.0, MIN_SIDE / max(height, width)), MAX_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    # 2. Draw the results.
    colours = {name: COLOURS[at % len(COLOURS)] for at, name in enumerate(results)}
    outlines = {name: _outlines(region, scale, size) for name, region in results.items()}
    for name, region in results.items():
        if isinstance(region, np.ndarray):
            _tint(picture, outlines[name], colours[name])
    # Earlier results have wider lines, and all halos are drawn first. So every colour is visible where
    # results are equal.
    widths = {name: LINE + 2 * min(len(results) - 1 - at, 2) for at, name in enumerate(results)}
    for name, lines in outlines.items():
        cv2.polylines(picture, lines, True, HALO, widths[name] + 2, cv2.LINE_AA, SHIFT)
    for name, lines in outlines.items():
        cv2.polylines(picture, lines, True, colours[name], widths[name], cv2.LINE_AA, SHIFT)
    # 3. Draw the ground truth on top, and the legend below.
    true_lines = _outlines(truth, scale, size)
    for line in true_lines:
        _dashed(picture, line[:, 0] / SUBPIXELS)
    entries = [Entry("truth" if true_lines else "truth: absent", TRUTH, bool(true_lines))]
    for name, lines in outlines.items():
        known = "" if overlaps is None or np.isnan(overlaps[name]) else f" {overlaps[name]:.2f}"
        entries.append(
            Entry(f"{one_line(name)}{known}{'' if lines else ' (absent)'}", colours[name], bool(lines))
        )
    return np.vstack([picture, legend(entries, one_line(expression), size[0])])


def _outlines(region: Region, scale: float, size: Size) -> list[np.ndarray]:
    """The outlines of a box or mask, int32 (points, 1, 2) each, in sixteenths of a pixel of the picture.

    A mask has one outline for each component and each hole; absence has none. `scale` leads from pixels of
    the frame to pixels of the picture, `size` is the size (width, height) of the picture.
    """
    if region is None:
        return []
    if not isinstance(region, np.ndarray):
        left, top, width, height = (side * scale for side in region)
        if not (width > 0 and height > 0):  # also true for NaN
            return []
        corners = [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]
        edge = np.array(size, np.float64) - 1
        # A box is given by edges of pixels, OpenCV draws through their centres: hence the half pixel.
        inside = np.clip(np.array(corners) - 0.5, [0, 0], edge)
        return [np.round(inside * SUBPIXELS).astype(np.int32)[:, None]]
    large = cv2.resize((region != 0).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    # RETR_CCOMP finds the outlines of components and of their holes, every pixel of each.
    lines, _ = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return [line * SUBPIXELS for line in lines]


def _tint(picture: np.ndarray, lines: list[np.ndarray], colour: Colour) -> None:
    """Blend a colour into the area inside the outlines, without holes, in place."""
    covered = np.zeros(picture.shape[:2], np.uint8)
    # All outlines in one call: `fillPoly` leaves an area empty that two of them contain, which is a hole.
    cv2.fillPoly(covered, lines, 1, shift=SHIFT)
    there = covered > 0
    picture[there] = np.round((1 - TINT) * picture[there] + TINT * np.array(colour))


def _dashed(picture: np.ndarray, points: np.ndarray) -> None:
    """Draw a closed line through points (N, 2) in pixels as white dashes with a halo, in place.

    Lines below it are visible between the dashes.
    """
    # 1. The length along the line at each point: (N + 1,).
    points = np.vstack([points, points[:1]])
    lengths = np.hypot(*np.diff(points, axis=0).T)
    along = np.concatenate([[0], np.cumsum(lengths)])
    # 2. An even number of pieces, of which every second one is drawn: a gap is where the line closes.
    count = 2 * max(2, round(along[-1] / (2 * DASH)))
    ends = np.linspace(0, along[-1], count + 1)
    for start, stop in list(pairwise(ends))[::2]:
        at = np.concatenate([[start], along[(along > start) & (along < stop)], [stop]])
        dash = np.stack([np.interp(at, along, points[:, axis]) for axis in (0, 1)], axis=1)
        drawn = [np.round(dash * SUBPIXELS).astype(np.int32)[:, None]]
        cv2.polylines(picture, drawn, False, HALO, LINE + 2, cv2.LINE_AA, SHIFT)
        cv2.polylines(picture, drawn, False, TRUTH, LINE, cv2.LINE_AA, SHIFT)
