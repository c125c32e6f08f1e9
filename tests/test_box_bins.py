"""Counting into bins says exactly what comparing with every threshold says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.boxes.bins import Bins
from evaluation.boxes.ope import NORM_ERRORS, OVERLAPS, PIXEL_ERRORS, repeat_previous
from evaluation.boxes.ragged import chunks
from evaluation.protocols import got10k, pytracking

SETS = (OVERLAPS, PIXEL_ERRORS, NORM_ERRORS, got10k.THRESHOLDS, pytracking.OVERLAPS)
AROUND = np.concatenate(
    [[t, np.nextafter(t, -np.inf), np.nextafter(t, np.inf)] for t in np.concatenate(SETS)]
)
VALUES = st.one_of(st.sampled_from(AROUND.tolist()), st.floats(width=64), st.floats(-0.1, 1.1))


@pytest.mark.parametrize("thresholds", SETS)
def test_every_value_at_and_beside_a_threshold(thresholds):
    assert_counts(thresholds, AROUND, np.arange(len(AROUND)) % 3)


@given(st.sampled_from(SETS), st.lists(st.tuples(VALUES, st.integers(0, 2)), min_size=1, max_size=30))
def test_any_values(thresholds, pairs):
    values, rows = zip(*pairs, strict=True)
    assert_counts(thresholds, np.array(values), np.array(rows))


def assert_counts(thresholds, values, rows):
    bins = Bins(thresholds)
    above = bins.count_above(bins.above(values), rows, 3)
    within = bins.count_within(bins.within(values), rows, 3)
    for row in range(3):
        chosen = values[rows == row, None]
        assert above[row].tolist() == (chosen > thresholds).sum(axis=0).tolist()
        assert within[row].tolist() == (chosen <= thresholds).sum(axis=0).tolist()


def test_uneven_thresholds_are_refused():
    with pytest.raises(ValueError, match="evenly"):
        Bins(np.array([0.0, 0.1, 0.5]))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 60))
def test_stretches_hold_every_sequence_once(lengths, most):
    starts = np.concatenate([[0], np.cumsum(lengths)])
    spans = list(chunks(starts, most))
    assert [number for span in spans for number in range(*span)] == list(range(len(lengths)))
    assert all(starts[last] - starts[first] < most + max(lengths) for first, last in spans)


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=6), min_size=1, max_size=4))
def test_the_previous_box_is_repeated_within_its_sequence(invalid):
    starts = np.concatenate([[0], np.cumsum([len(each) for each in invalid])])
    boxes = np.arange(4.0 * starts[-1]).reshape(4, -1)
    expected = boxes.copy()
    for start, each in zip(starts, invalid, strict=False):
        for frame in range(1, len(each)):
            if each[frame]:
                expected[:, start + frame] = expected[:, start + frame - 1]
    repaired = repeat_previous(boxes, np.concatenate([np.array(each, bool) for each in invalid]), starts)
    assert np.array_equal(repaired, expected)
