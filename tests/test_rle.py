"""COCO's run lengths: every mask comes back, and a damaged one is told."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from data_prep.readers.masks import decode_rle, unpack
from tests.mask_miniature import packed, rle, run_lengths

PUBLISHED = np.array(  # with what COCO's own library (pycocotools 2.0) makes of it
    [[0, 0, 1, 1, 0, 0], [0, 0, 1, 0, 0, 1], [0, 1, 1, 1, 0, 1], [1, 0, 0, 1, 0, 0]], bool
)


def test_masks_that_the_format_s_own_library_wrote() -> None:
    assert np.array_equal(decode_rle({"size": [4, 6], "counts": "3120O20N0140L"}, (6, 4)), PUBLISHED)
    assert not decode_rle({"size": [24, 32], "counts": "Ph0"}, (32, 24)).any()
    assert decode_rle({"size": [24, 32], "counts": "0Ph0"}, (32, 24)).all()


@settings(max_examples=100, deadline=None)
@given(arrays.arrays(bool, st.tuples(st.integers(1, 70), st.integers(1, 30))))
def test_masks_come_back_from_both_forms(mask: np.ndarray) -> None:
    size = (mask.shape[1], mask.shape[0])
    assert np.array_equal(decode_rle(rle(mask), size), mask)
    runs = {"size": list(mask.shape), "counts": run_lengths(mask)}
    assert np.array_equal(decode_rle(runs, size), mask)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 2**31), max_size=20))
def test_long_and_short_runs_unpack(runs: list[int]) -> None:
    assert unpack(packed(runs)).tolist() == runs


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30))
def test_a_text_that_is_no_mask_is_told_or_fills_it(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert decode_rle({"size": [3, 4], "counts": text}, (4, 3)).shape == (3, 4)


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (None, "no RLE mask"),
        ({"size": [4, 6]}, "no RLE mask"),
        ({"size": [6, 4], "counts": [24]}, "mask is 4x6, but the frames are 6x4"),
        ({"size": [4, 6], "counts": [23]}, "do not fill"),
        ({"size": [4, 6], "counts": [30, -6]}, "do not fill"),
        ({"size": [4, 6], "counts": [[24]]}, "do not fill"),
        ({"size": [4, 6], "counts": [10**30]}, "no RLE mask"),
        ({"size": [4, 6], "counts": "3120O20N0140l"}, "damaged"),
        ({"size": [4, 6], "counts": "o" * 20 + "0"}, "damaged"),
        ({"size": [4, 6], "counts": "31 0"}, "damaged"),
    ],
)
def test_what_is_no_mask_of_the_frame_is_told(mask: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        decode_rle(mask, (6, 4))
