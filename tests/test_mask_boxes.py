"""Boxes of mask lines are those of the decoded masks, whatever the window."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from data_prep.geometry import box_of_mask, xyxy_to_xywh
from data_prep.votsr.regions import decode_mask, encode_empty, encode_mask
from evaluation.layouts.mask_boxes import NOWHERE, box_of_line, boxes_of_lines

SIZE = (16, 12)


@st.composite
def lines(draw: st.DrawFn) -> str:
    """Lines with any window, inside the frame or not, runs of no length and runs that stop early."""
    width, height = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    left, top = draw(st.integers(-5, 18)), draw(st.integers(-5, 14))
    ends = sorted(draw(st.lists(st.integers(0, width * height), max_size=9)))
    runs = np.diff(ends, prepend=0).tolist()
    return "m" + ",".join(map(str, [left, top, width, height, *runs]))


@settings(max_examples=400, deadline=None)
@given(lines())
def test_equal_to_the_decoded_mask(line: str) -> None:
    mask = decode_mask(line, SIZE)
    assert mask is not None
    box = box_of_mask(mask)
    assert box_of_line(line, SIZE) == (NOWHERE if box is None else xyxy_to_xywh(box))


@given(arrays(bool, (12, 16)))
def test_of_written_masks(mask: np.ndarray) -> None:
    box = box_of_mask(mask)
    assert box_of_line(encode_mask(mask), SIZE) == (NOWHERE if box is None else xyxy_to_xywh(box))


def test_absence_and_faults() -> None:
    told = boxes_of_lines(["0", encode_empty(SIZE), "1,2,3,4", "m3,4,2,1,0,2"], SIZE)
    assert told.tolist() == [[0] * 4, [0] * 4, [0] * 4, [3, 4, 2, 1]]
    assert boxes_of_lines([], SIZE).shape == (0, 4)
    for line in ("", "m1", "m0,0,2,2,0,5", "ball"):
        with pytest.raises(ValueError):
            box_of_line(line, SIZE)
