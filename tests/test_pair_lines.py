"""Pairs as JSON lines."""

import dataclasses
import json

import pytest

from data_prep.index.store import Index
from data_prep.sampling.lines import PairPlan, pair_lines
from data_prep.sampling.pairs import BLOCK, PairSampler
from data_prep.sampling.settings import PairSettings
from tests.index_miniature import COMING, SEEN, index_of, video

COUNT = BLOCK + 300


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> PairPlan:
    path = tmp_path_factory.mktemp("lines") / "small-train.arrow"
    index_of(path, [video("cup", SEEN, ["the cüp"], seed=1), video("dog", COMING, ["the dog"], seed=2)])
    return PairPlan((path,), PairSettings(gap=4), seed=3)


def text(plan: PairPlan, numbers: range, workers: int = 1) -> bytes:
    return b"".join(pair_lines(plan, numbers, workers))


def test_lines_are_the_same_on_one_process_and_on_two(plan: PairPlan) -> None:
    assert text(plan, range(COUNT)) == text(plan, range(COUNT), workers=2)


@pytest.mark.parametrize("first", [1, BLOCK - 1, BLOCK, COUNT - 1])
def test_lines_from_k_on_are_the_tail_of_all(plan: PairPlan, first: int) -> None:
    whole = text(plan, range(COUNT)).splitlines()
    assert text(plan, range(first, COUNT)).splitlines() == whole[first:]


def test_a_line_holds_its_pair(plan: PairPlan) -> None:
    sampler = PairSampler([Index(plan.indexes[0])], plan.settings, plan.seed)
    lines = text(plan, range(200)).decode().splitlines()
    for pair, line in zip(sampler.pairs(range(200)), lines, strict=True):
        record = json.loads(line)
        assert record["number"] == pair.number and record["sequence"] == pair.sequence
        assert record["expression"] == pair.expression and record["negative"] == pair.negative
        assert record["search"]["image"] == pair.search and record["template"]["image"] == pair.template
        assert record["template"]["bbox_xywh"] == pytest.approx(pair.template_xywh, abs=0.006)
        assert record["visual_prompt"]["bbox_xyxy"] == pytest.approx(pair.visual_prompt_xyxy, abs=0.006)
        assert record["visual_prompt"]["holds"] == pair.holds and record["search"]["visible"] == pair.visible
        assert (record["search"]["bbox_xywh"] is None) == (not pair.visible)
    assert "the cüp" in lines[0] + lines[1] + lines[2] + lines[3]


def test_a_line_has_no_template_and_no_rectangle_where_its_pair_shows_none(plan: PairPlan) -> None:
    bare = dataclasses.replace(plan, settings=dataclasses.replace(plan.settings, template=0.5, marked=0.5))
    records = [json.loads(line) for line in text(bare, range(100)).splitlines()]
    for pair, record in zip(bare.sampler().pairs(range(100)), records, strict=True):
        assert (record["template"] is None, record["visual_prompt"] is None) == (
            not pair.templated,
            not pair.marked,
        )
    assert {record["template"] is None for record in records} == {True, False}
