"""`got10k` on examples worked by hand, and against the published formula frame by frame."""

import numpy as np
import pytest
from box_miniature import benchmarks, results_of, truth_of
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.protocols.got10k import PROTOCOL, weights

START = [0.0, 0.0, 10.0, 10.0]


def score(truth, results, absent=None, size=None):
    sizes = None if size is None else np.array([size] * len(truth))
    return PROTOCOL.scorer(truth_of(truth, absent, sizes=sizes))(results_of(results, truth))


def test_overlaps_of_all_frames_but_the_first_are_put_together():
    """IoU 1, 0.5 and 0 in one sequence, 0.8 in the other: AO is 2.3/4, not a mean over sequences."""
    half, none, most = [0.0, 0.0, 5.0, 10.0], [50.0, 50.0, 5.0, 5.0], [0.0, 0.0, 8.0, 10.0]
    truth = [[START] * 4, [START] * 2]
    scores = score(truth, [[none, START, half, none], [none, most]])
    assert scores.overall == pytest.approx({"ao": 57.5, "sr50": 50, "sr75": 50})
    assert scores.by_sequence["ao"] == pytest.approx([50, 80])
    assert scores.by_sequence["sr50"] == pytest.approx([100 / 3, 100])  # 0.5 is not above 0.5
    assert weights(truth_of(truth)).tolist() == [3, 1]
    assert scores.curves["success"][1, :80].min() == 100
    assert scores.curves["success"][1, 81:].max() == 0


def test_invisible_frames_do_not_count():
    truth, results = [[START] * 3], [[START, START, [90.0, 90.0, 5.0, 5.0]]]
    assert score(truth, results).overall["ao"] == pytest.approx(50)
    assert score(truth, results, [[False, False, True]]).overall["ao"] == pytest.approx(100)


def test_boxes_are_cut_at_the_border():
    """In an image of 20×20 both boxes end at 20: 5×10 against 10×10."""
    truth, results = [[START, [10.0, 10.0, 30.0, 10.0]]], [[START, [15.0, 10.0, 30.0, 10.0]]]
    assert score(truth, results, size=(20, 20)).overall["ao"] == pytest.approx(50)
    assert score(truth, results).overall["ao"] == pytest.approx(100 * 25 / 35)


def test_a_result_of_nan_overlaps_by_nothing():
    scores = score([[START] * 3], [[START, [float("nan")] * 4, START]])
    assert scores.overall["ao"] == pytest.approx(50)


def published(box, true, size):
    """`rect_iou` of https://github.com/got-10k/toolkit for one pair."""
    cut = []
    for x, y, w, h in (box, true):
        x, y = min(max(x, 0), size[0]), min(max(y, 0), size[1])
        cut.append((x, y, min(max(w, 0), size[0] - x), min(max(h, 0), size[1] - y)))
    (ax, ay, aw, ah), (bx, by, bw, bh) = cut
    across = max(min(ax + aw, bx + bw) - max(ax, bx), 0)
    down = max(min(ay + ah, by + bh) - max(ay, by), 0)
    shared = across * down
    return min(max(shared / (aw * ah + bw * bh - shared + 2.0**-52), 0.0), 1.0)


@settings(max_examples=60, deadline=None)
@given(benchmarks(result_faults=False), st.tuples(st.integers(8, 40), st.integers(8, 40)))
def test_it_equals_the_published_formula(benchmark, size):
    truth, flags, results = benchmark
    truth = [[[side if np.isfinite(side) else 3.0 for side in box] for box in each] for each in truth]
    overlaps = [
        published(box, true, size)
        for boxes, each, shown in zip(results, truth, flags, strict=True)
        for frame, (box, true) in enumerate(zip(boxes, each, strict=False))
        if frame and shown[frame]
    ]
    scores = score(truth, results, [[not flag for flag in each] for each in flags], size)
    if not overlaps:
        assert np.isnan(scores.overall["ao"])
        return
    assert scores.overall["ao"] == pytest.approx(100 * np.mean(overlaps), abs=1e-10)
    assert scores.overall["sr50"] == pytest.approx(100 * np.mean(np.array(overlaps) > 0.5), abs=1e-10)
    assert scores.overall["sr75"] == pytest.approx(100 * np.mean(np.array(overlaps) > 0.75), abs=1e-10)
