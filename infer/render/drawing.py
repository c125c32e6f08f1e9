"""Drawing the report of a tracker onto its frame: mask, box, and a caption below the image.

Images are RGB uint8 (height, width, 3), masks bool (height, width), boxes xyxy in pixels of the image.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle

import cv2
import numpy as np

from data_prep.console import one_line
from data_prep.contract.images import Colour
from data_prep.geometry import Box, Size, rescale
from data_prep.lettering import line_height, put_text, shortened, text_alpha
from data_prep.trace import probability
from infer.trackers.requests import Report, State

# The palette of Okabe and Ito, which people with colour blindness can tell apart too.
STATE_COLOURS: dict[State, Colour] = {
    State.SEARCH: (230, 159, 0),
    State.TRACK: (0, 178, 125),
    State.VERIFY: (86, 180, 233),
    State.LOST: (213, 94, 0),
    State.EMPTY: (140, 146, 156),
}
MASK_COLOUR: Colour = (255, 32, 160)  # hot pink, which is rare in videos of nature, rooms and streets
TRUTH_COLOUR: Colour = (255, 240, 0)
ABSENT_COLOUR: Colour = (140, 146, 156)
DARK: Colour = (19, 21, 26)
LIGHT: Colour = (240, 242, 245)
# For tracks that are drawn on one frame: the pink, and the palette without black and grey.
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
LEGEND_ROWS = 10  # of `draw_reports`; further tracks are counted only
MASK_OPACITY = 0.3  # low enough that the colour of the target can still be recognised


def draw_report(
    image: np.ndarray, report: Report, expression: str, truth: np.ndarray | None = None
) -> np.ndarray:
    """A new image: the frame with the report drawn on it, and a caption below it.

    The outline of `truth`, a mask, is drawn too. Returns RGB uint8 (height + `caption_height`, width, 3),
    so all images of a video have one height. If the target is absent, the frame has a grey border and the
    caption says so.
    """
    height, width = image.shape[:2]
    canvas = np.empty((height + caption_height((width, height)), width, 3), np.uint8)
    canvas[:height] = image
    draw_mask_and_box(canvas[:height], report, truth)
    _draw_caption(canvas[height:], report, one_line(expression), (width, height))
    return canvas


def draw_reports(image: np.ndarray, reports: Sequence[Report], expressions: Sequence[str]) -> np.ndarray:
    """A new image: the frame with all its tracks, each in its colour, and a legend below it.

    Returns RGB uint8 with more rows. Their number depends only on the size of the frame and the number of
    tracks. The expressions of absent targets are grey.
    """
    height, width = image.shape[:2]
    # 1. Make room for the legend below the frame.
    text, rows = _font_size((width, height)), min(len(expressions), LEGEND_ROWS + 1)
    gap, line = _gap(text), line_height(text)
    canvas = np.empty((height + rows * (line + gap) + gap, width, 3), np.uint8)
    canvas[:height], canvas[height:] = image, DARK
    frame, lines = canvas[:height], line_width((width, height))
    # 2. Draw the masks and boxes.
    for report, colour in zip(reports, cycle(TRACK_COLOURS), strict=False):
        if report.mask is not None:
            _tint(frame, report.mask, colour)
            _draw_outline(frame, report.mask, colour, lines)
        if report.box_xyxy is not None and not is_absent(report):
            _draw_box(frame, report.box_xyxy, colour, lines)
    # 3. Write the legend; the square of an absent target is hollow.
    legend = zip(expressions[:LEGEND_ROWS], reports, cycle(TRACK_COLOURS), strict=False)
    for row, (expression, report, colour) in enumerate(legend):
        absent, top = is_absent(report), height + gap + row * (line + gap)
        cv2.rectangle(canvas, (gap, top), (gap + line - 1, top + line - 1), colour, -1 if not absent else 2)
        label = f"{one_line(expression) or '(empty)'}{' (absent)' if absent else ''}"
        left = line + 3 * gap
        label = shortened(label, text, max(1, width - left - gap))
        put_text(canvas, (left, top), label, text, ABSENT_COLOUR if absent else LIGHT)
    if len(expressions) > LEGEND_ROWS:
        top = height + gap + LEGEND_ROWS * (line + gap)
        put_text(canvas, (gap, top), f"and {len(expressions) - LEGEND_ROWS} more", text, LIGHT)
    return canvas


def is_absent(report: Report) -> bool:
    """Whether a report says that the target is absent."""
    return report.mask is None or not report.mask.any()


def resize_report(image: np.ndarray, report: Report, size: Size) -> tuple[np.ndarray, Report]:
    """A frame and its report at another size (width, height). A mask keeps at least one pixel."""
    return resize_frame(image, size), resize_result(report, (image.shape[1], image.shape[0]), size)


def resize_frame(image: np.ndarray, size: Size) -> np.ndarray:
    """A frame at another size (width, height)."""
    # Averaging avoids aliasing when the frame gets smaller; it would show blocks when it gets larger.
    shrinks = size[0] < image.shape[1]
    resized: np.ndarray = cv2.resize(
        image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    )
    return resized


def resize_result(report: Report, frame_size: Size, size: Size) -> Report:
    """The report about a frame of `frame_size`, for the frame at another size. See `resize_report`."""
    mask = None if report.mask is None else _resize_mask(report.mask, size)
    box = None if report.box_xyxy is None else rescale(report.box_xyxy, frame_size, size)
    return replace(report, mask=mask, box_xyxy=box)


def _resize_mask(mask: np.ndarray, size: Size) -> np.ndarray:
    # The share of each new pixel that the mask covers. Of a tiny mask no pixel may be covered by half; then
    # the most covered ones are kept.
    coverage = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    resized: np.ndarray = coverage >= min(0.5, float(coverage.max()) or 0.5)
    return resized


def draw_mask_and_box(
    image: np.ndarray, report: Report, truth: np.ndarray | None = None, width: int | None = None
) -> None:
    """Draw mask, box and the outline of the truth, or the border of an absent target, in place.

    `image` must be contiguous. `width` is the width of lines in pixels; by default it depends on the size of
    the image.
    """
    # The truth is drawn first, so that it does not cover the result.
    width = width or line_width((image.shape[1], image.shape[0]))
    if truth is not None:
        _draw_outline(image, truth, TRUTH_COLOUR, width)
    if report.mask is None or is_absent(report):
        draw_border(image, ABSENT_COLOUR, 3 * width)
        return
    _tint(image, report.mask, MASK_COLOUR)
    _draw_outline(image, report.mask, MASK_COLOUR, width)
    if report.box_xyxy is not None:
        _draw_box(image, report.box_xyxy, STATE_COLOURS[report.state], width)


def line_width(size: Size) -> int:
    """The width of lines, in pixels, on an image of a size (width, height): 2 at 480x270 and 960x540."""
    return max(1, round(min(size) / 270 + 0.5))


def caption_height(size: Size) -> int:
    """The height of the caption, in pixels, below an image of a size (width, height)."""
    text = _font_size(size)
    rows = 3 if _is_narrow(size) else 2
    return rows * line_height(text) + (rows + 1) * _gap(text)


def draw_border(image: np.ndarray, colour: Colour, width: int) -> None:
    """Draw a border of `width` pixels along the edges, in place."""
    for edge in (image[:width], image[-width:], image[:, :width], image[:, -width:]):
        edge[:] = colour


def _tint(image: np.ndarray, mask: np.ndarray, tint: Colour) -> None:
    """Blend a colour into the pixels of a mask, in place."""
    # Only the window around the mask is blended, which saves most of the time on a large frame.
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    inside = (slice(top, top + height), slice(left, left + width))
    window = image[inside]
    colour = np.full_like(window, tint)
    tinted = cv2.addWeighted(window, 1 - MASK_OPACITY, colour, MASK_OPACITY, 0)
    # (h, w) mask of the window, as uint8: OpenCV does not accept bool.
    cv2.copyTo(tinted, np.ascontiguousarray(mask[inside]).view(np.uint8), window)


def _draw_outline(image: np.ndarray, mask: np.ndarray, colour: Colour, width: int) -> None:
    """Draw the outline of a mask, in place."""
    left, top, mask_width, mask_height = cv2.boundingRect(mask.view(np.uint8))
    window = np.ascontiguousarray(mask[top : top + mask_height, left : left + mask_width])
    if not window.size:
        return
    # RETR_CCOMP gives the outlines of holes too; `offset` moves them from the window to the image.
    lines, _ = cv2.findContours(
        window.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top)
    )
    # A wider dark line below makes the outline visible on any background. The thinnest lines have none: on a
    # small image it would cover the target.
    if width > 1:
        cv2.polylines(image, lines, True, DARK, width + 2, cv2.LINE_AA)
    cv2.polylines(image, lines, True, colour, width, cv2.LINE_AA)


def _draw_box(image: np.ndarray, box_xyxy: Box, colour: Colour, width: int) -> None:
    """Draw a rectangle along the outermost pixels of a box, in place."""
    left, top, right, bottom = (round(edge) for edge in box_xyxy)
    # A box ends at its right and bottom edge, so the last pixels that it covers are one before.
    corners = (left, top), (max(left, right - 1), max(top, bottom - 1))
    if width > 1:
        cv2.rectangle(image, *corners, DARK, width + 2)
    cv2.rectangle(image, *corners, colour, width)


def _font_size(size: Size) -> int:
    """The font size, in pixels, on an image of a size (width, height): 20 at 960x540, at least 8."""
    return max(8, round(min(size[0] / 40, size[1] / 27)))


def _gap(text_size: int) -> int:
    return max(1, text_size // 3)


def _is_narrow(size: Size) -> bool:
    """Whether the expression gets a row of its own, because it does not fit beside state and confidence."""
    return size[0] < 24 * _font_size(size)


def _draw_caption(bar: np.ndarray, report: Report, expression: str, size: Size) -> None:
    """Draw the caption on `bar`, RGB uint8: state, expression, and confidence or "absent"; below them why."""
    # 1. Lay out the first row: the state at the left, the confidence or "absent" at the right.
    text = _font_size(size)
    gap, line, width = _gap(text), line_height(text), size[0]
    bar[:] = DARK
    state, absent = report.state.value, is_absent(report)
    result = "absent" if absent else f"{report.confidence:.2f}"
    result_left = width - _badge_width(result, text) - gap
    if (
        result_left < _badge_width(state, text) + 2 * gap
    ):  # no room for both; the colour still shows the state
        state, result_left = result, width
    state_right = gap + _draw_badge(bar, gap, state, text, STATE_COLOURS[report.state])
    if result_left < width:
        _draw_badge(bar, result_left, result, text, ABSENT_COLOUR if absent else LIGHT)
    # 2. The expression goes between them or, in a narrow image, into a second row.
    if _is_narrow(size):
        left, top, right = gap, line + 2 * gap, width - gap
    else:
        left, top, right = state_right + 2 * gap, gap, result_left - 2 * gap
    put_text(bar, (left, top), shortened(expression, text, right - left), text, LIGHT)
    # 3. The last row says why.
    top = bar.shape[0] - line - gap
    put_text(bar, (gap, top), shortened(explanation(report), text, width - 2 * gap), text, ABSENT_COLOUR)


def explanation(report: Report) -> str:
    """Why a tracker reported this, as far as it says: `due, same place · presence 0.98`."""
    parts = [", ".join(reason.replace("_", " ") for reason in report.reasons)]
    if report.presence_log_odds is not None:
        parts.append(f"presence {probability(report.presence_log_odds):.2f}")
    return " · ".join(filter(None, parts))


def _badge_width(name: str, text: int) -> int:
    return text_alpha(name, text, bold=True).shape[1] + 2 * _gap(text)


def _draw_badge(bar: np.ndarray, left: int, name: str, text: int, colour: Colour) -> int:
    """Draw dark text on a coloured ground in the first row of the caption. Returns its width in pixels."""
    gap, width = _gap(text), _badge_width(name, text)
    bar[gap // 2 : gap + line_height(text) + (gap + 1) // 2, left : left + width] = colour
    put_text(bar, (left + gap, gap), name, text, DARK, bold=True)
    return width
