"""Pictures of frames: which are chosen, what is drawn where, and what is shown of each kind of data."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from data_prep.readers.refytvos import REFYTVOS
from evaluation.masks.davis_evaluation import evaluate_masks
from evaluation.masks.referral_evaluation import evaluate_workspace
from evaluation.report.frame_drawing import BACKGROUND, COLOURS, GREY, MAX_SIDE, MIN_SIDE, comparison_picture
from evaluation.report.frame_selection import FramePictures, most_different
from evaluation.report.frame_sources import MaskSetFrames, WorkspaceFrames
from tests.mask_results_miniature import write_results, write_truth
from tests.votsr_miniature import PROMPTS, TRACKER
from tests.votsr_results_miniature import OTHER, scored_workspace

OVERLAPS = st.floats(0, 1, width=32) | st.just(float("nan"))


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=6).flatmap(
        lambda lengths: st.tuples(
            st.just(lengths), *[arrays(np.float32, sum(lengths), elements=OVERLAPS)] * 2, st.integers(0, 8)
        )
    )
)
def test_chosen_frames_differ_most_in_their_sequences(case):
    lengths, first, second, count = case
    starts = np.cumsum([0, *lengths])
    found = most_different(starts, first, second, count)
    gains = [
        np.nan_to_num(first[start:stop].astype(float) - second[start:stop])
        for start, stop in pairwise(starts)
    ]
    differing = sum(bool((gain != 0).any()) for gain in gains)
    assert len(found) == min(count, differing)
    assert len({each.sequence for each in found}) == len(found)
    sizes = [abs(each.first - each.second) for each in found]
    assert sizes == sorted(sizes, reverse=True)
    for each in found:
        gain = gains[each.sequence]
        assert each.first - each.second == gain[each.frame] in (gain.max(), gain.min())


def test_both_directions_and_the_middle_of_a_stretch():
    starts = np.arange(0, 50, 10)
    first, second = np.full(40, 0.5), np.full(40, 0.5)
    first[2:7] = 1.0  # sequence 0: the first is better, in frames 2 to 6
    first[9] = 1.0
    first[10:12] = 0.95
    first[20:22] = 0.9
    second[35] = 0.6  # sequence 3 alone is the second's
    found = most_different(starts, first, second, 2)
    assert [(each.sequence, each.frame) for each in found] == [(0, 4), (3, 5)]
    assert [each.sequence for each in most_different(starts, first, second, 3)] == [0, 1, 3]
    assert most_different(starts, first, np.zeros(0), 3) == []


def is_close(picture, place, colour):
    """Whether a pixel near a place (x, y) has a colour."""
    x, y = place
    near = picture[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3].reshape(-1, 3).astype(int)
    return bool((np.abs(near - colour).max(axis=1) <= 40).any())


@pytest.mark.parametrize("grey", [0, 120, 255])
def test_lines_lie_around_their_places_on_any_ground(grey):
    frame = np.full((300, 600, 3), grey, np.uint8)
    before = frame.copy()
    mask = np.zeros((300, 600), bool)
    mask[200:280, 400:500] = True
    picture = comparison_picture(frame, (50, 60, 100, 80), {"a": (200, 60, 100, 80), "b": mask})
    assert np.array_equal(frame, before)
    for place in [(200, 100), (299, 100), (250, 60), (250, 139)]:
        assert is_close(picture, place, COLOURS[0]), place
    for place in [(400, 240), (499, 240), (450, 200), (450, 279)]:
        assert is_close(picture, place, COLOURS[1]), place
    around = np.concatenate([picture[y, 50:149] for y in range(57, 63)]).astype(int).mean(axis=1)
    assert (around > 220).any() and (around < 35).any(), "white dashes with a black halo"
    assert np.array_equal(picture[100, 100], frame[100, 100]), "a box is not filled"
    assert not np.array_equal(picture[240, 450], frame[240, 450]), "a mask is tinted"


def test_equal_places_show_every_colour():
    frame, box = np.full((300, 600, 3), 90, np.uint8), (50, 60, 100, 80)
    picture = comparison_picture(frame, box, {"a": box, "b": box})[:300]
    for colour in (*COLOURS[:2], (255, 255, 255), (0, 0, 0)):
        assert (np.abs(picture.astype(int) - colour).max(axis=2) <= 40).sum() > 50, colour


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((120, 160), MIN_SIDE), ((2000, 3000), MAX_SIDE), ((30, 1), MIN_SIDE), ((600, 700), 700)],
)
def test_pictures_are_of_a_size_to_read(size, wanted):
    picture = comparison_picture(np.zeros((*size, 3), np.uint8), None, {"a": None}, "words")
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    assert wanted in (picture.shape[1], picture.shape[0] - legend_height(picture))


def legend_height(picture):
    """Rows of the legend's ground at the left edge, counted from below."""
    is_ground = (picture[:, 0] == BACKGROUND).all(axis=1)
    return int(np.argmin(is_ground[::-1])) if not is_ground.all() else len(is_ground)


def test_absence_is_told_and_names_take_rows():
    frame = np.full((400, 600, 3), 90, np.uint8)
    nowhere = [None, (0, 0, 0, 0), (np.nan,) * 4, np.zeros((400, 600), bool)]
    for place in nowhere:
        picture = comparison_picture(frame, place, {"a": place}, overlaps={"a": 0.0})
        assert (picture[:400] == 90).all()
        assert (picture[400:] == GREY).all(axis=2).sum() > 40
    one, many = (comparison_picture(frame, None, {"x" * 60 + str(n): None for n in range(k)}) for k in (1, 4))
    assert legend_height(many) > 2 * legend_height(one)
    words = comparison_picture(frame, None, {}, "a <b>\n" + 99 * "word ")
    assert words.shape[0] > comparison_picture(frame, None, {}).shape[0]


def test_images_of_a_workspace(tmp_path):
    root = scored_workspace(tmp_path / "w")
    evaluation = evaluate_workspace(root, with_toolkit=False)
    look = WorkspaceFrames(root)
    found = FramePictures(evaluation, look).pictures(OTHER, TRACKER)
    assert len(found) == 2, "one a sequence"
    for caption, picture in found:
        assert (
            caption.startswith(("ball, frame ", "kite, frame ")) and f"{OTHER} 1.00, {TRACKER} 0." in caption
        )
        assert picture.shape[1] == MIN_SIDE
    second = look(1, 15 + 3, (OTHER, TRACKER))  # the fourth frame of the second prompt
    assert (second.frame_index, second.expression) == (3, PROMPTS[1])
    assert (second.truth is not None and second.truth.any()) == (second.results[OTHER] is not None)
    assert look(0, 1, (OTHER,)).truth is None, "not annotated"
    for frame in range(15):
        shown = look(1, frame, (OTHER,))
        if shown.truth is not None and shown.truth.any():
            np.testing.assert_array_equal(shown.truth, shown.results[OTHER])


def test_images_of_a_mask_set(tmp_path):
    truth, results = write_truth(tmp_path / "t"), write_results(tmp_path / "r")
    evaluation = evaluate_masks(REFYTVOS, truth, "train", results)
    look = MaskSetFrames(REFYTVOS, truth, "train", results, "expressions")
    found = FramePictures(evaluation, look, count=2).pictures("Noisy", "Perfect")
    assert len(found) == 2 and "Perfect 1.00" in found[0][0]
    shown = look(1, 3, ("Perfect", "Noisy"))
    assert (shown.expression, shown.frame_index, int(np.median(shown.image))) == ("auto", 3, 40)
    np.testing.assert_array_equal(shown.truth, shown.results["Perfect"] > 0)
    assert not np.array_equal(shown.truth, shown.results["Noisy"])
