"""Thoughts before answers: those of transformers' own generation, and questions that are computed once."""

import dataclasses
from typing import Any

import pytest
import torch

from benchmarks.drafts_check import TOKENS, WIDTH
from models.grounder.grounder import Grounder
from models.grounder.prefill import Prefiller
from models.interfaces import Question
from tests.test_prefixes import build, check_same, counted_image_tokens, picture, tracked

THINKING = pytest.mark.parametrize("name", ["qwen3_thinking", "r1_track_think"])


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def questions() -> list[Question]:
    return tracked(picture(0), [picture(seed, 40, 40) for seed in range(5, 7)])


def generated(grounder: Grounder, question: Question, limit: int) -> list[int]:
    """The tokens that transformers generates greedily behind a question."""
    inputs = grounder.encoder.encode([question], "", starts="").inputs
    generating: Any = grounder.model
    output = generating.generate(**inputs, max_new_tokens=limit, do_sample=False)
    tokens: list[int] = output[0, inputs["input_ids"].shape[1] :].tolist()
    return tokens


def speak_in_words(grounder: Grounder) -> None:
    """Make a model say words that depend on the whole context. Random weights repeat the last one."""
    texts = [grounder.tokenizer.decode([index]) for index in range(len(grounder.tokenizer))]
    unspoken = torch.tensor([0.0 if text.isascii() and text.strip().isalpha() else -1e4 for text in texts])
    phases = torch.randn(WIDTH, len(texts), generator=torch.Generator().manual_seed(0)).double()
    # Float64, because a sawtooth wave makes rounding errors larger.
    grounder.model.double().lm_head.register_forward_hook(
        lambda _, inputs, __: (inputs[0] @ phases).frac() + unspoken
    )


@THINKING
def test_a_thought_is_what_transformers_generates(name: str) -> None:
    grounder, limit = build(name), 12
    speak_in_words(grounder)
    # The beginning of an end that was cut off at the limit is left out of a thought.
    form = dataclasses.replace(grounder.contract.format, thought_limit="|")
    grounder.contract = dataclasses.replace(grounder.contract, thinking=limit)
    expected = [generated(grounder, question, limit) for question in questions()]
    texts = grounder.tokenizer.batch_decode(expected, skip_special_tokens=True)
    assert grounder._think(questions(), form) == [f"{text}|" for text in texts]
    assert len(set(texts)) == 2 and all(len(set(tokens)) > 4 for tokens in expected)
    # It stops where the model ends its turn, and where the end of the thought is part of the text.
    end = expected[0][3]
    grounder.model.generation_config.eos_token_id = [end, 0]
    stopped = generated(grounder, questions()[0], limit)
    assert len(stopped) <= 4
    (thought,) = grounder._think(questions()[:1], form) or [""]
    assert thought == grounder.tokenizer.decode(stopped, skip_special_tokens=True) + "|"
    grounder.model.generation_config.eos_token_id = None
    some = grounder.tokenizer.decode(expected[0][2:5])
    (thought,) = grounder._think(questions()[:1], dataclasses.replace(form, thought_end=some)) or [""]
    assert thought == texts[0].partition(some)[0] + some and len(thought) < len(texts[0])


@THINKING
def test_a_thought_and_its_answer_share_the_question(name: str) -> None:
    """Images are encoded once for both, and their tokens are computed once."""
    grounder = build(name)
    alone = [grounder.locate([dataclasses.replace(each, of_track=False)])[0] for each in questions()]
    shares_frame = not grounder.contract.shows_template
    grounder.statistics.reset()
    with counted_image_tokens(grounder) as counts:
        check_same(grounder.locate(questions()), alone)
    # The frame, or two templates and one crop around the same place.
    assert grounder.statistics.vision_encodings == (1 if shares_frame else 3)
    # A crop has four tokens, and each question has two of them.
    assert sum(counts) == (TOKENS if shares_frame else 2 * 2 * 4)
    # A model that shares nothing computes whole questions, for the thought and for the answer.
    grounder._prefiller = Prefiller(grounder.model, grounder.statistics, shares_prefixes=False)
    grounder.statistics.reset()
    check_same(grounder.locate(questions()), alone)
    assert grounder.statistics.shared_tokens == 0
