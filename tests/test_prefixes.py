"""What questions have in common is computed once: the same answers, with fewer tokens."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.drafts_check import FRAME, TOKENS, WORDS, build_small
from data_prep.contract.contract import BUILT_IN
from data_prep.geometry import Box
from infer.engine.engine import Engine, Lane
from infer.trackers.referral import ReferralConfig, referral_tracker
from models.grounder import prefixes
from models.grounder.grounder import Grounder
from models.grounder.prefill import Prefiller, can_split
from models.interfaces import Answer, GroundingStatistics, Question
from tests.scripted import ScriptedGrounding, ScriptedMasking, frame
from tests.tiny_models import TINY

CPU = torch.device("cpu")
LAST: Box = (20.0, 10.0, 52.0, 40.0)
DRAFT: Box = (22.0, 12.0, 50.0, 41.0)
IMAGE_FIRST = ("qwen", "qwen3")  # of Qwen2.5-VL and Qwen3-VL


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def picture(seed: int, width: int = FRAME[0], height: int = FRAME[1]) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def build(name: str) -> Grounder:
    """A small grounder in float32, whose answers are short: random weights do not end them."""
    grounder = build_small(name)
    grounder.model.float()
    for tokens in grounder._tokens.values():
        tokens.max_tokens = 5
    return grounder


@contextmanager
def counted_image_tokens(grounder: Grounder) -> Iterator[list[int]]:
    """The placeholders of images in each forward pass of the model."""
    counts: list[int] = []

    def count(_: Any, __: Any, values: dict[str, Any]) -> None:
        counts.append(int((values["input_ids"] == grounder.model.config.image_token_id).sum()))

    handle = grounder.model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield counts
    finally:
        handle.remove()


def check_same(answers: Sequence[Answer], expected: Sequence[Answer]) -> None:
    assert len(answers) == len(expected)
    for answer, other in zip(answers, expected, strict=True):
        assert (answer.text, answer.box_xyxy) == (other.text, other.box_xyxy)
        assert answer.visible == pytest.approx(other.visible, abs=1e-5)
        assert answer.box_confidence == pytest.approx(other.box_confidence, abs=1e-5)
        assert answer.draft_probability == pytest.approx(other.draft_probability, abs=1e-5)


# ---- prefixes of frames --------------------------------------------------------------------------


@pytest.mark.parametrize("name", IMAGE_FIRST)
def test_a_frame_is_computed_once_for_all_expressions(name: str) -> None:
    grounder, image = build(name), picture(0)
    questions = [Question(image, words) for words in WORDS]
    questions[1:3] = [dataclasses.replace(each, draft_xyxy=DRAFT) for each in questions[1:3]]
    alone = [grounder.locate([question])[0] for question in questions]
    asked_alone = dataclasses.replace(grounder.statistics)
    assert asked_alone.shared_tokens == 0 and asked_alone.vision_encodings == 4
    grounder.statistics.reset()
    with counted_image_tokens(grounder) as counts:
        together = grounder.locate(questions)
    check_same(together, alone)
    # The frame first, by itself, then the questions without it.
    assert sum(counts) == counts[0] == TOKENS
    assert grounder.statistics.vision_encodings == 1
    # The chat before the image and the image itself are computed once instead of four times.
    shared = grounder.statistics.shared_tokens
    assert grounder.statistics.prompt_tokens + shared == asked_alone.prompt_tokens
    assert shared % 3 == 0 and shared // 3 > TOKENS


def test_a_frame_is_computed_once_for_several_batches() -> None:
    grounder, image = build("qwen"), picture(0)
    questions = [Question(image, words) for words in (*WORDS, "a dog")]
    expected = [grounder.locate([question])[0] for question in questions]
    grounder.batch = 2  # the last batch has one question
    grounder.statistics.reset()
    with counted_image_tokens(grounder) as counts:
        check_same(grounder.locate(questions), expected)
    assert sum(counts) == TOKENS and grounder.statistics.vision_encodings == 1
    # The next call may have another image at the same address.
    with counted_image_tokens(grounder) as counts:
        grounder.locate(questions[:1])
    assert sum(counts) == TOKENS


def test_frames_of_several_sequences_share_a_batch() -> None:
    """Frames of different sizes, one of them with a single question."""
    grounder = build("qwen3")
    frames = [picture(0), picture(1, 64, 96), picture(2, 192, 48)]
    questions = [Question(frames[index], WORDS[index]) for index in (0, 1, 0, 1, 2)]
    expected = [grounder.locate([question])[0] for question in questions]
    with counted_image_tokens(grounder) as counts:
        check_same(grounder.locate(questions), expected)
    assert len([count for count in counts if count]) == 3


# ---- logits --------------------------------------------------------------------------------------


def questions_of(name: str) -> list[Question]:
    """Questions of which some share a frame, some a template, and all differ in length."""
    frames, templates = [picture(0), picture(1, 64, 96)], [picture(2, 40, 40), picture(3, 56, 30)]
    questions = [
        Question(frames[0], WORDS[0], templates[0], LAST),
        Question(frames[1], WORDS[1], templates[1], LAST),
        Question(frames[0], WORDS[2], templates[0], LAST),
        Question(frames[0], WORDS[3], templates[1], LAST),
    ]
    questions = [dataclasses.replace(question, of_track=True) for question in questions]
    if not BUILT_IN[name].initial_wording:  # of a batch, all questions have one form of answers
        questions[1] = dataclasses.replace(questions[1], template=None)
        questions[2] = dataclasses.replace(questions[2], visual_prompt_xyxy=None)
    return questions


@pytest.mark.parametrize("name", ["qwen", "qwen3", "instruct", "instruct3", "vptracker", "r1_track"])
@torch.inference_mode()
def test_logits_behind_a_prefix_are_those_of_whole_questions(name: str) -> None:
    """Of the questions, of drafts, and of tokens that are decoded after some rows have gone."""
    grounder, questions = build(name), questions_of(name)
    model, forced = grounder.model, grounder.contract.format.forced_prefix
    encoded = grounder.encoder.encode(questions, forced)
    digits = sorted(grounder._tokens[grounder.contract.format].digits)
    drafts = [digits[:5], [], digits[3:5], digits[:1]]

    def computed(prefiller: Prefiller) -> list[torch.Tensor]:
        logits, cache = prefiller.run(encoded, 3, CPU, drafts)
        cache.keep_accepted(5, [2, 0, 1, 0])
        cache.select([0, 3])
        return [*logits, cache.forward(model, [digits[5:7], digits[2:3]])]

    whole = Prefiller(model, GroundingStatistics(), shares_prefixes=False)
    split = Prefiller(model, GroundingStatistics(), shares_prefixes=True)
    expected, found = computed(whole), computed(split)
    assert whole.statistics.shared_tokens == 0
    assert split.statistics.shared_tokens > 0 or name != "qwen"
    # Padding behind a draft has arbitrary logits.
    real = [3 + len(draft) for draft in drafts] + [2]
    for theirs, ours, columns in zip(expected, found, real, strict=True):
        torch.testing.assert_close(ours[..., :columns, :], theirs[..., :columns, :], rtol=1e-4, atol=1e-4)
    # What is kept from the first call gives the very same numbers, and so does a cache of another call.
    again, anew = computed(split), computed(Prefiller(model, GroundingStatistics(), shares_prefixes=True))
    assert all(map(torch.equal, found, again)) and all(map(torch.equal, found, anew))


@pytest.mark.parametrize("name", ["qwen", "qwen3", "instruct", "instruct3"])
@torch.inference_mode()
def test_logits_depend_on_what_is_shared(name: str) -> None:
    """Otherwise the comparison above would show nothing."""
    grounder = build(name)
    forced = grounder.contract.format.forced_prefix

    def logits(image: np.ndarray, template: np.ndarray) -> torch.Tensor:
        questions = [Question(image, words, template, of_track=True) for words in WORDS[:2]]
        prefiller = Prefiller(grounder.model, GroundingStatistics(), shares_prefixes=True)
        return prefiller.run(grounder.encoder.encode(questions, forced), 1, CPU)[0]

    plain = logits(picture(0), picture(2, 40, 40))
    assert (logits(picture(1), picture(2, 40, 40)) - plain).abs().max() > 1e-3
    if grounder.contract.shows_template:
        assert (logits(picture(0), picture(3, 40, 40)) - plain).abs().max() > 1e-3


def test_linear_attention_shares_images_only() -> None:
    tiny = TINY["qwen3_5"]
    processor = tiny.build_processor()
    model = tiny.build_grounder(processor, width=32, layers=2, vision_layers=1)
    contract = dataclasses.replace(tiny.contract, wording="qwen", draws_prompt=False)
    grounder = Grounder(model.eval(), processor, contract)
    image = picture(0)
    questions = [Question(image, words, of_track=True) for words in WORDS]
    assert not can_split(model)
    alone = [grounder.locate([question])[0] for question in questions]
    grounder.statistics.reset()
    check_same(grounder.locate(questions), alone)
    assert (grounder.statistics.shared_tokens, grounder.statistics.vision_encodings) == (0, 1)


def test_processes_that_share_weights_compute_whole_questions() -> None:
    grounder = build("qwen")
    sharded = Grounder(
        *(grounder.model, grounder.encoder.processor, grounder.contract), any_process=lambda flag: bool(flag)
    )
    sharded.locate([Question(image, words) for image in [picture(0)] for words in WORDS])
    assert sharded.statistics.shared_tokens == 0


# ---- prefixes of tracks --------------------------------------------------------------------------


def tracked(image: np.ndarray, templates: Sequence[np.ndarray]) -> list[Question]:
    return [
        Question(image, words, template, LAST, of_track=True)
        for words, template in zip(WORDS, templates, strict=False)
    ]


@pytest.mark.parametrize("name", ["instruct", "instruct3", "short"])
def test_a_template_is_computed_once_for_all_frames_of_a_track(name: str) -> None:
    grounder, templates = build(name), [picture(seed, 40, 40) for seed in range(5, 8)]
    first, second = tracked(picture(0), templates), tracked(picture(1), [each.copy() for each in templates])
    asked_once = [dataclasses.replace(question, of_track=False) for question in second]
    expected = grounder.locate(asked_once)
    assert grounder.statistics.shared_tokens == 0
    grounder.locate(first)
    grounder.statistics.reset()
    with counted_image_tokens(grounder) as counts:
        answers = grounder.locate(second)
    check_same(answers, expected)
    # One pass over the questions, with the search images alone.
    assert counts[0] == 3 * TOKENS and grounder.statistics.vision_encodings == 1
    assert grounder.statistics.shared_tokens > 0
    # With another template it is another track.
    grounder.statistics.reset()
    other = dataclasses.replace(second[0], template=picture(9, 40, 40))
    with counted_image_tokens(grounder) as counts:
        check_same(grounder.locate([other]), grounder.locate([dataclasses.replace(other, of_track=False)]))
    assert 0 < counts[0] < TOKENS == counts[1]  # the template by itself, then the search image


def test_answers_do_not_depend_on_what_is_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    grounder, templates = build("instruct"), [picture(seed, 40, 40) for seed in range(5, 9)]
    questions = tracked(picture(0), templates)
    expected = grounder.locate(questions)
    # 1. With some of the prefixes in the cache, with all, with none.
    cache = grounder._prefiller.prefixes
    assert cache is not None
    grounder.locate(tracked(picture(1), templates)[2:])
    assert grounder.locate(questions) == expected
    cache._of_tracks.clear()
    grounder.locate(tracked(picture(1), templates)[2:])
    assert grounder.locate(questions) == expected
    # 2. With a cache that is too small for the batch.
    monkeypatch.setattr(prefixes, "MAX_PREFIXES", 2)
    cache._of_tracks.clear()
    grounder.locate(tracked(picture(1), templates)[2:])
    assert grounder.locate(questions) == expected and len(cache._of_tracks) == 2
    cache._of_tracks.clear()
    monkeypatch.setattr(prefixes, "MAX_BYTES", 10)
    assert grounder.locate(questions) == expected and len(cache._of_tracks) == 0


def test_short_prefixes_are_not_computed_by_themselves() -> None:
    grounder = build("qwen")  # before the search image there is hardly anything
    with counted_image_tokens(grounder) as counts:
        grounder.locate([Question(picture(0), WORDS[0] * 9, of_track=True)])
    assert counts[0] == TOKENS and grounder._prefiller.prefixes is not None
    assert not grounder._prefiller.prefixes._of_tracks


def test_memory_that_runs_out_empties_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    grounder = build("instruct")
    cache, questions = grounder._prefiller.prefixes, tracked(picture(0), [picture(5, 40, 40)] * 2)
    assert cache is not None
    expected = grounder.locate(questions)
    held: list[int] = []
    run = grounder._prefiller.run

    def once(*arguments: Any, **options: Any) -> Any:
        held.append(len(cache._of_tracks))
        if len(held) == 1:
            raise MemoryError
        return run(*arguments, **options)

    monkeypatch.setattr(grounder._prefiller, "run", once)
    # The same questions are tried again before the batch is halved, and nothing is kept any more.
    check_same(grounder.locate(questions), expected)
    check_same(grounder.locate(questions), expected)
    assert held == [2, 0, 0] and grounder.batch > 1


def test_more_tracks_than_there_is_room_for_do_not_drop_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixes, "MAX_PREFIXES", 2)
    grounder = build("instruct")
    templates = [picture(index, 40, 40) for index in (5, 6, 7)]
    for frame_number in range(3):
        for template in templates:
            grounder.locate(tracked(picture(frame_number), [template]))
    # Two of the three are found in the second and the third frame.
    assert grounder.statistics.vision_encodings == 3 * 3 + 3 + 2
    # Tracks that are not asked any more make room.
    monkeypatch.setattr(prefixes, "KEPT_CALLS", 2)
    for frame_number in (3, 4):
        grounder.locate(tracked(picture(frame_number), [templates[2]]))
    before = grounder.statistics.vision_encodings
    grounder.locate(tracked(picture(5), [templates[2]]))
    assert grounder.statistics.vision_encodings == before + 1


def test_the_engine_asks_questions_of_tracks() -> None:
    tracker = referral_tracker(ReferralConfig(), BUILT_IN["short"])
    lane = Lane(Engine(ScriptedGrounding({}), ScriptedMasking()), [frame()], [partial(tracker, "red")])
    list(lane.advance())
    assert [question.of_track for question in lane.questions] == [True]
