"""Contact sheets of the kinds that cost most: the worst frame of each of the worst tracks."""

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from data_prep.console import one_line
from data_prep.files import whole_file
from data_prep.lettering import line_height, put_text, shortened
from evaluation.diagnosis.costs import Diagnosis
from evaluation.diagnosis.kinds import KINDS
from evaluation.diagnosis.tables import largest_kinds
from evaluation.report.frame_drawing import BACKGROUND, GREY, LIGHT, comparison_picture
from evaluation.scores import FrameSource

NUM_KINDS, NUM_FRAMES, COLUMNS = 4, 6, 3  # sheets of a tracker, frames of a sheet, frames side by side
# Pixels: the width of a picture, what is between pictures, and the heights of text.
WIDTH, GAP, HEADING, CAPTION = 560, 16, 24, 17


def sheets_of(diagnosis: Diagnosis, source: FrameSource) -> dict[str, np.ndarray]:
    """A sheet for each of the kinds that cost most, RGB uint8 (height, width, 3), by the key of the kind."""
    cost = diagnosis.cost()
    sheets = {}
    for kind in largest_kinds(cost)[:NUM_KINDS]:
        title = f"{diagnosis.tracker} · {KINDS[kind].title}: {cost.loss[kind]:.2f} points"
        counts = f"{cost.frames[kind]} frames of {cost.tracks[kind]} tracks. {KINDS[kind].meaning}"
        tiles = [_tile(diagnosis, source, track, kind) for track in _chosen(diagnosis, kind)]
        sheets[KINDS[kind].key] = _sheet(title, counts, tiles)
    return sheets


def write_sheet(path: Path, sheet: np.ndarray) -> None:
    """Write a sheet, RGB uint8 (height, width, 3), as PNG. Raises UserError where it cannot be written."""
    with whole_file(path) as temporary:
        Image.fromarray(sheet).save(temporary, "PNG")


def _chosen(diagnosis: Diagnosis, kind: int) -> list[int]:
    """The tracks that lose most by a kind: first one of each sequence, then others with another frame."""
    worst, tracks = diagnosis.worst(kind), diagnosis.tracks
    first_of = {tracks[number].number: number for number in reversed(worst)}
    # The tracks of a sequence often have the same worst frame, which is shown once.
    chosen: dict[tuple[int, int], int] = {}
    for number in sorted(worst, key=lambda number: first_of[tracks[number].number] != number):
        chosen.setdefault((diagnosis.tracks[number].number, diagnosis.worst_frame(number, kind)), number)
    return list(chosen.values())[:NUM_FRAMES]


def _tile(diagnosis: Diagnosis, source: FrameSource, number: int, kind: int) -> np.ndarray:
    """A frame of a track with the ground truth and the result, and a caption above."""
    track, tracker = diagnosis.tracks[number], diagnosis.tracker
    place = diagnosis.worst_frame(number, kind)
    index, score = int(track.frames.frame_index[place]), float(track.frames.scores[place])
    view = source(track.number, track.first_frame + index, (tracker,))
    overlap = {tracker: score if track.frames.present[place] else math.nan}
    picture = comparison_picture(view.image, view.truth, view.results, track.expression, overlap)
    height = max(1, round(picture.shape[0] * WIDTH / picture.shape[1]))
    picture = cv2.resize(picture, (WIDTH, height), interpolation=cv2.INTER_AREA)
    cost = track.weight * diagnosis.track_losses[number, kind]
    frames = f"{diagnosis.track_frames[number, kind]} of {len(track.frames.scores)} frames, {cost:.2f} points"
    lines = [f"{one_line(track.sequence)}, frame {index + 1} ({frames})"]
    if track.why:
        lines.append(track.why[place].text)
    caption = _blank(len(lines) * line_height(CAPTION) + GAP // 2, WIDTH)
    for row, text in enumerate(lines):
        put_text(caption, (0, row * line_height(CAPTION)), shortened(text, CAPTION, WIDTH), CAPTION, LIGHT)
    return np.vstack([caption, picture])


def _sheet(title: str, text: str, tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Tiles (height, `WIDTH`, 3) in rows of `COLUMNS`, below a title and a line of text."""
    width = COLUMNS * WIDTH + (COLUMNS + 1) * GAP
    head = _blank(2 * GAP + line_height(HEADING) + line_height(CAPTION), width)
    room = width - 2 * GAP
    put_text(head, (GAP, GAP), shortened(one_line(title), HEADING, room), HEADING, LIGHT)
    put_text(head, (GAP, GAP + line_height(HEADING)), shortened(text, CAPTION, room), CAPTION, GREY)
    parts = [head]
    for first in range(0, len(tiles), COLUMNS):
        row = tiles[first : first + COLUMNS]
        strip = _blank(max(tile.shape[0] for tile in row) + GAP, width)
        for column, tile in enumerate(row):
            left = GAP + column * (WIDTH + GAP)
            strip[: tile.shape[0], left : left + WIDTH] = tile
        parts.append(strip)
    return np.vstack(parts)


def _blank(height: int, width: int) -> np.ndarray:
    """An empty image, RGB uint8 (height, width, 3)."""
    return np.full((height, width, 3), BACKGROUND, np.uint8)
