"""J, F and their statistics against plain transcriptions of the published formulas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evaluation.masks.measures import boundary_measure, boundary_of, region_similarity, statistics
from tests.plain_masks import plain_f, plain_j


@st.composite
def pictures(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Truth, result and void pixels: noise, rectangles that may touch the border, empty or full."""
    shape = draw(st.tuples(st.integers(1, 14), st.integers(1, 260)))

    def one() -> np.ndarray:
        if draw(st.booleans()):
            return draw(arrays(bool, shape))
        mask = np.zeros(shape, bool)
        rows, columns = (sorted(draw(st.tuples(*[st.integers(0, side)] * 2))) for side in shape)
        mask[slice(*rows), slice(*columns)] = True
        return mask

    return one(), one(), draw(st.none() | arrays(bool, shape))


@settings(max_examples=150, deadline=None)
@given(pictures())
def test_equal_to_the_plain_formulas(
    picture: tuple[np.ndarray, np.ndarray, np.ndarray | None],
) -> None:
    truth, result, void = picture
    assert region_similarity(truth, result, void) == pytest.approx(plain_j(*picture), abs=1e-12)
    found = boundary_measure(boundary_of(truth, void), boundary_of(result, void))
    assert found == pytest.approx(plain_f(*picture), abs=1e-12)


def test_the_tolerance_is_a_disk_of_the_diagonal() -> None:
    """480x854: eight pixels from the corner of the boundary, (5, 6) being on the disk and (6, 6) off it."""
    truth = np.zeros((480, 854), np.uint8)
    truth[200:240, 300:360] = 1
    edges = boundary_of(truth)
    close = np.zeros_like(truth)
    close[edges.window] = edges.nearby
    for up, left, is_close in ((0, 8, 1), (0, 9, 0), (8, 0, 1), (9, 0, 0), (5, 6, 1), (6, 6, 0)):
        assert close[199 - up, 299 - left] == is_close, (up, left)


def test_empty_and_full() -> None:
    empty, full, some = np.zeros((20, 30), bool), np.ones((20, 30), bool), np.eye(20, 30, dtype=bool)
    assert region_similarity(empty, empty) == 1 and region_similarity(full, empty) == 0
    outlines = {name: boundary_of(mask) for name, mask in (("e", empty), ("f", full), ("s", some))}
    for pair, score in (("ee", 1), ("fe", 1), ("es", 0), ("se", 0), ("ss", 1)):
        assert boundary_measure(outlines[pair[0]], outlines[pair[1]]) == score, pair


@given(arrays(np.float64, st.integers(1, 255), elements=st.floats(0, 1)))
def test_statistics_as_published(values: np.ndarray) -> None:
    ends = np.round(np.linspace(1, len(values), 5) + 1e-10) - 1
    quarters = [values[int(ends[i]) : int(ends[i + 1]) + 1] for i in range(4)]
    found = statistics(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.recall == pytest.approx(np.mean(values > 0.5))
    assert found.decay == pytest.approx(np.mean(quarters[0]) - np.mean(quarters[3]), abs=1e-12)


def test_statistics_of_long_and_of_no_videos() -> None:
    sinking = np.linspace(1, 0, 1000)
    assert statistics(sinking).decay == pytest.approx(0.75, abs=1e-3)
    assert np.isnan(statistics(np.zeros(0))).all()
