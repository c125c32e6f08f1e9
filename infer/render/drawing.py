"""What a tracker reported, painted onto its frame: mask, box, and a caption below the picture."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle

import cv2
import numpy as np

from data_prep.console import one_line
from data_prep.contract.images import Colour
from data_prep.geometry import Box, Size, rescale
from data_prep.lettering import line_height, put_text, shortened, text_alpha
from infer.trackers.requests import Report, State

# Okabe and Ito's colours, which stay apart for the colour-blind too.
STATE_COLOURS: dict[State, Colour] = {
    State.SEARCH: (230, 159, 0),
    State.TRACK: (0, 178, 125),
    State.VERIFY: (86, 180, 233),
    State.LOST: (213, 94, 0),
    State.EMPTY: (140, 146, 156),
}
MASK_COLOUR: Colour = (255, 32, 160)  # hot pink: rare in nature, in rooms and on streets
TRUTH_COLOUR: Colour = (255, 240, 0)
ABSENT_COLOUR: Colour = (140, 146, 156)
DARK: Colour = (19, 21, 26)
LIGHT: Colour = (240, 242, 245)
# Of tracks that are shown together: Okabe and Ito's, without black and grey, and the pink.
TRACK_COLOURS: tuple[Colour, ...] = (
    MASK_COLOUR,
    (86, 180, 233),
    (240, 228, 66),
    (0, 178, 125),
    (230, 159, 0),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
LEGEND_ROWS = 10
MASK_SHARE = 0.3  # of the mask's colour over the picture: what is red stays red


def draw_report(image: np.ndarray, report: Report, words: str, truth: np.ndarray | None = None) -> np.ndarray:
    """A new picture: the frame with the report painted on, and a caption bar below it.

    `image` is RGB uint8 (height, width, 3), `truth` a bool mask (height, width) whose outline is drawn.
    Returns RGB uint8 (height + `caption_height`, width, 3); of one frame size always the same height.
    Where the target is absent the frame has a grey border and the caption says so.
    """
    height, width = image.shape[:2]
    painted = np.empty((height + caption_height((width, height)), width, 3), np.uint8)
    painted[:height] = image
    paint_report(painted[:height], report, truth)
    _paint_caption(painted[height:], report, one_line(words), (width, height))
    return painted


def draw_reports(image: np.ndarray, reports: Sequence[Report], words: Sequence[str]) -> np.ndarray:
    """A new picture: the frame with all its tracks, each in its colour, and a line for each below it.

    `image` is RGB uint8 (height, width, 3). Returns RGB uint8 (more rows, width, 3); of one frame size and
    number of tracks always the same height. Words of absent targets are grey.
    """
    height, width = image.shape[:2]
    text, rows = _text_size((width, height)), min(len(words), LEGEND_ROWS + 1)
    gap, line = _gap(text), line_height(text)
    painted = np.empty((height + rows * (line + gap) + gap, width, 3), np.uint8)
    painted[:height], painted[height:] = image, DARK
    picture, lines = painted[:height], line_width((width, height))
    for report, colour in zip(reports, cycle(TRACK_COLOURS), strict=False):
        if report.mask is not None:
            _tint(picture, report.mask, colour)
            _paint_outline(picture, report.mask, colour, lines)
        if report.box_xyxy is not None and not is_absent(report):
            _paint_box(picture, report.box_xyxy, colour, lines)
    legend = zip(words[:LEGEND_ROWS], reports, cycle(TRACK_COLOURS), strict=False)
    for row, (expression, report, colour) in enumerate(legend):
        absent, top = is_absent(report), height + gap + row * (line + gap)
        cv2.rectangle(painted, (gap, top), (gap + line - 1, top + line - 1), colour, -1 if not absent else 2)
        told = f"{one_line(expression) or '(no words)'}{' (absent)' if absent else ''}"
        left = line + 3 * gap
        told = shortened(told, text, max(1, width - left - gap))
        put_text(painted, (left, top), told, text, ABSENT_COLOUR if absent else LIGHT)
    if len(words) > LEGEND_ROWS:
        top = height + gap + LEGEND_ROWS * (line + gap)
        put_text(painted, (gap, top), f"and {len(words) - LEGEND_ROWS} more", text, LIGHT)
    return painted


def is_absent(report: Report) -> bool:
    """Whether a report says that the target is not there."""
    return report.mask is None or not report.mask.any()


def resized(image: np.ndarray, report: Report, size: Size) -> tuple[np.ndarray, Report]:
    """A frame and its report at another size (width, height); a mask keeps at least a pixel."""
    height, width = image.shape[:2]
    shrinks = size[0] < width
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    mask = None if report.mask is None else _resized_mask(report.mask, size)
    box = None if report.box_xyxy is None else rescale(report.box_xyxy, (width, height), size)
    return small, replace(report, mask=mask, box_xyxy=box)


def _resized_mask(mask: np.ndarray, size: Size) -> np.ndarray:
    shares = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    small: np.ndarray = shares >= min(0.5, float(shares.max()) or 0.5)
    return small


def paint_report(
    image: np.ndarray, report: Report, truth: np.ndarray | None = None, width: int | None = None
) -> None:
    """Paint mask, box and the truth's outline in place, or the border of absence; no letters.

    `image` is RGB uint8 (height, width, 3), in memory row by row. `width` is that of lines in pixels,
    and follows from the picture's size if not given.
    """
    width = width or line_width((image.shape[1], image.shape[0]))
    if truth is not None:
        _paint_outline(image, truth, TRUTH_COLOUR, width)
    if report.mask is None or is_absent(report):
        paint_border(image, ABSENT_COLOUR, 3 * width)
        return
    _tint(image, report.mask, MASK_COLOUR)
    _paint_outline(image, report.mask, MASK_COLOUR, width)
    if report.box_xyxy is not None:
        _paint_box(image, report.box_xyxy, STATE_COLOURS[report.state], width)


def line_width(size: Size) -> int:
    """Width in pixels of lines on a picture of a size (width, height): 2 at 480x270 and 960x540."""
    return max(1, round(min(size) / 270 + 0.5))


def caption_height(size: Size) -> int:
    """Height in pixels of the caption below a picture of a size (width, height)."""
    text = _text_size(size)
    rows = 2 if _is_narrow(size) else 1
    return rows * line_height(text) + (rows + 1) * _gap(text)


def paint_border(image: np.ndarray, colour: Colour, width: int) -> None:
    """Paint a frame of `width` pixels along the edges of RGB uint8 (height, width, 3), in place."""
    for edge in (image[:width], image[-width:], image[:, :width], image[:, -width:]):
        edge[:] = colour


def _tint(image: np.ndarray, mask: np.ndarray, tint: Colour) -> None:
    """Mix a colour into a mask's pixels; only the window around them is touched, which saves time."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    there = (slice(top, top + height), slice(left, left + width))
    window = image[there]
    colour = np.full_like(window, tint)
    tinted = cv2.addWeighted(window, 1 - MASK_SHARE, colour, MASK_SHARE, 0)
    cv2.copyTo(tinted, np.ascontiguousarray(mask[there]).view(np.uint8), window)


def _paint_outline(image: np.ndarray, mask: np.ndarray, colour: Colour, width: int) -> None:
    """A line in `colour` along a mask's edge, on a dark one, so it shows on any ground.

    Not the finest lines, and so in boxes: on a small picture the dark would swallow what it frames.
    """
    left, top, mask_width, mask_height = cv2.boundingRect(mask.view(np.uint8))
    window = np.ascontiguousarray(mask[top : top + mask_height, left : left + mask_width])
    if not window.size:
        return
    lines, _ = cv2.findContours(
        window.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top)
    )
    if width > 1:
        cv2.polylines(image, lines, True, DARK, width + 2, cv2.LINE_AA)
    cv2.polylines(image, lines, True, colour, width, cv2.LINE_AA)


def _paint_box(image: np.ndarray, box_xyxy: Box, colour: Colour, width: int) -> None:
    """A rectangle along the outermost pixels of a box."""
    left, top, right, bottom = (round(edge) for edge in box_xyxy)
    corners = (left, top), (max(left, right - 1), max(top, bottom - 1))
    if width > 1:
        cv2.rectangle(image, *corners, DARK, width + 2)
    cv2.rectangle(image, *corners, colour, width)


def _text_size(size: Size) -> int:
    """Font size in pixels for a picture of a size (width, height): 20 at 960x540, never below 8."""
    return max(8, round(min(size[0] / 40, size[1] / 27)))


def _gap(text_size: int) -> int:
    return max(1, text_size // 3)


def _is_narrow(size: Size) -> bool:
    """Whether words beside state and confidence would have too little room, and get a row of their own."""
    return size[0] < 24 * _text_size(size)


def _paint_caption(bar: np.ndarray, report: Report, words: str, size: Size) -> None:
    """State, words, and confidence or absence on `bar`, RGB uint8; in two rows where it is narrow."""
    text = _text_size(size)
    gap, line, width = _gap(text), line_height(text), size[0]
    bar[:] = DARK
    state, absent = report.state.value, is_absent(report)
    verdict = "absent" if absent else f"{report.confidence:.2f}"
    verdict_left = width - _badge_width(verdict, text) - gap
    if verdict_left < _badge_width(state, text) + 2 * gap:  # no room for both: the colour tells the state
        state, verdict_left = verdict, width
    state_right = gap + _paint_badge(bar, gap, state, text, STATE_COLOURS[report.state])
    if verdict_left < width:
        _paint_badge(bar, verdict_left, verdict, text, ABSENT_COLOUR if absent else LIGHT)
    if _is_narrow(size):
        left, top, right = gap, line + 2 * gap, width - gap
    else:
        left, top, right = state_right + 2 * gap, gap, verdict_left - 2 * gap
    put_text(bar, (left, top), shortened(words, text, right - left), text, LIGHT)


def _badge_width(name: str, text: int) -> int:
    return text_alpha(name, text, bold=True).shape[1] + 2 * _gap(text)


def _paint_badge(bar: np.ndarray, left: int, name: str, text: int, colour: Colour) -> int:
    """Dark letters on a coloured ground in the first row of the caption; returns its width in pixels."""
    gap, width = _gap(text), _badge_width(name, text)
    bar[gap // 2 : gap + line_height(text) + (gap + 1) // 2, left : left + width] = colour
    put_text(bar, (left + gap, gap), name, text, DARK, bold=True)
    return width
