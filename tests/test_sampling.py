"""Pairs: what is drawn is true of the data, and pair k is the same whoever draws it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from configs.errors import UserError
from data_prep.index.store import Index
from data_prep.sampling.pairs import BLOCK, Pair, PairSampler
from data_prep.sampling.settings import PairSettings
from data_prep.sequence import ABSENT, PRESENT, UNKNOWN, Sequence
from tests.index_miniature import COMING, ROOT, SEEN, SIZE, index_of, video

MANY = 3000
VIDEOS = (
    video("cup", SEEN, ["the cup", "a white cup"], seed=1),
    video("dog", COMING, ["the dog"], seed=2),
    video("ball", (PRESENT, UNKNOWN, ABSENT) * 5, ["early", "late"], [(0, 6), (6, 15)], seed=3),
    video("gone", (ABSENT,) * 5, ["never seen"], seed=4),
    video("twin", SEEN, ["the dog"], seed=5),
)
BY_NAME = {each.name: each for each in VIDEOS}


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return index_of(tmp_path / "small-train.arrow", VIDEOS)


def drawn(index: Index, count: int = MANY, seed: int = 0, **changes: float) -> list[Pair]:
    settings = dataclasses.replace(PairSettings(gap=5), **changes)
    return list(PairSampler([index], settings, seed).pairs(range(count)))


def frame_of(path: str) -> tuple[Sequence, int]:
    """The video and the frame that a path leads to."""
    below = Path(path).relative_to(ROOT)
    return BY_NAME[below.parts[0]], int(below.stem)


def test_a_pair_says_what_the_data_say(index: Index) -> None:
    for pair in drawn(index):
        search, at = frame_of(pair.search)
        template, before = frame_of(pair.template)
        assert pair.sequence == search.name and pair.data == "small"
        assert pair.negative == (search is not template)
        assert template.truth.present[before] == PRESENT
        assert pair.template_xywh == tuple(template.truth.boxes_xywh[before])
        assert pair.visible == (search.truth.present[at] == PRESENT and not pair.negative)
        assert pair.search_xywh == (tuple(search.truth.boxes_xywh[at]) if pair.visible else None)
        assert search.truth.present[at] != UNKNOWN and search.name != "gone"
        assert pair.expression in template.expressions


def test_words_are_true_of_their_frame(index: Index) -> None:
    said = {
        (pair.expression, frame_of(pair.search)[1] < 6)
        for pair in drawn(index, negative=0)
        if pair.sequence == "ball"
    }
    assert said == {("early", True), ("late", False)}


def test_a_negative_names_what_no_prompt_of_the_video_names(index: Index) -> None:
    negatives = [pair for pair in drawn(index, negative=0.9) if pair.negative]
    assert len(negatives) > 0.5 * MANY
    assert all(pair.expression not in BY_NAME[pair.sequence].expressions for pair in negatives)
    assert not any({pair.sequence, frame_of(pair.template)[0].name} == {"dog", "twin"} for pair in negatives)


def test_shares_are_those_asked_for(index: Index) -> None:
    pairs = drawn(index, negative=0.2, visible=0.3, prompt_miss=0)
    both = [pair for pair in pairs if pair.sequence in ("dog", "ball") and not pair.negative]
    assert np.mean([pair.visible for pair in both]) == pytest.approx(0.3, abs=0.05)
    assert np.mean([pair.negative for pair in pairs if pair.sequence == "cup"]) == pytest.approx(
        0.2, abs=0.05
    )


def test_gaps_keep_to_their_bound_and_a_template_is_another_frame(index: Index) -> None:
    def gaps(**changes: float) -> list[int]:
        pairs = [pair for pair in drawn(index, negative=0, **changes) if pair.sequence == "cup"]
        return [abs(frame_of(pair.search)[1] - frame_of(pair.template)[1]) for pair in pairs]

    even, short = gaps(gap=6), gaps(gap=6, gap_power=3)
    assert set(even) == set(range(1, 7)) and min(short) == 1
    assert np.mean(short) < np.mean(even) - 0.8


def test_the_ends_of_a_short_video_are_not_commoner(tmp_path: Path) -> None:
    index = index_of(tmp_path / "x.arrow", [video("a", (PRESENT,) * 9)])
    at = [int(Path(pair.template).stem) for pair in drawn(index, 9000, gap=200)]
    shares = np.bincount(at, minlength=9) / len(at)
    assert shares.max() < 1.3 / 9 and shares.min() > 0.7 / 9


def test_the_rectangle_holds_the_target_or_is_a_miss(index: Index) -> None:
    for miss in (0.0, 1.0):
        pairs = [
            pair for pair in drawn(index, negative=0, prompt_miss=miss, prompt_scale_to=3) if pair.visible
        ]
        for pair in pairs:
            x0, y0, x1, y1 = pair.visual_prompt_xyxy
            assert 0 <= x0 < x1 <= SIZE[0] and 0 <= y0 < y1 <= SIZE[1]
            x, y, width, height = pair.search_xywh
            assert pair.holds == (x0 <= x + width / 2 < x1 and y0 <= y + height / 2 < y1)
        assert np.mean([pair.holds for pair in pairs]) == pytest.approx(1 - miss, abs=0.02)


def test_rectangles_are_as_large_as_asked(index: Index) -> None:
    pairs = drawn(index, negative=0, prompt_miss=0, prompt_scale_from=2, prompt_scale_to=4, prompt_jitter=0)
    inner = [pair for pair in pairs if pair.visible and min(pair.visual_prompt_xyxy[:2]) > 0]
    inner = [
        pair
        for pair in inner
        if pair.visual_prompt_xyxy[2] < SIZE[0] and pair.visual_prompt_xyxy[3] < SIZE[1]
    ]
    scales = [
        (pair.visual_prompt_xyxy[2] - pair.visual_prompt_xyxy[0]) / pair.search_xywh[2] for pair in inner
    ]
    assert len(inner) > 300 and 1.99 < min(scales) < 2.1 and 3.7 < max(scales) < 4.01


def test_rectangles_have_the_colours_and_lines_asked_for(index: Index) -> None:
    plain = drawn(index)
    assert {(pair.visual_prompt_colour, pair.visual_prompt_width) for pair in plain} == {(None, 1.0)}
    pairs = drawn(index, prompt_colours=["red", "#0080ff"], prompt_width_from=0.5, prompt_width_to=2.0)
    colours = [pair.visual_prompt_colour for pair in pairs]
    assert set(colours) == {(255, 0, 0), (0, 128, 255)}
    assert colours.count((255, 0, 0)) / MANY == pytest.approx(0.5, abs=0.05)
    widths = [pair.visual_prompt_width for pair in pairs]
    assert 0.5 <= min(widths) < 0.55 and 1.95 < max(widths) < 2.0
    assert [pair.visual_prompt_xyxy for pair in pairs] == [pair.visual_prompt_xyxy for pair in plain]


def test_a_colour_that_is_none_is_refused(index: Index) -> None:
    with pytest.raises(UserError, match="'redd' is no colour"):
        drawn(index, prompt_colours=["red", "redd"])


def test_pair_k_is_the_same_whoever_draws_it(index: Index) -> None:
    sampler = PairSampler([index], PairSettings(), 7)
    whole = list(sampler.pairs(range(2 * BLOCK + 50)))
    assert [pair.number for pair in whole] == list(range(2 * BLOCK + 50))
    assert list(sampler.pairs(range(BLOCK + 17, 2 * BLOCK + 50))) == whole[BLOCK + 17 :]
    ranks = [list(sampler.pairs(range(rank, len(whole), 3))) for rank in range(3)]
    assert [pair for group in zip(*ranks, strict=False) for pair in group] == whole[: 3 * len(ranks[2])]
    assert list(PairSampler([index], PairSettings(), 8).pairs(range(50))) != whole[:50]
    assert list(sampler.pairs(range(5, 5))) == []


def test_data_sets_are_mixed_by_weight(tmp_path: Path, index: Index) -> None:
    other = index_of(tmp_path / "other-train.arrow", [video("cat", SEEN)], "other")
    pairs = list(PairSampler([index, other], PairSettings(), 0, [1, 3]).pairs(range(MANY)))
    assert np.mean([pair.data == "other" for pair in pairs]) == pytest.approx(0.75, abs=0.03)
    for pair in pairs[:200]:
        assert (pair.sequence == "cat") == (pair.data == "other")
    assert not any(pair.negative for pair in pairs if pair.data == "other"), "there is no other video in it"


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0]])
def test_weights_that_make_no_sense_are_refused(index: Index, weights: list[float]) -> None:
    with pytest.raises(UserError, match="weights="):
        PairSampler([index, index], PairSettings(), 0, weights)


def test_an_index_without_targets_is_refused(tmp_path: Path) -> None:
    empty = index_of(tmp_path / "x.arrow", [video("gone", (ABSENT,) * 3)])
    with pytest.raises(UserError, match="no sequence shows its target"):
        PairSampler([empty], PairSettings(), 0)


def test_boxes_outside_the_picture_or_of_no_number_are_not_drawn(tmp_path: Path) -> None:
    odd = video("odd", SEEN[:6], seed=6)
    boxes = odd.truth.boxes_xywh
    boxes[:5] = [(320, 9, 9, 9), (9, 240, 9, 9), (-9, 9, 9, 9), (9, -9, 9, 9), (np.nan, 9, 9, 9)]
    pairs = drawn(index_of(tmp_path / "x.arrow", [odd, video("even", (PRESENT,))]), 100)
    assert {pair.search for pair in pairs if pair.sequence == "odd"} == {str(ROOT / "odd" / "img" / "5.jpg")}


def test_without_words_there_are_no_negatives(tmp_path: Path) -> None:
    silent = index_of(tmp_path / "x.arrow", [video("a", SEEN, []), video("b", SEEN, [])])
    pairs = drawn(silent, 200, negative=0.9)
    assert {pair.expression for pair in pairs} == {""} and not any(pair.negative for pair in pairs)


def test_a_single_frame_is_its_own_template(tmp_path: Path) -> None:
    still = index_of(tmp_path / "x.arrow", [video("a", SEEN[:1])])
    assert all(pair.template == pair.search for pair in drawn(still, 20))


def test_template_rectangle_and_words_are_told_as_often_as_asked(index: Index) -> None:
    whole = drawn(index)
    assert all(pair.templated and pair.marked and pair.expression for pair in whole)
    pairs = drawn(index, template=0.5, marked=0.25, worded=0.75)
    assert [pair.search for pair in pairs] == [pair.search for pair in whole]  # nothing else is drawn anew
    assert np.mean([pair.marked for pair in pairs]) == pytest.approx(0.25, abs=0.03)
    assert np.mean([bool(pair.expression) for pair in pairs]) == pytest.approx(0.75, abs=0.03)
    assert np.mean([pair.templated for pair in pairs if pair.expression]) == pytest.approx(0.5, abs=0.03)
    assert all(pair.templated for pair in pairs if not pair.expression)
