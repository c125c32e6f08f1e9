"""Contact sheets: the chosen frames, a row a prompt, and absence for all to see."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs.errors import UserError
from infer.render.contact_sheet import (
    COLUMNS,
    GAP,
    MARGIN,
    OVERVIEW_ROWS,
    THUMB,
    WIDTH,
    ContactSheet,
    _read_rows,
    _write_sheet,
    sampled_frames,
    write_overview,
)
from infer.render.drawing import MASK_COLOUR
from infer.trackers.requests import Report, State

SIZE = (96, 54)


def grey(index: int) -> np.ndarray:
    """A frame that tells its number by its brightness."""
    return np.full((SIZE[1], SIZE[0], 3), 40 + 3 * index, np.uint8)


def found() -> Report:
    mask = np.zeros((SIZE[1], SIZE[0]), bool)
    mask[20:34, 40:56] = True
    return Report(State.TRACK, mask, (40, 20, 56, 34), 0.9)


def sheet_of(num_frames: int, reports: list[Report], prompts: list[str] | None = None) -> ContactSheet:
    sheet = ContactSheet(prompts or ["the cup"] * len(reports), num_frames, "kitchen")
    for index in range(num_frames):
        sheet.add(index, grey(index), reports)
    return sheet


def thumbs_of(row: np.ndarray) -> list[np.ndarray]:
    """The places of a row where thumbnails are, if any: all their pixels below the heading."""
    lefts = [MARGIN + column * (THUMB[0] + GAP) for column in range(COLUMNS)]
    return [row[45 : 45 + THUMB[0] * SIZE[1] // SIZE[0] - 10, left : left + THUMB[0]] for left in lefts]


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [(0, ()), (1, (0,)), (3, (0, 1, 2)), (8, tuple(range(8))), (60, (0, 8, 17, 25, 34, 42, 51, 59))],
)
def test_chosen_frames_are_spread_from_first_to_last(num_frames: int, expected: tuple[int, ...]) -> None:
    assert sampled_frames(num_frames) == expected


@pytest.mark.parametrize("num_frames", [1, 5, 8, 60])
def test_a_row_shows_the_chosen_frames_in_order(num_frames: int) -> None:
    (row,) = sheet_of(num_frames, [found()]).rows()
    chosen = sampled_frames(num_frames)
    corners = [int(thumb[5, 5, 0]) for thumb in thumbs_of(row)]
    assert corners[: len(chosen)] == [40 + 3 * index for index in chosen]
    assert len(set(corners[len(chosen) :])) <= 1 and max(corners[len(chosen) :], default=0) < 40


def test_only_thumbnails_are_kept() -> None:
    """Memory does not grow with the sequence, nor with the size of its frames."""
    sheet = ContactSheet(["a", "b"], 1000)
    image = np.zeros((1080, 1920, 3), np.uint8)
    for index in range(0, 1000, 37):
        sheet.add(index, image, [Report(State.LOST)] * 2)
    assert sum(thumb.nbytes for row in sheet._thumbs for thumb in row) < 2 * COLUMNS * THUMB[0] * 300 * 3


def test_absence_looks_unlike_presence() -> None:
    present, absent, empty = sheet_of(
        2, [found(), Report(State.LOST), Report(State.LOST, np.zeros((SIZE[1], SIZE[0]), bool))]
    ).rows()
    pink = [np.abs(row.astype(int) - MASK_COLOUR).sum(axis=-1).min() for row in (present, absent, empty)]
    assert pink[0] < 60 < min(pink[1:])
    assert thumbs_of(absent)[0].mean() < thumbs_of(present)[0].mean()
    assert np.array_equal(absent, empty)


def test_a_tiny_target_can_still_be_found() -> None:
    mask = np.zeros((540, 960), bool)
    mask[200:203, 700:703] = True
    sheet = ContactSheet(["the fly"], 1)
    sheet.add(0, np.full((540, 960, 3), 90, np.uint8), [Report(State.TRACK, mask, (700, 200, 703, 203))])
    thumb = thumbs_of(sheet.rows()[0])[0][:80].astype(int)
    assert (np.abs(thumb - 90).max(axis=-1) > 40).sum() > 50


@pytest.mark.parametrize("size", [(64, 48), (270, 480), (31, 900), (900, 31), (1, 1)])
def test_frames_of_any_shape_fit(tmp_path: Path, size: tuple[int, int]) -> None:
    sheet = ContactSheet(["", "the cup " * 100], 2)
    for index in range(2):
        sheet.add(index, np.zeros((size[1], size[0], 3), np.uint8), [Report(State.EMPTY), Report(State.LOST)])
    sheet.write(tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").width == WIDTH


def test_a_report_a_prompt_is_wanted() -> None:
    with pytest.raises((ValueError, IndexError)):
        ContactSheet(["a"], 1).add(0, grey(0), [found(), found()])
    with pytest.raises(ValueError):
        ContactSheet(["a", "b"], 1).add(0, grey(0), [found()])


def test_a_sheet_holds_its_rows_and_their_words(tmp_path: Path) -> None:
    sheet = sheet_of(3, [found(), Report(State.LOST)], ["the cup", "the plate"])
    sheet.write(tmp_path / "out" / "sheet.png")
    picture = np.asarray(Image.open(tmp_path / "out" / "sheet.png"))
    rows = sheet.rows()
    assert not np.array_equal(rows[0][:38], sheet_of(3, [found()], ["a spoon"]).rows()[0][:38])
    top = next(y for y in range(len(picture)) if np.array_equal(picture[y : y + len(rows[0])], rows[0]))
    below = picture[top + len(rows[0]) + MARGIN :]
    assert np.array_equal(below[: len(rows[1])], rows[1])


def test_the_overview_takes_the_first_rows_of_a_run_and_counts_the_rest(tmp_path: Path) -> None:
    sheets = [sheet_of(2, [found()] * 5, [f"{name} {i}" for i in range(5)]) for name in "abc"]
    for number, sheet in enumerate(sheets):
        sheet.write(tmp_path / f"{number}.png")
    files = [(tmp_path / f"{number}.png", SIZE) for number in range(3)]
    write_overview(tmp_path / "overview.png", files)
    rows = [row for sheet in sheets for row in sheet.rows()]
    _write_sheet(tmp_path / "expected.png", rows[:OVERVIEW_ROWS], "3 more in the sheets of their sequences")
    assert (tmp_path / "overview.png").read_bytes() == (tmp_path / "expected.png").read_bytes()


@pytest.mark.parametrize("size", [(64, 48), (270, 480), (31, 900), (900, 31), (1, 1)])
@pytest.mark.parametrize("count", [1, 3])
def test_rows_are_read_from_a_sheet_as_they_were_drawn(
    tmp_path: Path, size: tuple[int, int], count: int
) -> None:
    sheet = ContactSheet(["the cup"] * count, 2)
    for index in range(2):
        sheet.add(index, np.full((size[1], size[0], 3), 90, np.uint8), [Report(State.LOST)] * count)
    sheet.write(tmp_path / "sheet.png")
    read = _read_rows(tmp_path / "sheet.png", size)
    assert len(read) == count
    assert all(np.array_equal(row, drawn) for row, drawn in zip(read, sheet.rows(), strict=True))


def test_a_sheet_that_is_no_picture_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "sheet.png").write_text("x")
    with pytest.raises(UserError, match=r"sheet\.png: cannot be read"):
        write_overview(tmp_path / "overview.png", [(tmp_path / "sheet.png", SIZE)])
