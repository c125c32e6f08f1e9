"""Drafts of answers: the same answers as without them, in fewer decoding steps."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.drafts_check import build_small, check_drafts
from data_prep.contract.contract import BUILT_IN
from data_prep.geometry import Box
from infer.trackers.per_frame import PerFrameConfig, per_frame_tracker
from infer.trackers.referral import ReferralConfig, referral_tracker
from infer.trackers.requests import Locate, Request, Segment, State
from models.config import GrounderConfig
from models.grounder.answer_tokens import AnswerTokens
from models.grounder.decoding import RowDecoder
from models.grounder.grounder import Grounder
from models.interfaces import Answer, MaskResult, Question
from tests.scripted import ScriptedWorld, drive, frame
from tests.tiny_models import save_grounder

CPU = torch.device("cpu")
IMAGE = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
TEMPLATE = IMAGE[:50, :50].copy()
LAST: Box = (100.0, 80.0, 132.0, 116.0)
DRAFT: Box = (101.3, 82.6, 141.2, 120.4)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


# ---- the same answers ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILT_IN)
def test_answers_with_drafts_are_those_of_plain_greedy_decoding(name: str) -> None:
    """In batches of questions with right, partly right, wrong and without drafts; see the benchmark."""
    result = check_drafts(name, 8, batch=4)
    assert result.different == 0
    assert result.plain.drafts == 0 and result.drafted.drafts > 3
    assert 0 < result.drafted.accepted_draft_tokens < result.drafted.draft_tokens


@pytest.fixture(scope="module")
def tokens() -> AnswerTokens:
    grounder = build_small("qwen")
    return grounder._tokens[grounder.contract.format]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_draft_gives_the_tokens_of_the_model(tokens: AnswerTokens, data: st.DataObject) -> None:
    """A scripted model says `said`; behind a wrong token of a draft it says anything."""
    ids = sorted({*tokens.digits, *tokens.draft("1, 2"), *list(tokens.opening)[:2], *list(tokens.ending)[:2]})
    texts = st.lists(st.sampled_from(ids), min_size=1, max_size=40)
    said, draft = data.draw(texts), data.draw(texts)
    said += [min(tokens.ending)]
    row, plain = RowDecoder(tokens, draft), RowDecoder(tokens)
    while plain.is_open:
        plain.verify([said[len(plain.tokens)]], [0.0])
    steps = 0
    while row.is_open:
        # What the model says behind the tokens so far and behind each token of the draft.
        known, choices = list(row.tokens), []
        for column in range(len(row.draft) + 1):
            so_far = known + row.draft[:column]
            is_right = so_far == said[: len(so_far)] and len(so_far) < len(said)
            choices.append(said[len(so_far)] if is_right else data.draw(st.sampled_from(ids)))
        before = len(row.tokens)
        accepted = row.verify(choices, [0.0] * len(choices))
        assert 0 <= accepted <= len(choices) - 1 and len(row.tokens) > before
        steps += 1
    assert row.tokens == plain.tokens and steps <= len(plain.tokens)


def test_a_draft_is_proposed_again_behind_a_token_that_differs(tokens: AnswerTokens) -> None:
    def ids(text: str) -> list[int]:
        return list(tokens.tokenizer(text, add_special_tokens=False).input_ids)

    def remaining(draft: str, said: str) -> str:
        row = RowDecoder(tokens, ids(draft))
        row.verify(ids(said), [0.0] * len(ids(said)))
        return str(tokens.tokenizer.decode(row.draft))

    # Another digit, a digit more, a digit fewer, and nothing that fits.
    assert remaining("12,345,6", "13") == ",345,6"
    assert remaining("12,345,6", "127") == ",345,6"
    assert remaining("12,345,6", "1,") == "345,6"
    assert remaining("12,345,6", "12,345,6]") == ""


# ---- the text of a draft -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "question"),
    [
        ("short", Question(IMAGE, "it", None, LAST)),
        ("instruct", Question(IMAGE, "it", TEMPLATE, LAST)),
        ("qwen3", Question(IMAGE, "it", None, LAST)),
        ("vptracker", Question(IMAGE, "it", TEMPLATE, LAST)),
        ("r1_track", Question(IMAGE, "it", TEMPLATE, LAST)),
        ("r1_track", Question(IMAGE, "it", TEMPLATE)),
        ("vptracker", Question(IMAGE, "it", TEMPLATE, drawn=True, original=(640, 480))),
    ],
)
def test_the_numbers_of_a_draft_come_back_as_its_box(name: str, question: Question) -> None:
    encoder = build_small(name).encoder
    (resized,) = encoder.encode([question], "").resized
    numbers = encoder.draft_numbers(dataclasses.replace(question, draft_xyxy=DRAFT), resized)
    form = encoder.form(question)
    assert numbers is not None and form.answer_format.render(numbers).startswith(
        form.answer_format.forced_prefix
    )
    parsed = form.answer_format.parse(numbers)
    assert parsed is not None
    box = encoder.to_image(question, parsed, resized)
    # A unit of the answer: a pixel of the resized image, of which the frame has about seven.
    assert box == pytest.approx(DRAFT, abs=4)
    assert encoder.draft_numbers(question, resized) is None
    outside = dataclasses.replace(question, draft_xyxy=(-50.0, -50.0, -10.0, -10.0))
    assert encoder.draft_numbers(outside, resized) is None


# ---- probabilities, and drafts that are taken for the answer ----------------------------------------


@pytest.fixture(scope="module")
def grounder(tmp_path_factory: pytest.TempPathFactory) -> Grounder:
    return build_small("short")


def with_draft(question: Question, draft: Box, accept_from: float | None = None) -> Question:
    return dataclasses.replace(question, draft_xyxy=draft, accept_draft_from=accept_from)


QUESTIONS = [Question(IMAGE, "the red cup", None, LAST), Question(IMAGE, "it", TEMPLATE)]


def test_a_draft_that_clears_the_threshold_is_the_answer_without_a_decoding_step(grounder: Grounder) -> None:
    (without,) = grounder.locate(QUESTIONS[:1])
    (drafted,) = grounder.locate([with_draft(QUESTIONS[0], DRAFT)])
    assert without.draft_probability is None and drafted.draft_probability is not None
    assert (drafted.text, drafted.box_xyxy) == (without.text, without.box_xyxy)
    # 1. A threshold that the draft does not reach changes nothing.
    probability = drafted.draft_probability
    (missed,) = grounder.locate([with_draft(QUESTIONS[0], DRAFT, probability * 1.01)])
    assert missed == drafted
    # 2. One that it reaches makes it the answer. The other question of the batch is decoded.
    alone = grounder.locate(QUESTIONS[1:])
    grounder.statistics.reset()
    accepted, other = grounder.locate([with_draft(QUESTIONS[0], DRAFT, probability * 0.99), QUESTIONS[1]])
    assert accepted.box_xyxy == pytest.approx(DRAFT, abs=4)
    assert accepted.box_confidence == pytest.approx(probability, rel=1e-4)
    assert accepted.draft_probability == accepted.box_confidence
    assert (other.text, other.box_xyxy) == (alone[0].text, alone[0].box_xyxy)
    grounder.statistics.reset()
    grounder.locate([with_draft(QUESTIONS[0], DRAFT, 0.0)])
    assert grounder.statistics.decoding_steps == 0 and grounder.statistics.questions == 1


def test_the_probability_of_a_draft_does_not_depend_on_the_box_threshold(
    grounder: Grounder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (drafted,) = grounder.locate([with_draft(QUESTIONS[0], DRAFT)])
    monkeypatch.setattr(grounder, "box_threshold", 1.1)
    (absent,) = grounder.locate([with_draft(QUESTIONS[0], DRAFT)])
    assert absent.box_xyxy is None and absent.text == ""
    assert absent.draft_probability == pytest.approx(drafted.draft_probability, rel=1e-4)


def test_linear_attention_answers_without_drafts(tmp_path: Path) -> None:
    folder = save_grounder(tmp_path / "model", family="qwen3_5")
    grounder = Grounder.load(GrounderConfig(str(folder), box_threshold=0.0), CPU)
    expected = grounder.locate(QUESTIONS)
    answers = grounder.locate([with_draft(question, DRAFT, 0.0) for question in QUESTIONS])
    assert answers == expected and answers[0].draft_probability is None
    assert grounder.statistics.drafts == 0 and grounder.statistics.decoding_steps > 0


# ---- trackers ------------------------------------------------------------------------------------


def drafts_of(world: ScriptedWorld) -> Sequence[tuple[int, Box | None]]:
    return [(index, asked.draft_xyxy) for index, asked in world.asked if isinstance(asked, Locate)]


def test_the_referral_tracker_hands_on_the_boxes_that_it_expects() -> None:
    grounder_boxes = [(10.0, 10.0, 30.0, 30.0)] * 3
    mask_boxes = [None, (11.0, 10.0, 31.0, 30.0), (12.0, 10.0, 32.0, 30.0)]
    world = ScriptedWorld(grounder_boxes, mask_boxes)
    tracker = referral_tracker(ReferralConfig(verify_interval=2), BUILT_IN["short"])
    drive(tracker, world, [frame(), frame(), frame()])
    # Frame 0: searched without a draft, confirmed with the answer. Frame 2: verified with the mask's box.
    assert drafts_of(world) == [(0, None), (0, grounder_boxes[0]), (2, (12, 10, 32, 30))]


def test_the_per_frame_tracker_expects_the_last_box() -> None:
    world = ScriptedWorld([(10.0, 10.0, 30.0, 30.0), None, None], [None] * 3)
    drive(per_frame_tracker(PerFrameConfig(), BUILT_IN["short"]), world, [frame(), frame(), frame()])
    assert drafts_of(world) == [(0, None), (1, (10, 10, 30, 30)), (2, (10, 10, 30, 30))]


class ScoredWorld(ScriptedWorld):
    """The grounder gives every draft a probability."""

    probability = 0.0

    def reply(self, index: int, request: Request) -> Answer | MaskResult:
        """As the scripted grounder, with the probability of the draft."""
        answer = super().reply(index, request)
        if isinstance(answer, Answer) and isinstance(request, Locate) and request.draft_xyxy is not None:
            return dataclasses.replace(answer, draft_probability=self.probability)
        return answer


@pytest.mark.parametrize(
    ("verify", "probability", "segments"), [("score", 0.6, 1), ("score", 0.4, 2), ("decode", 0.6, 2)]
)
def test_with_verify_score_a_probable_mask_is_kept_as_it_is(
    verify: str, probability: float, segments: int
) -> None:
    """Then the mask head does not segment the grounder's box, which is that of the mask."""
    box = (10.0, 10.0, 30.0, 30.0)
    world = ScoredWorld([box] * 3, [box] * 3)
    world.probability = probability
    config = ReferralConfig(verify_interval=2, verify=verify, min_draft_probability=0.5)
    reports = drive(referral_tracker(config, BUILT_IN["short"]), world, [frame(), frame(), frame()])
    assert reports[2].state is State.VERIFY and world.count(Segment) == segments
    (asked,) = (request for index, request in world.asked if index == 2 and isinstance(request, Locate))
    assert asked.accept_draft_from == (0.5 if verify == "score" else None)


def test_a_lost_mask_is_never_taken_for_the_answer() -> None:
    box = (10.0, 10.0, 30.0, 30.0)
    world = ScriptedWorld([box] * 2, [None] * 2)
    config = ReferralConfig(verify="score")
    drive(referral_tracker(config, BUILT_IN["short"]), world, [frame(), frame()])
    asked = [request for index, request in world.asked if index == 1 and isinstance(request, Locate)]
    assert [(each.draft_xyxy, each.accept_draft_from) for each in asked] == [(box, None)]
