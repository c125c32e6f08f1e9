"""Boxes: conversions there and back, and what stays inside what."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from data_prep.geometry import (
    Box,
    area,
    box_of_mask,
    center,
    clamp,
    enlarge,
    iou,
    is_inside,
    jittered,
    rescale,
    round_box,
    xywh_to_xyxy,
    xyxy_to_xywh,
)

quick = settings(deadline=None, max_examples=50)
numbers = st.floats(-500, 5000)
sides = st.floats(0, 3000)
sizes = st.tuples(st.integers(1, 4096), st.integers(1, 4096))


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """A box that may be empty and may lie partly or wholly outside any image."""
    return xywh_to_xyxy((draw(numbers), draw(numbers), draw(sides), draw(sides)))


@quick
@given(x=numbers, y=numbers, width=sides, height=sides)
def test_xywh_and_xyxy_are_each_others_inverse(x: float, y: float, width: float, height: float) -> None:
    box_xyxy = xywh_to_xyxy((x, y, width, height))
    assert box_xyxy == (x, y, x + width, y + height)
    assert xyxy_to_xywh(box_xyxy) == pytest.approx((x, y, width, height), abs=1e-9)
    assert area(box_xyxy) == pytest.approx(width * height, abs=1e-5)


@quick
@given(box=boxes(), first=sizes, second=sizes)
def test_a_box_resized_there_and_back_is_where_it_was(
    box: Box, first: tuple[int, int], second: tuple[int, int]
) -> None:
    assert rescale(rescale(box, first, second), second, first) == pytest.approx(box, rel=1e-9, abs=1e-9)


@quick
@given(box=boxes(), share=st.floats(0, 1), seed=st.integers(0, 1000))
def test_no_side_of_a_jittered_box_moves_more_than_its_share(box: Box, share: float, seed: int) -> None:
    moved = jittered(np.random.default_rng(seed), box, share)
    lengths = (box[2] - box[0], box[3] - box[1]) * 2
    for side, other, length in zip(box, moved, lengths, strict=True):
        assert abs(side - other) <= share * length + 1e-9


def test_every_side_of_a_jittered_box_moves_by_itself() -> None:
    box = (100.0, 80.0, 160.0, 120.0)
    moved = np.array([jittered(np.random.default_rng(seed), box, 0.1) for seed in range(200)]) - box
    assert np.abs(moved).max(0) == pytest.approx([6, 4, 6, 4], rel=0.1)
    assert np.abs(np.corrcoef(moved.T) - np.eye(4)).max() < 0.3


def test_width_and_height_have_a_scale_each() -> None:
    assert rescale((10, 10, 20, 40), (100, 50), (200, 25)) == (20, 5, 40, 20)


@quick
@given(size=sizes, other=sizes)
def test_a_whole_image_stays_a_whole_image(size: tuple[int, int], other: tuple[int, int]) -> None:
    assert rescale((0, 0, *size), size, other) == pytest.approx((0, 0, *other))


@quick
@given(box=boxes(), size=sizes)
def test_a_clamped_box_lies_inside_and_loses_nothing_that_does(box: Box, size: tuple[int, int]) -> None:
    left, top, right, bottom = clamp(box, size)
    assert 0 <= left <= right <= size[0] and 0 <= top <= bottom <= size[1]
    assert clamp((left, top, right, bottom), size) == (left, top, right, bottom)
    shared_width = max(0.0, min(box[2], size[0]) - max(box[0], 0))
    shared_height = max(0.0, min(box[3], size[1]) - max(box[1], 0))
    assert area((left, top, right, bottom)) == pytest.approx(shared_width * shared_height)


@quick
@given(first=boxes(), second=boxes())
def test_iou_is_symmetric_and_a_share(first: Box, second: Box) -> None:
    overlap = iou(first, second)
    assert 0 <= overlap <= 1 + 1e-9
    assert overlap == pytest.approx(iou(second, first))
    assert (iou(first, first) == pytest.approx(1)) if area(first) > 0 else iou(first, first) == 0


@pytest.mark.parametrize(
    ("second", "overlap"),
    [
        ((0, 0, 10, 10), 1.0),
        ((0, 0, 10, 5), 0.5),
        ((5, 5, 15, 15), 25 / 175),
        ((10, 0, 20, 10), 0.0),  # they touch: right is exclusive
        ((30, 30, 40, 40), 0.0),  # apart in both directions, whose product must not count
        ((8, 8, 2, 2), 0.0),  # inside out
    ],
)
def test_iou_of_known_boxes(second: Box, overlap: float) -> None:
    assert iou((0, 0, 10, 10), second) == pytest.approx(overlap)


@quick
@given(box=boxes(), factor=st.floats(0.1, 8))
def test_an_enlarged_box_keeps_its_middle(box: Box, factor: float) -> None:
    grown = enlarge(box, factor)
    assert center(grown) == pytest.approx(center(box), abs=1e-6)
    assert xyxy_to_xywh(grown)[2:] == pytest.approx(
        [factor * side for side in xyxy_to_xywh(box)[2:]], abs=1e-6
    )


def test_an_enlarged_box_ends_where_the_image_does() -> None:
    assert enlarge((0, 10, 20, 30), 3, (50, 45)) == (0, 0, 40, 45)


@quick
@given(mask=arrays.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.booleans()))
def test_the_box_of_a_mask_is_tight(mask: np.ndarray) -> None:
    box = box_of_mask(mask)
    if box is None:
        assert not mask.any()
        return
    left, top, right, bottom = map(int, box)
    assert box == (left, top, right, bottom)
    inside = mask[top:bottom, left:right]
    assert inside.sum() == mask.sum(), "nothing lies outside"
    assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()


@quick
@given(box=boxes(), size=sizes)
def test_a_rounded_box_is_whole_inside_and_never_empty(box: Box, size: tuple[int, int]) -> None:
    rounded = round_box(box, size)
    left, top, right, bottom = rounded
    assert all(side == int(side) for side in rounded)
    assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
    assert is_inside(rounded, size)
    if is_inside(box, size):
        inside = clamp(box, size)
        assert all(abs(side - other) <= 1 for side, other in zip(rounded, inside, strict=True))
    ordinary = tuple(map(round, clamp(box, size)))
    if ordinary[0] < ordinary[2] and ordinary[1] < ordinary[3]:
        assert rounded == ordinary
