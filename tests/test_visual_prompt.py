"""The template crop and the drawn rectangle, pixel by pixel."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.contract.contract import BUILT_IN
from data_prep.contract.crops import crop_template
from data_prep.contract.images import draw_visual_prompt, visual_prompt_box
from data_prep.geometry import Box, center, rescale

CONTRACT = dataclasses.replace(BUILT_IN["instruct"], template_scale=2.0, prompt_scale=3.0, prompt_width=0.0)
WIDTH, HEIGHT = 60, 40


def numbered() -> np.ndarray:
    """A frame in which every pixel says where it is: red its column, green its row."""
    frame = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    frame[..., 0] = np.arange(WIDTH)
    frame[..., 1] = np.arange(HEIGHT)[:, None]
    return frame


# ---- the template --------------------------------------------------------------------------------


def test_a_crop_inside_the_frame_is_that_part_of_it() -> None:
    crop = crop_template(numbered(), (20, 14, 30, 22), CONTRACT)
    assert np.array_equal(crop, numbered()[8:28, 15:35])


@settings(deadline=None, max_examples=60)
@given(x=st.floats(-30, 90), y=st.floats(-30, 70), width=st.floats(0, 50), height=st.floats(0, 50))
def test_a_crop_is_square_centred_and_filled_with_the_mean(
    x: float, y: float, width: float, height: float
) -> None:
    frame = numbered()
    crop = crop_template(frame, (x, y, x + width, y + height), CONTRACT)
    side = crop.shape[0]
    assert crop.shape == (side, side, 3) and crop.dtype == np.uint8
    assert side == pytest.approx(max(2, 2 * max(width, height)), abs=0.5)
    padding = (crop == frame.reshape(-1, 3).mean(axis=0).round()).all(axis=2)
    seen = np.argwhere(crop[..., 2] == 200)  # the mean's blue is 200 as well: told apart below
    seen = seen[~padding[tuple(seen.T)]]
    if not len(seen):
        return
    row, column = seen[0]
    left, top = crop[row, column, 0] - float(column), crop[row, column, 1] - float(row)
    middle = center((x, y, x + width, y + height))
    assert (left + side / 2, top + side / 2) == pytest.approx(middle, abs=1.001)
    for row, column in np.argwhere(~padding):
        assert tuple(crop[row, column, :2]) == (left + column, top + row), "every pixel lies in its place"
    columns, rows = left + np.arange(side), top + np.arange(side)
    inside = ((rows >= 0) & (rows < HEIGHT))[:, None] & ((columns >= 0) & (columns < WIDTH))[None]
    assert padding[~inside].all(), "what is outside the frame is its mean colour"


@pytest.mark.parametrize("box", [(-90, -90, -50, -50), (70, 10, 80, 20), (10, 50, 20, 60)])
def test_a_crop_beside_the_frame_is_all_mean_colour(box: Box) -> None:
    crop = crop_template(numbered(), box, CONTRACT)
    assert (crop == (30, 20, 200)).all(), "means of 29.5, 19.5 and 200, rounded to even"


def test_a_crop_at_a_corner_is_padded_on_two_sides() -> None:
    crop = crop_template(numbered(), (0, 0, 10, 10), CONTRACT)
    assert crop.shape == (20, 20, 3)
    assert (crop[:5] == (30, 20, 200)).all() and (crop[:, :5] == (30, 20, 200)).all()
    assert np.array_equal(crop[5:, 5:], numbered()[:15, :15])


# ---- the rectangle -------------------------------------------------------------------------------

RED = np.array([255, 0, 0])


def drawn(image: np.ndarray, box: Box, width: float = 0.0) -> np.ndarray:
    """Which pixels the rectangle covers; all others, and the image given, must stay as they were."""
    before = image.copy()
    result = draw_visual_prompt(image, box, dataclasses.replace(CONTRACT, prompt_width=width))
    assert np.array_equal(image, before) and result is not image
    covered = (result == RED).all(axis=2)
    assert np.array_equal(result[~covered], image[~covered])
    return covered


@settings(deadline=None, max_examples=60)
@given(left=st.integers(0, 50), top=st.integers(0, 30), width=st.integers(1, 60), height=st.integers(1, 40))
def test_a_line_runs_exactly_around_the_box(left: int, top: int, width: int, height: int) -> None:
    right, bottom = min(left + width, WIDTH - 1), min(top + height, HEIGHT - 1)
    wanted = np.zeros((HEIGHT, WIDTH), bool)
    wanted[top : bottom + 1, left : right + 1] = True
    wanted[top + 1 : bottom, left + 1 : right] = False
    box = (left + 0.3, top - 0.4, left + width - 0.3, top + height + 0.4)
    assert np.array_equal(drawn(numbered(), box), wanted)


def test_the_line_is_a_share_of_the_longer_side_wide() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    covered = drawn(image, (40, 30, 160, 70), width=0.025)
    for line, place in ((covered[:50, 100], 30), (covered[50:, 100], 20), (covered[50, :100], 40)):
        found = np.flatnonzero(line)
        assert 5 <= len(found) <= 7, "OpenCV rounds a width up"
        assert found.mean() == place and np.ptp(found) == len(found) - 1


def test_the_rectangle_is_three_times_the_last_box_and_inside_the_frame() -> None:
    assert visual_prompt_box((25, 18, 31, 24), (WIDTH, HEIGHT), CONTRACT) == (19, 12, 37, 30)
    assert visual_prompt_box((0, 0, 10, 10), (WIDTH, HEIGHT), CONTRACT) == (0, 0, 20, 20)


def test_the_rectangle_follows_the_frame_when_it_is_resized() -> None:
    """Two scale factors that differ: the place in the frame and the place in the image are the same."""
    frame_size, resized = (600, 200), (WIDTH, HEIGHT)
    rectangle = visual_prompt_box((300, 80, 340, 100), frame_size, CONTRACT)
    rows, columns = np.nonzero(drawn(numbered(), rescale(rectangle, frame_size, resized)))
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (26, 12, 38, 24)


@pytest.mark.parametrize("box", [(0.0, 0.0, 60.0, 40.0), (60.0, 40.0, 60.0, 40.0), (0.0, 0.0, 0.0, 0.0)])
def test_a_rectangle_at_the_border_does_not_fail(box: Box) -> None:
    assert drawn(numbered(), box).any()
