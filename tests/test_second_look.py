"""A second look at small targets (`model.second_look`)."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from configs.errors import UserError
from data_prep.contract.contract import BUILT_IN
from data_prep.geometry import Box, box_of_mask, iou
from data_prep.world.draw import draw_frame
from data_prep.world.expressions import plainly
from data_prep.world.presets import PRESETS
from data_prep.world.scene import make_scene
from models.config import NANO, GrounderConfig
from models.config_checks import check_inference_keys, check_server_decoding
from models.grounder.grounder import Grounder
from models.grounder.second_look import look_twice, merged, second_look_of
from models.interfaces import Answer, GroundingStatistics, Question

SHORT = BUILT_IN["short"]
FRAME = np.zeros((320, 480, 3), np.uint8)
SMALL, LARGE = (200.0, 100.0, 230.0, 130.0), (100.0, 100.0, 170.0, 170.0)  # 21 and 49 pixels when resized
CLOSER = (203.0, 102.0, 231.0, 131.0)


class Looks:
    """Answers whole frames with the first answer, and regions with the second; keeps the questions."""

    def __init__(self, first: Answer, second: Answer) -> None:
        self.first, self.second = first, second
        self.asked: list[list[Question]] = []

    def __call__(self, questions: Sequence[Question]) -> list[Answer]:
        self.asked.append(list(questions))
        return [self.first if question.region_xyxy is None else self.second for question in questions]


def found(box: Box | None, visible: float = 0.8, **changes: float) -> Answer:
    return Answer(visible, box, 0.5, str(box), **changes)  # type: ignore[arg-type]


def ask(looks: Looks, *questions: Question, mode: str = "small", contract: str = "short") -> list[Answer]:
    asked = list(questions) or [Question(FRAME, "it")]
    return look_twice(asked, looks, BUILT_IN[contract], mode, GroundingStatistics())


def test_the_second_box_counts_and_the_evidence_of_both_answers() -> None:
    looks = Looks(found(SMALL, 0.8, draft_probability=0.3), found(CLOSER, 0.2))
    question = Question(FRAME, "it", FRAME[:9, :9], LARGE, template_box_xyxy=(0, 0, 9, 9), of_track=True)
    (answer,) = ask(looks, question)
    assert answer.box_xyxy == CLOSER and answer.text == str(CLOSER)
    assert answer.visible == pytest.approx(0.5), "log-odds of 0.8 and 0.2 cancel out"
    assert answer.draft_probability == 0.3
    (second,) = looks.asked[1]
    assert second.expression == "it" and second.visual_prompt_xyxy is None and second.template is None
    assert second.draft_xyxy == SMALL and second.of_track and second.region_xyxy is not None
    left, top, right, bottom = second.region_xyxy
    assert (left + right, top + bottom) == pytest.approx((430, 230), abs=1) and right - left < 140


def test_without_a_second_box_the_first_one_stays() -> None:
    (answer,) = ask(Looks(found(SMALL, 0.9), found(None, 0.5)))
    assert answer.box_xyxy == SMALL and answer.visible == pytest.approx(0.75)
    certain = merged(found(SMALL, 1.0), found(SMALL, 0.0))
    assert certain.visible == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("mode", "box", "is_asked"),
    [
        ("off", SMALL, False),
        ("small", SMALL, True),
        ("small", LARGE, False),
        ("always", LARGE, True),
        ("always", (0.0, 0.0, 300.0, 250.0), False),  # the window would be the frame
        ("always", None, False),
    ],
)
def test_which_answers_are_of_two_looks(mode: str, box: Box | None, is_asked: bool) -> None:
    looks = Looks(found(box), found(CLOSER))
    statistics = GroundingStatistics()
    look_twice([Question(FRAME, "it")], looks, SHORT, mode, statistics)
    assert len(looks.asked) == 1 + is_asked and statistics.second_looks == is_asked


@pytest.mark.parametrize(
    "question",
    [
        Question(FRAME, "it", drawn=True),  # a training pair, which is no frame
        Question(FRAME, "it", region_xyxy=(100, 50, 300, 200)),
        Question(FRAME, "it", draft_xyxy=SMALL, accept_draft_from=0.3),  # the draft was accepted
    ],
)
def test_which_questions_are_asked_once(question: Question) -> None:
    answer = found(SMALL, draft_probability=0.3)
    looks = Looks(answer, answer)
    assert ask(looks, question) == [answer] and len(looks.asked) == 1
    ask(looks, dataclasses.replace(question, drawn=False, region_xyxy=None, accept_draft_from=0.31))
    assert len(looks.asked) == 3, "without the reason it is asked twice"


def test_a_search_crop_is_a_closer_look_already() -> None:
    looks = Looks(found(SMALL), found(CLOSER))
    ask(looks, Question(FRAME, "it", FRAME[:9, :9], LARGE), mode="always", contract="r1_track")
    assert len(looks.asked) == 1
    ask(looks, Question(FRAME, "it", FRAME[:9, :9]), mode="always", contract="r1_track")
    assert len(looks.asked) == 3


def test_the_second_questions_of_a_call_are_asked_together() -> None:
    class Mixed(Looks):
        def __call__(self, questions: Sequence[Question]) -> list[Answer]:
            super().__call__(questions)
            return [
                found(CLOSER if each.region_xyxy else (LARGE if each.expression == "large" else SMALL))
                for each in questions
            ]

    looks = Mixed(found(None), found(None))
    answers = ask(looks, *(Question(FRAME, text) for text in ("one", "large", "two")))
    assert [answer.box_xyxy for answer in answers] == [CLOSER, LARGE, CLOSER]
    assert [[each.expression for each in asked] for asked in looks.asked] == [
        ["one", "large", "two"],
        ["one", "two"],
    ]


# ---- the shipped grounder -------------------------------------------------------------------------


def load(second_look: str) -> Grounder:
    config = dataclasses.replace(NANO, box_threshold=0.0, second_look=second_look)
    grounder = Grounder.load(config, torch.device("cpu"))
    grounder.model.double()  # so that rounding errors, which depend on the batch, change no digit
    return grounder


def test_boxes_of_small_targets_are_better_and_do_not_depend_on_the_batch() -> None:
    questions, boxes = [], []
    for seed in range(3):
        scene = make_scene(PRESETS["small_val"].first_seed + seed, PRESETS["small_val"])
        image, masks = draw_frame(scene, 0)
        for thing, mask in zip(scene.things[:2], masks, strict=False):
            if (box := box_of_mask(mask)) is not None:
                questions.append(Question(image, plainly(thing.colour, thing.shape)))
                boxes.append(box)
    once, twice = load("off"), load("auto")
    assert twice.second_look == "small" and "second_look" not in once.identity()
    assert twice.identity()["second_look"] == "small"

    def mean_iou(answers: Sequence[Answer]) -> float:
        return float(
            np.mean([iou(a.box_xyxy or (0, 0, 1, 1), b) for a, b in zip(answers, boxes, strict=True)])
        )

    answers = twice.locate(questions)
    assert twice.statistics.second_looks >= 3
    assert twice.statistics.questions == len(questions) + twice.statistics.second_looks
    assert mean_iou(answers) > mean_iou(once.locate(questions)) + 0.1
    for question, answer in zip(questions[:3], answers, strict=False):
        (alone,) = twice.locate([question])
        assert alone.box_xyxy == answer.box_xyxy and alone.visible == pytest.approx(answer.visible)


# ---- settings -------------------------------------------------------------------------------------


def test_what_auto_means() -> None:
    assert second_look_of("auto", SHORT) == "small"
    assert second_look_of("auto", BUILT_IN["qwen"]) == "off", "published weights have not been measured"
    assert second_look_of("always", BUILT_IN["qwen"]) == "always"
    assert second_look_of("off", SHORT) == "off"


def test_servers_take_it_and_training_refuses_it() -> None:
    config = GrounderConfig(NANO.checkpoint, second_look="always")
    check_server_decoding(config, "engine=endpoint")
    with pytest.raises(UserError, match=r"model\.second_look=always: has an effect in inference only"):
        check_inference_keys(config)
