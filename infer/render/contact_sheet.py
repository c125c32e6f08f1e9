"""Contact sheets: one row of thumbnails per track, spread evenly over its sequence.

A sheet shows all tracks of a sequence; the overview shows the first tracks of a run.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from configs.errors import UserError
from data_prep.console import one_line
from data_prep.contract.images import Colour
from data_prep.files import write_whole
from data_prep.geometry import Size, center
from data_prep.lettering import line_height, put_text, shortened, text_alpha
from infer.render.drawing import (
    ABSENT_COLOUR,
    LIGHT,
    MASK_COLOUR,
    STATE_COLOURS,
    draw_border,
    draw_mask_and_box,
    is_absent,
    resize_report,
)
from infer.trackers.requests import Report, State

COLUMNS = 8
OVERVIEW_ROWS = 12
# The layout, in pixels of the sheet. Every row has `COLUMNS` tiles, and a tile is a thumbnail, whose larger
# side is that of `THUMB`, with a line of text below it.
THUMB: Size = (224, 224)
GAP, MARGIN = 10, 28
# The lines and boxes on thumbnails, in pixels of a thumbnail of twice the size.
THUMB_LINE, BOX_MARGIN, MIN_BOX = 3, 16, 36
WIDTH = 2 * MARGIN + COLUMNS * THUMB[0] + (COLUMNS - 1) * GAP
HEADING, LABEL, LEGEND = 26, 18, 20  # font sizes
BACKGROUND: Colour = (15, 17, 21)
FAINT: Colour = (150, 157, 168)


def sampled_frames(frame_count: int) -> tuple[int, ...]:
    """At most `COLUMNS` frame indices, spread evenly over a sequence, with its first and last frame."""
    count = min(COLUMNS, frame_count)
    return tuple(round(i * (frame_count - 1) / max(1, count - 1)) for i in range(count))


class ContactSheet:
    """The contact sheet of one sequence. It grows while the sequence is tracked, and keeps thumbnails only.

    Every frame must be given to `add`: the sampled ones become thumbnails, and all of them are counted.
    """

    def __init__(self, expressions: Sequence[str], frame_count: int, sequence: str = "") -> None:
        self.expressions, self.sequence = tuple(expressions), sequence
        self._sampled = frozenset(sampled_frames(frame_count))
        self._thumbs: list[list[np.ndarray]] = [[] for _ in self.expressions]
        self._num_present = [0] * len(self.expressions)
        self._num_frames = 0

    def add(self, index: int, image: np.ndarray, reports: Sequence[Report]) -> None:
        """Add a frame, RGB uint8 (height, width, 3), with its index from 0 and the reports of all tracks."""
        # Presence is counted in all frames, so that the note of a row is not an estimate.
        self._num_frames += 1
        for row, report in enumerate(reports):
            self._num_present[row] += not is_absent(report)
        if index in self._sampled:
            for thumbs, report in zip(self._thumbs, reports, strict=True):
                thumbs.append(_thumbnail(image, report, index))

    def rows(self) -> list[np.ndarray]:
        """The row of each track, RGB uint8 (height, `WIDTH`, 3)."""
        return [
            _row(expression, _note(self.sequence, present, self._num_frames), thumbs)
            for expression, present, thumbs in zip(
                self.expressions, self._num_present, self._thumbs, strict=True
            )
        ]

    def write(self, path: Path) -> None:
        """Write the sheet as PNG. Raises UserError if it cannot be written."""
        _write_sheet(path, self.rows())


def write_overview(path: Path, sheets: Iterable[tuple[Path, Size]]) -> None:
    """Write the first `OVERVIEW_ROWS` rows of the sheets of a run as PNG.

    `sheets` are the files that `ContactSheet.write` made, in the order of the run's sequences, each with the
    size (width, height) of the frames of its sequence. They include the sheets of an earlier run that this
    one resumes, so a run that was interrupted ends with the same overview. Raises UserError if a file cannot
    be read or written.
    """
    # Sheets are read one at a time and only the needed rows are kept, so memory does not grow with the run.
    rows: list[np.ndarray] = []
    num_left_out = 0
    for sheet, size in sheets:
        found = _read_rows(sheet, size)
        room = max(0, OVERVIEW_ROWS - len(rows))
        rows += found[:room]
        num_left_out += len(found[room:])
    note = f"{num_left_out} more in the sheets of their sequences" if num_left_out else ""
    _write_sheet(path, rows, note)


def _read_rows(path: Path, size: Size) -> list[np.ndarray]:
    """The rows of a sheet that `_write_sheet` wrote. All have the same height, which depends on `size`."""
    try:
        with Image.open(path) as sheet:
            image = np.asarray(sheet.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as fault:
        raise UserError(f"{path}: cannot be read ({fault}); remove it") from None
    # Skip the margin, the legend and the margin below it. Each row is followed by a margin. A note at the end
    # is lower than a row, so it is not taken for one.
    first = 2 * MARGIN + line_height(LEGEND)
    height = line_height(HEADING) + GAP + _tile_height(size)
    return [image[top : top + height] for top in range(first, len(image) - height, height + MARGIN)]


def _thumb_size(size: Size) -> Size:
    """The largest (width, height) within `THUMB` that has the aspect ratio of a frame."""
    scale = min(THUMB[0] / size[0], THUMB[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _tile_height(size: Size) -> int:
    """The height of a thumbnail of a frame of a size (width, height) with the line below it."""
    return _thumb_size(size)[1] + GAP // 2 + line_height(LABEL)


def _thumbnail(image: np.ndarray, report: Report, index: int) -> np.ndarray:
    """The frame with its report, scaled to fit `THUMB`; below it the frame number, from 1, and the state."""
    height, width = image.shape[:2]
    size = _thumb_size((width, height))
    small = (
        _absent(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
        if is_absent(report)
        else _with_overlay(image, report, size)
    )
    # A narrow frame leaves the right of its tile empty. The state is aligned with the frame, but gets at
    # least half of the tile, so that it does not overlap the frame number.
    tile = _blank(_tile_height((width, height)), THUMB[0])
    tile[: size[1], : size[0]] = small
    state, top = report.state.value, size[1] + GAP // 2
    right = max(size[0], THUMB[0] // 2)
    put_text(tile, (0, top), f"{index + 1}", LABEL, FAINT)
    colour = STATE_COLOURS[report.state]
    put_text(tile, (right - _text_width(state, LABEL), top), state, LABEL, colour, bold=True)
    return tile


def _with_overlay(image: np.ndarray, report: Report, size: Size) -> np.ndarray:
    """A thumbnail with mask and box, which are drawn at twice the size for thin, smooth lines."""
    large, large_report = resize_report(image, report, (2 * size[0], 2 * size[1]))
    draw_mask_and_box(large, _with_larger_box(large_report), width=THUMB_LINE)
    return cv2.resize(large, size, interpolation=cv2.INTER_AREA)


def _with_larger_box(report: Report) -> Report:
    """The report with a larger box, so that a small target can be found in the thumbnail."""
    if report.box_xyxy is None:
        return report
    (x, y), (left, top, right, bottom) = center(report.box_xyxy), report.box_xyxy
    half_width = max(right - left + BOX_MARGIN, MIN_BOX) / 2
    half_height = max(bottom - top + BOX_MARGIN, MIN_BOX) / 2
    return replace(report, box_xyxy=(x - half_width, y - half_height, x + half_width, y + half_height))


def _absent(small: np.ndarray) -> np.ndarray:
    """The thumbnail of an absent target: dark and grey, with a border and the word "absent"."""
    grey = cv2.cvtColor(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    faded = cv2.addWeighted(grey, 0.5, np.full_like(grey, BACKGROUND), 0.5, 0)
    draw_border(faded, ABSENT_COLOUR, 2)
    height, width = faded.shape[:2]
    corner = (width - _text_width("absent", LABEL)) // 2, (height - line_height(LABEL)) // 2
    put_text(faded, corner, "absent", LABEL, LIGHT, bold=True)
    return faded


def _note(sequence: str, num_present: int, num_frames: int) -> str:
    found = f"in {num_present} of {num_frames} frames"
    return f"{sequence} · {found}" if sequence else found


def _row(expression: str, note: str, thumbs: list[np.ndarray]) -> np.ndarray:
    """A row: the expression and, at the right, a note; below them the thumbnails."""
    # 1. The heading. The note gets at most a third of the width, the expression what is left of it.
    note = shortened(one_line(note), LABEL, WIDTH // 3)
    note_left = WIDTH - MARGIN - text_alpha(note, LABEL).shape[1]
    heading = _blank(line_height(HEADING) + GAP, WIDTH)
    room = note_left - 2 * MARGIN
    put_text(
        heading,
        (MARGIN, 0),
        shortened(one_line(expression) or "(empty)", HEADING, room, True),
        HEADING,
        LIGHT,
        True,
    )
    put_text(heading, (note_left, line_height(HEADING) - line_height(LABEL) - 1), note, LABEL, FAINT)
    # 2. The thumbnails, in columns of equal width.
    strip = _blank(max((thumb.shape[0] for thumb in thumbs), default=0), WIDTH)
    for column, thumb in enumerate(thumbs):
        left = MARGIN + column * (THUMB[0] + GAP)
        strip[: thumb.shape[0], left : left + THUMB[0]] = thumb
    return np.concatenate([heading, strip])


def _legend() -> np.ndarray:
    """The legend of the colours."""
    bar = _blank(line_height(LEGEND), WIDTH)
    left = MARGIN
    names: list[tuple[str, Colour]] = [("mask", MASK_COLOUR)]
    # An empty expression has no colour of its own: all its frames are absent.
    names += [(state.value, STATE_COLOURS[state]) for state in State if state is not State.EMPTY]
    for name, colour in names:
        middle = (left + LEGEND // 2, bar.shape[0] // 2)
        cv2.circle(bar, middle, LEGEND * 2 // 5, colour, cv2.FILLED, cv2.LINE_AA)
        left += LEGEND + GAP
        left += put_text(bar, (left, 0), name, LEGEND, FAINT) + MARGIN
    return bar


def _write_sheet(path: Path, rows: list[np.ndarray], note: str = "") -> None:
    """Write the legend, the rows and a note below each other, as PNG."""
    between = _blank(MARGIN, WIDTH)
    parts = [between, _legend()]
    for row in rows:
        parts += [between, row]
    if note:
        last = _blank(line_height(LABEL), WIDTH)
        put_text(last, (MARGIN, 0), note, LABEL, FAINT)
        parts += [between, last]
    # Encoded in memory, so that `write_whole` can write the file completely or not at all.
    encoded = BytesIO()
    Image.fromarray(np.concatenate([*parts, between])).save(encoded, "png")
    write_whole(path, encoded.getvalue())


def _blank(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), BACKGROUND, np.uint8)


def _text_width(text: str, size: int) -> int:
    return text_alpha(text, size, bold=True).shape[1]
