"""Contact sheets: a row of thumbnails a prompt, spread over its sequence, so a run is seen at a glance."""

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
    is_absent,
    paint_border,
    paint_report,
    resized,
)
from infer.trackers.requests import Report, State

COLUMNS = 8
OVERVIEW_ROWS = 12
# All lengths are pixels of the sheet.
THUMB: Size = (224, 224)  # the most a thumbnail takes
GAP, MARGIN = 10, 28
THUMB_LINE, BOX_MARGIN, LEAST_BOX = 3, 16, 36  # at twice a thumbnail's size
WIDTH = 2 * MARGIN + COLUMNS * THUMB[0] + (COLUMNS - 1) * GAP
HEADING, LABEL, LEGEND = 26, 18, 20  # sizes of letters
GROUND: Colour = (15, 17, 21)
FAINT: Colour = (150, 157, 168)


def chosen_frames(frame_count: int) -> tuple[int, ...]:
    """At most `COLUMNS` frame indices spread evenly over a sequence, its first and last among them."""
    count = min(COLUMNS, frame_count)
    return tuple(round(i * (frame_count - 1) / max(1, count - 1)) for i in range(count))


class ContactSheet:
    """The rows of one sequence, gathered while it is tracked; only its thumbnails are kept.

    `add` wants every frame: those chosen become thumbnails, all are counted.
    """

    def __init__(self, prompts: Sequence[str], frame_count: int, sequence: str = "") -> None:
        self.prompts, self.sequence = tuple(prompts), sequence
        self._chosen = frozenset(chosen_frames(frame_count))
        self._thumbs: list[list[np.ndarray]] = [[] for _ in self.prompts]
        self._num_present = [0] * len(self.prompts)
        self._num_frames = 0

    def add(self, index: int, image: np.ndarray, reports: Sequence[Report]) -> None:
        """Take frame `index` (from 0), RGB uint8 (height, width, 3), and a report of each prompt in order."""
        self._num_frames += 1
        for row, report in enumerate(reports):
            self._num_present[row] += not is_absent(report)
        if index in self._chosen:
            for thumbs, report in zip(self._thumbs, reports, strict=True):
                thumbs.append(_thumbnail(image, report, index))

    def rows(self) -> list[np.ndarray]:
        """A picture of each prompt, RGB uint8 (height, `WIDTH`, 3)."""
        return [
            _row(words, _note(self.sequence, present, self._num_frames), thumbs)
            for words, present, thumbs in zip(self.prompts, self._num_present, self._thumbs, strict=True)
        ]

    def write(self, path: Path) -> None:
        """Write the sheet as a PNG. Raises UserError where the disk refuses."""
        _write_sheet(path, self.rows())


def write_overview(path: Path, sheets: Iterable[tuple[Path, Size]]) -> None:
    """Write the first `OVERVIEW_ROWS` rows of the sheets of a run as a PNG.

    `sheets` are the files that `ContactSheet.write` made, in the order of the run's sequences, each with the
    size (width, height) of the sequence's frames. Sheets of an earlier run that this one continues are among
    them, so a run that was interrupted ends with the same overview. Raises UserError where a file cannot be
    read or written.
    """
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
    """The rows of a sheet that `_write_sheet` wrote. All have one height, which the frames' size decides."""
    try:
        with Image.open(path) as sheet:
            picture = np.asarray(sheet.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as fault:
        raise UserError(f"{path}: cannot be read ({fault}); remove it") from None
    first = 2 * MARGIN + line_height(LEGEND)
    height = line_height(HEADING) + GAP + _tile_height(size)
    return [picture[top : top + height] for top in range(first, len(picture) - height, height + MARGIN)]


def _thumb_size(size: Size) -> Size:
    """The largest size (width, height) within `THUMB` of the shape of a frame."""
    scale = min(THUMB[0] / size[0], THUMB[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _tile_height(size: Size) -> int:
    """Height of a thumbnail of a frame of a size (width, height), and of the line below it."""
    return _thumb_size(size)[1] + GAP // 2 + line_height(LABEL)


def _thumbnail(image: np.ndarray, report: Report, index: int) -> np.ndarray:
    """The frame with its report, fitted into `THUMB`, and a line below it: frame number from 1, and state."""
    height, width = image.shape[:2]
    size = _thumb_size((width, height))
    small = (
        _faded(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
        if is_absent(report)
        else _painted(image, report, size)
    )
    tile = _ground(_tile_height((width, height)), THUMB[0])
    tile[: size[1], : size[0]] = small
    state, top = report.state.value, size[1] + GAP // 2
    right = max(size[0], THUMB[0] // 2)
    put_text(tile, (0, top), f"{index + 1}", LABEL, FAINT)
    colour = STATE_COLOURS[report.state]
    put_text(tile, (right - _width(state, LABEL), top), state, LABEL, colour, bold=True)
    return tile


def _painted(image: np.ndarray, report: Report, size: Size) -> np.ndarray:
    """A thumbnail with mask and box, painted at twice its size, which makes its lines fine and smooth."""
    large, large_report = resized(image, report, (2 * size[0], 2 * size[1]))
    paint_report(large, _findable(large_report), width=THUMB_LINE)
    return cv2.resize(large, size, interpolation=cv2.INTER_AREA)


def _findable(report: Report) -> Report:
    """A report whose box stands off from its mask and can be seen, however small the target is."""
    if report.box_xyxy is None:
        return report
    (x, y), (left, top, right, bottom) = center(report.box_xyxy), report.box_xyxy
    half_width = max(right - left + BOX_MARGIN, LEAST_BOX) / 2
    half_height = max(bottom - top + BOX_MARGIN, LEAST_BOX) / 2
    return replace(report, box_xyxy=(x - half_width, y - half_height, x + half_width, y + half_height))


def _faded(small: np.ndarray) -> np.ndarray:
    """A thumbnail of absence: no colours, little light, a grey border, and the word."""
    grey = cv2.cvtColor(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    faded = cv2.addWeighted(grey, 0.5, np.full_like(grey, GROUND), 0.5, 0)
    paint_border(faded, ABSENT_COLOUR, 2)
    height, width = faded.shape[:2]
    corner = (width - _width("absent", LABEL)) // 2, (height - line_height(LABEL)) // 2
    put_text(faded, corner, "absent", LABEL, LIGHT, bold=True)
    return faded


def _note(sequence: str, num_present: int, num_frames: int) -> str:
    found = f"in {num_present} of {num_frames} frames"
    return f"{sequence} · {found}" if sequence else found


def _row(words: str, note: str, thumbs: list[np.ndarray]) -> np.ndarray:
    """Words and a note at the right over thumbnails."""
    note = shortened(one_line(note), LABEL, WIDTH // 3)
    note_left = WIDTH - MARGIN - text_alpha(note, LABEL).shape[1]
    heading = _ground(line_height(HEADING) + GAP, WIDTH)
    room = note_left - 2 * MARGIN
    put_text(
        heading,
        (MARGIN, 0),
        shortened(one_line(words) or "(no words)", HEADING, room, True),
        HEADING,
        LIGHT,
        True,
    )
    put_text(heading, (note_left, line_height(HEADING) - line_height(LABEL) - 1), note, LABEL, FAINT)
    strip = _ground(max((thumb.shape[0] for thumb in thumbs), default=0), WIDTH)
    for column, thumb in enumerate(thumbs):
        left = MARGIN + column * (THUMB[0] + GAP)
        strip[: thumb.shape[0], left : left + THUMB[0]] = thumb
    return np.concatenate([heading, strip])


def _legend() -> np.ndarray:
    """What the colours mean."""
    bar = _ground(line_height(LEGEND), WIDTH)
    left = MARGIN
    names: list[tuple[str, Colour]] = [("mask", MASK_COLOUR)]
    names += [(state.value, STATE_COLOURS[state]) for state in State if state is not State.EMPTY]
    for name, colour in names:
        middle = (left + LEGEND // 2, bar.shape[0] // 2)
        cv2.circle(bar, middle, LEGEND * 2 // 5, colour, cv2.FILLED, cv2.LINE_AA)
        left += LEGEND + GAP
        left += put_text(bar, (left, 0), name, LEGEND, FAINT) + MARGIN
    return bar


def _write_sheet(path: Path, rows: list[np.ndarray], note: str = "") -> None:
    """Legend, rows and a note below each other, as a PNG."""
    between = _ground(MARGIN, WIDTH)
    parts = [between, _legend()]
    for row in rows:
        parts += [between, row]
    if note:
        last = _ground(line_height(LABEL), WIDTH)
        put_text(last, (MARGIN, 0), note, LABEL, FAINT)
        parts += [between, last]
    encoded = BytesIO()
    Image.fromarray(np.concatenate([*parts, between])).save(encoded, "png")
    write_whole(path, encoded.getvalue())


def _ground(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), GROUND, np.uint8)


def _width(words: str, size: int) -> int:
    return text_alpha(words, size, bold=True).shape[1]
