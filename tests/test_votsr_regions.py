"""Result lines: what is written reads back equal through the toolkit's own reader."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from benchmarks.mask_lines import example_masks
from configs.errors import UserError
from data_prep.votsr.regions import decode_mask, decode_truth, encode_empty, encode_mask
from data_prep.votsr.results import read_result, write_result
from data_prep.votsr.textfiles import write_truth
from tests.votsr_miniature import disc

SHAPE = (9, 12)
SIZE = (SHAPE[1], SHAPE[0])


def toolkit_mask(line: str, size: tuple[int, int] = SIZE) -> np.ndarray | None:
    """What the toolkit's analysis makes of a line."""
    from vot.analysis.referral import _render_mask
    from vot.region.io import parse_region

    mask: np.ndarray | None = _render_mask(parse_region(line), size[1], size[0])
    return mask


def toolkit_trajectory(path: Path) -> list[np.ndarray | None]:
    from vot.analysis.referral import _render_mask
    from vot.tracker.results import Results, Trajectory
    from vot.workspace.storage import LocalStorage

    trajectory = Trajectory.read(Results(LocalStorage(str(path.parent))), path.stem)
    return [_render_mask(region, SHAPE[0], SHAPE[1]) for region in trajectory]


def window(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[top:bottom, left:right] = True
    return mask


CORNERS = {
    "empty": window(0, 0, 0, 0),
    "full": window(0, 0, 12, 9),
    "first pixel": window(0, 0, 1, 1),
    "last pixel": window(11, 8, 12, 9),
    "inner pixel": window(5, 4, 6, 5),
    "first column": window(0, 0, 1, 9),
    "last column": window(11, 0, 12, 9),
    "inner column": window(6, 2, 7, 7),
    "first row": window(0, 0, 12, 1),
    "last row": window(0, 8, 12, 9),
    "two columns apart": window(0, 3, 1, 4) | window(11, 3, 12, 4),
}
MASKS = st.one_of(
    arrays.arrays(bool, SHAPE),
    st.builds(
        lambda x, y, w, h: window(x, y, x + w, y + h),
        st.integers(0, 11),
        st.integers(0, 8),
        st.integers(0, 4),
        st.integers(0, 4),
    ),
)


@pytest.mark.parametrize("name", CORNERS)
def test_toolkit_reads_back_what_is_written(name):
    mask = CORNERS[name]
    back = toolkit_mask(encode_mask(mask))
    assert np.array_equal(back if back is not None else np.zeros(SHAPE, bool), mask)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(masks=st.lists(st.one_of(st.none(), MASKS), min_size=1, max_size=5))
def test_files_read_back_equal(tmp_path, masks):
    path = tmp_path / "some_12345678.txt"
    write_result(path, [encode_mask(mask) for mask in masks], len(masks))
    ours = read_result(path, SIZE, len(masks))
    for mask, through_toolkit, read in zip(masks, toolkit_trajectory(path), ours, strict=True):
        wanted = mask if mask is not None and mask.any() else None
        assert (through_toolkit is None) == (wanted is None) == (read is None)
        if wanted is not None:
            assert np.array_equal(through_toolkit, wanted)
            assert np.array_equal(read, wanted)


@settings(max_examples=150, deadline=None)
@given(
    left=st.integers(-4, 14),
    top=st.integers(-4, 11),
    pixels=arrays.arrays(bool, st.tuples(st.integers(0, 5), st.integers(0, 5))),
    short=st.booleans(),
)
def test_lines_of_others_read_as_the_toolkit_reads_them(left, top, pixels, short):
    runs, value, count = [], 0, 0
    for pixel in pixels.ravel().astype(int).tolist():
        if pixel != value:
            runs.append(count)
            value, count = pixel, 0
        count += 1
    runs.append(count)
    if short and len(runs) > 1:
        runs.pop()
    line = f"m{left},{top},{pixels.shape[1]},{pixels.shape[0]}," + ",".join(map(str, runs))
    assert np.array_equal(decode_mask(line, SIZE), toolkit_mask(line))


@pytest.mark.parametrize("line", ["0", "1", "3.5", "1,2,3,4", "1,2", "nan,nan,nan,nan"])
def test_a_line_that_is_no_mask_is_none(line):
    assert decode_mask(line, SIZE) is None
    assert toolkit_mask(line) is None


@pytest.mark.parametrize(
    "line",
    [
        "",
        "x",
        "nan",
        "inf",
        "m",
        "m1,2,3",
        "m0,0,2,2,9",
        "m0,0,2,2,-1,3",
        "m0,0,99999,999999,0",
        "m0,0,2,2,a",
        "\x01",
    ],
)
def test_a_broken_line_is_told_with_its_number(tmp_path, line):
    path = tmp_path / "r.txt"
    path.write_text(f"0\n{line}\n0\n")
    with pytest.raises(UserError, match=r"r\.txt:2: .*; track this prompt again"):
        read_result(path, SIZE, 3)


def test_the_toolkit_still_loses_tight_masks_one_pixel_wide():
    """The reason for the extra column: when this fails, the toolkit has been mended."""
    assert not toolkit_mask("m5,4,1,1,0,1").any()
    assert encode_mask(CORNERS["inner pixel"]) == "m4,4,2,1,1,1"
    assert encode_mask(CORNERS["first pixel"]) == "m-1,0,2,1,1,1"


def test_wider_masks_are_written_as_the_toolkit_writes_them():
    from vot.region.shapes import Mask

    for mask in (disc(20, 20, 7), disc(0, 0, 9), disc(63, 47, 5), ~disc(30, 20, 9), disc(30, 20, 500)):
        assert encode_mask(mask) == str(Mask(mask, optimize=True))
        assert encode_mask(mask.astype(np.uint8) * 255) == encode_mask(mask)


@pytest.mark.parametrize("name", example_masks())
def test_large_masks_are_written_as_the_toolkit_writes_them(name):
    """Masks of 1080 x 1920 pixels, with runs from one pixel to the whole frame."""
    from vot.region.shapes import Mask

    mask = example_masks()[name]
    line = encode_mask(mask)
    assert np.array_equal(toolkit_mask(line, (1920, 1080)), mask)
    assert np.array_equal(decode_mask(line, (1920, 1080)), mask)
    if name != "column":  # see test_the_toolkit_still_loses_tight_masks_one_pixel_wide
        assert line == str(Mask(mask, optimize=True))


@settings(max_examples=150, deadline=None)
@given(mask=arrays.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 70)), fill=st.nothing()))
def test_masks_of_all_shapes_read_back_equal(mask):
    size = (mask.shape[1], mask.shape[0])
    back = toolkit_mask(encode_mask(mask), size)
    assert np.array_equal(back if back is not None else np.zeros(mask.shape, bool), mask)


def test_polarity_and_order_of_runs():
    mask = np.zeros(SHAPE, bool)
    mask[1, 2:4] = mask[2, 3:5] = True
    assert encode_mask(mask) == "m2,1,3,2,0,2,2,2"


def test_absence():
    assert encode_mask(None) == encode_mask(CORNERS["empty"]) == "0"
    assert encode_empty(SIZE) == "m0,0,12,9,108"
    empty = toolkit_mask(encode_empty(SIZE))
    assert empty is not None and not empty.any()


def test_truth_tells_absent_from_not_annotated(tmp_path):
    masks = [CORNERS["inner pixel"], None, CORNERS["empty"], CORNERS["full"], None]
    write_truth(tmp_path / "groundtruth.txt", masks, [True, True, True, False, False], SIZE)
    lines = (tmp_path / "groundtruth.txt").read_text().splitlines()
    assert lines == ["m4,4,2,1,1,1", encode_empty(SIZE), encode_empty(SIZE), "0", "0"]


# ---- truth that is a rectangle or a polygon -----------------------------------------------------


def toolkit_filled(line: str) -> np.ndarray:
    """The pixels of a rectangle or polygon inside the frame, as the toolkit fills it."""
    from vot.region.io import parse_region

    filled: np.ndarray = parse_region(line).rasterize((0, 0, SIZE[0] - 1, SIZE[1] - 1))
    return filled.astype(bool)


sides = st.one_of(st.integers(-4, 20), st.integers(-40, 200).map(lambda tenths: tenths / 10))


@settings(max_examples=150, deadline=None)
@given(
    box=st.tuples(sides, sides, sides.filter(lambda side: side >= 0), sides.filter(lambda side: side >= 0))
)
def test_a_rectangle_is_filled_as_the_toolkit_fills_it(box):
    line = ",".join(map(str, box))
    assert np.array_equal(decode_truth(line, SIZE), toolkit_filled(line))


@settings(max_examples=60, deadline=None)
@given(points=st.lists(st.tuples(sides, sides), min_size=3, max_size=5))
def test_a_polygon_is_filled_as_the_toolkit_fills_it(points):
    line = ",".join(f"{x},{y}" for x, y in points)
    assert np.array_equal(decode_truth(line, SIZE), toolkit_filled(line))


def test_truth_that_says_nothing_of_a_frame_or_is_no_region():
    for line in ("0", "1", "nan,nan,nan,nan", "1,2,3,nan", "nan,1,2,3,4,5"):
        assert decode_truth(line, SIZE) is None
    assert not decode_truth("0,0,0,0", SIZE).any()
    for line in ("1,2", "1,2,3", "1,2,3,4,5", "1,2,3,inf", "1e300,1,1,1", "x", "", "1,2,-3,4"):
        with pytest.raises(ValueError, match=r"is no region|is empty|negative side"):
            decode_truth(line, SIZE)
