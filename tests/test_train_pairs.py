"""Pairs as a training asks them: drawn in workers, the same whoever draws them, from any number on."""

from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from data_prep.contract.contract import BUILT_IN
from data_prep.contract.images import search_size, template_size
from data_prep.geometry import xywh_to_xyxy
from data_prep.index.build import build_index, index_path
from data_prep.readers.tnllt import TNLLT
from data_prep.sampling.lines import PairPlan
from data_prep.sampling.settings import PairSettings
from models.grounder.nano import build_processor
from models.grounder.questions import QuestionEncoder
from tests.test_export import white_box, write_video
from train.pairs import PairQuestions, PairSample, UnreadablePair

CONTRACT = BUILT_IN["short"]
SIZES = {"wide": (192, 108), "tall": (80, 160)}


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> PairPlan:
    folder = tmp_path_factory.mktemp("set")
    for name, size in SIZES.items():
        write_video(folder / "data", name, size)
    build_index(TNLLT, folder / "data", "all", folder, workers=1)
    return PairPlan((index_path(folder, "tnllt", "all"),), PairSettings(prompt_scale_to=3.0), seed=5)


def asked(plan: PairPlan, numbers: range, workers: int = 0) -> list[PairSample]:
    loader = DataLoader(
        PairQuestions(plan, CONTRACT), batch_size=3, sampler=numbers, num_workers=workers, collate_fn=list
    )
    return list(chain.from_iterable(loader))


def test_a_question_shows_what_its_pair_says(plan: PairPlan) -> None:
    questions = asked(plan, range(24))
    pairs = list(plan.sampler().pairs(range(24)))
    assert [each.number for each in questions] == list(range(24))
    for each, pair in zip(questions, pairs, strict=True):
        question, size = each.question, SIZES[pair.sequence]
        resized = search_size(CONTRACT, size)
        assert (question.image.shape[1], question.image.shape[0]) == resized
        assert question.template.shape[0] == template_size(CONTRACT, (30, 30))[0]
        assert question.expression == pair.expression and question.marked
        assert (each.box_resized is None) == (not pair.visible)
        if each.box_resized is None:
            continue
        box = np.array(xywh_to_xyxy(pair.search_xywh)) * np.tile(np.divide(resized, size), 2)
        np.testing.assert_allclose(each.box_resized, box, rtol=1e-6)
        np.testing.assert_allclose(white_box(question.image), box, atol=3)
    assert {each.box_resized is None for each in questions} == {True, False}


def test_the_encoder_takes_a_question_as_it_is(plan: PairPlan) -> None:
    encoder = QuestionEncoder(build_processor(), CONTRACT)
    (each,) = asked(plan, range(7, 8))
    template, search = encoder.images(each.question)
    assert np.array_equal(template, each.question.template) and np.array_equal(search, each.question.image)
    encoded = encoder.encode([each.question], "")
    assert " near" in encoder.processor.tokenizer.decode(encoded.inputs["input_ids"][0])


def test_a_question_may_lack_template_rectangle_or_words(plan: PairPlan) -> None:
    settings = replace(plan.settings, template=0.5, marked=0.5, worded=0.5)
    bare = asked(replace(plan, settings=settings), range(24))
    pairs = list(PairPlan(plan.indexes, settings, plan.seed).sampler().pairs(range(24)))
    for each, whole, pair in zip(bare, asked(plan, range(24)), pairs, strict=True):
        assert (each.question.template is None) == (not pair.templated)
        assert each.question.expression == pair.expression and each.question.marked == pair.marked
        assert np.array_equal(each.question.image, whole.question.image) == pair.marked
        assert each.box_resized == whole.box_resized
    assert {(pair.templated, pair.marked, bool(pair.expression)) for pair in pairs} > {
        (True, True, False),
        (False, False, True),
    }


def test_workers_ranks_and_a_stop_change_nothing(plan: PairPlan) -> None:
    def told(questions: list[PairSample]) -> list[tuple[int, bytes, object]]:
        return [(each.number, each.question.image.tobytes(), each.box_resized) for each in questions]

    whole = told(asked(plan, range(12)))
    assert told(asked(plan, range(12), workers=2)) == whole
    assert told(asked(plan, range(5, 12))) == whole[5:]
    assert sorted(told(asked(plan, range(0, 12, 2))) + told(asked(plan, range(1, 12, 2)))) == sorted(whole)


def test_a_bad_frame_is_told_and_the_others_come(tmp_path: Path) -> None:
    write_video(tmp_path / "data", "wide", SIZES["wide"])
    build_index(TNLLT, tmp_path / "data", "all", tmp_path, workers=1)
    gone = tmp_path / "data" / "wide" / "imgs" / "00002.png"
    gone.write_bytes(b"no picture")
    plan = PairPlan((index_path(tmp_path, "tnllt", "all"),), PairSettings(), seed=1)
    found = asked(plan, range(20), workers=1)
    bad = [each for each in found if isinstance(each, UnreadablePair)]
    assert 0 < len(bad) < 20 and all(str(gone) in each.reason for each in bad)
    pairs = plan.sampler().pairs(range(20))
    assert {each.number for each in bad} == {p.number for p in pairs if str(gone) in (p.search, p.template)}
