"""Questions and answers of published contracts on checkpoints with the real vocabulary."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from data_prep.contract.contract import BUILT_IN, Contract
from data_prep.contract.crops import Square, crop_template, template_box
from models.config import GrounderConfig
from models.grounder.answer_tokens import MAX_BOX_TOKENS
from models.grounder.grounder import Grounder
from models.interfaces import Question
from tests.published import save_published

CPU = torch.device("cpu")
SURE = 20.0  # the logit of a token that a scripted model says


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Grounder:
    """A small Qwen2.5-VL as published, loaded by its folder alone."""
    folder = save_published(tmp_path_factory.mktemp("qwen") / "download", "qwen2_5_vl")
    return Grounder.load(GrounderConfig(str(folder), dtype="float32"), CPU)


@pytest.fixture(scope="module")
def vptracker(tmp_path_factory: pytest.TempPathFactory) -> Grounder:
    """A small Qwen3-VL with VPTracker's special tokens."""
    folder = save_published(tmp_path_factory.mktemp("vptracker") / "download", "vptracker")
    return Grounder.load(GrounderConfig(str(folder), dtype="float32"), CPU)


def by(grounder: Grounder, contract: Contract | str) -> Grounder:
    """The same model asked by another contract."""
    contract = BUILT_IN[contract] if isinstance(contract, str) else contract
    return Grounder(grounder.model, grounder.encoder.processor, contract)


@contextmanager
def saying(
    grounder: Grounder, *texts: str | float, decision: tuple[str, str] | None = None
) -> Iterator[None]:
    """While it lasts, each forward pass predicts the next token of the texts.

    A number among them is the logit of the tokens that follow. `decision` names two tokens; the first is said
    at the place of the decision, and the second is one unit behind.
    """
    script: list[tuple[int, float]] = []
    logit = SURE
    for text in texts:
        if isinstance(text, float):
            logit = text
            continue
        script += [(token, logit) for token in grounder.tokenizer(text, add_special_tokens=False).input_ids]
    calls = iter(script)

    def hook(_module: Any, _inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        said = torch.zeros_like(logits)
        if decision is not None and logits.shape[1] > 1:
            first, second = (
                grounder.tokenizer(each, add_special_tokens=False).input_ids[0] for each in decision
            )
            said[:, 0, first], said[:, 0, second] = SURE, SURE - 1
        token, strength = next(calls, (0, SURE))
        said[:, -1, token] = strength
        return said

    handle = grounder.model.lm_head.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 255, (height, width, 3), dtype=np.uint8)


def asked(grounder: Grounder, question: Question) -> str:
    """The whole prompt, with one placeholder for each image."""
    text = grounder.tokenizer.decode(grounder.encoder.encode([question], "").inputs["input_ids"][0])
    while "<|image_pad|><|image_pad|>" in text:
        text = text.replace("<|image_pad|><|image_pad|>", "<|image_pad|>")
    return text.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>")


FRAME, LAST = noise(320, 240), (100.0, 80.0, 132.0, 116.0)
TEMPLATE = noise(60, 60, 1)
SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
REPLY = "<|im_end|>\n<|im_start|>assistant\n"


# ---- prompts in the real chat template -----------------------------------------------------------


def test_plain_qwen_is_asked_through_its_chat_template(qwen: Grounder) -> None:
    assert qwen.contract == BUILT_IN["qwen"]
    text = asked(qwen, Question(FRAME, "the red cup", TEMPLATE, LAST))
    assert text == (
        f"{SYSTEM}<image>Locate the red cup. Report bbox coordinates in JSON format.{REPLY}```json\n"
    )
    # No rectangle is drawn: the image is that of a question without a last box.
    images = [qwen.encoder.images(Question(FRAME, "it", None, box)) for box in (None, LAST)]
    assert len(images[1]) == 1 and np.array_equal(images[0][0], images[1][0])


def test_vptracker_is_asked_through_its_chat_template(vptracker: Grounder) -> None:
    assert vptracker.contract == BUILT_IN["vptracker"]
    question = Question(FRAME, "the red cup", TEMPLATE, LAST)
    text = asked(vptracker, question)
    assert text.startswith("<|im_start|>user\nYou are a visual object tracker.\nGiven the visual information")
    assert "<template><image></template>" in text and "<search><image></search>" in text
    assert text.endswith(f'rectangular bounding box.\n{REPLY}```json\n{{\n  "visible": "')
    # Each of its six tokens is one token, as in its training.
    ids = vptracker.encoder.encode([question], "").inputs["input_ids"][0].tolist()
    tokens = ("<ref>", "</ref>", "<template>", "</template>", "<search>", "</search>")
    for token in vptracker.tokenizer.convert_tokens_to_ids(list(tokens)):
        assert ids.count(token) == 1
    template, search = vptracker.encoder.images(question)
    assert template.shape == (64, 64, 3) and search.shape == (256, 320, 3)


def test_r1_track_is_asked_with_two_crops_and_the_box_in_the_first(qwen: Grounder) -> None:
    grounder = by(qwen, "r1_track")
    template, box = crop_template(FRAME, LAST, grounder.contract), template_box(LAST, grounder.contract)
    question = Question(FRAME, "the red cup", template, LAST, template_box_xyxy=box)
    # 32x36: the root of 1152 is 33.94, four times is 135.8: 136 pixels from (48, 30), and 336 / 136 = 2.47
    assert template.shape == (136, 136, 3) and box == (52, 50, 84, 86)
    assert f"bounding box [{int(52 * 336 / 136)},{int(50 * 336 / 136)},207,212] in <image_1>" in asked(
        grounder, question
    )
    images = grounder.encoder.images(question)
    assert [image.shape for image in images] == [(336, 336, 3)] * 2
    assert asked(grounder, question).startswith(f"{SYSTEM}<image> <image>Given two images, you need to:\n1. ")
    words = asked(grounder, Question(FRAME, "the red cup", template))
    assert words == (
        f"{SYSTEM}<image>Please return the coordinates of the red cup in JSON format.{REPLY}```json\n"
    )


# ---- tokens of the real vocabulary ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["qwen", "vptracker", "r1_track", "instruct"])
def test_forced_texts_have_the_tokens_of_free_generation(qwen: Grounder, name: str) -> None:
    """The begin, the forced prefix, and the numbers are tokenized as the complete answer is."""
    answers, tokenizer = BUILT_IN[name].format, qwen.tokenizer

    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False).input_ids)

    numbers = BUILT_IN[name].separator.join(("12", "345", "6", "1080"))
    complete = ids(answers.start + answers.render(numbers))
    begin = ids(answers.start) + ids(answers.forced_prefix)
    assert complete[: len(begin)] == begin
    assert tokenizer.decode(complete[len(begin)]) == "1"
    if answers.has_decision:
        absent = ids(answers.start + answers.render(None))
        assert absent[: len(ids(answers.start))] == ids(answers.start)
        assert absent[len(ids(answers.start))] == ids(answers.absent)[0] != ids(answers.visible)[0]


# ---- answers -------------------------------------------------------------------------------------


def test_qwens_presence_is_the_first_token_of_its_list(qwen: Grounder) -> None:
    question = [Question(FRAME, "the red cup")]
    box = '10, 20, 100, 120], "label": "cup"}\n]\n```'
    likely, unlikely = 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))
    # Logits of other tokens are 0, which adds exp(-20) for the spellings that are not named here.
    for spelling in ("[\n", "[", '[{"'):
        with saying(qwen, box, decision=(spelling, "[]\n")):
            assert qwen.locate(question)[0].visible == pytest.approx(likely, abs=1e-6)
    with saying(qwen, box, decision=("[]", "[\n")):
        assert qwen.locate(question)[0].visible == pytest.approx(unlikely, abs=1e-6)


def test_of_several_boxes_the_one_with_the_most_probable_digits_is_the_answer(qwen: Grounder) -> None:
    weak, strong = 14.0, SURE
    first, second = '10, 20, 100, 120], "label": "a [small] cup"}', '50, 60, 150, 160], "label": "cup"}'
    texts = (weak, first, strong, ',\n\t{"bbox_2d": [', second, "\n]\n```", "7, 7, 7, 7]")
    with saying(qwen, *texts, decision=("[\n", "[]\n")):
        (answer,) = qwen.locate([Question(FRAME, "the red cup")])
    resized = qwen.encoder.resized_size((320, 240))
    assert answer.text.endswith('"label": "cup"}\n]\n')
    ratio = 320 / resized[0], 240 / resized[1]
    expected = (50 * ratio[0], 60 * ratio[1], 150 * ratio[0], 160 * ratio[1])
    assert answer.box_xyxy == pytest.approx(expected)
    with saying(qwen, strong, *(text for text in texts[1:] if isinstance(text, str)), decision=("[", "[]")):
        (answer,) = qwen.locate([Question(FRAME, "the red cup")])
    assert answer.box_xyxy is not None and answer.box_xyxy[0] == pytest.approx(10 * ratio[0])


def test_a_list_whose_box_does_not_close_ends(qwen: Grounder) -> None:
    with saying(qwen, "1, " * 200, decision=("[\n", "[]\n")):
        (answer,) = qwen.locate([Question(FRAME, "the red cup")])
    assert answer.box_xyxy is None and answer.text.count("1") <= MAX_BOX_TOKENS


def test_vptrackers_box_comes_back_in_pixels_of_the_original_frame(vptracker: Grounder) -> None:
    frame = np.zeros((1080, 1920, 3), np.uint8)
    question = Question(frame, "the red cup", TEMPLATE, (1000.0, 500.0, 1200.0, 700.0))
    with saying(vptracker, "1200, 500, 1500, 700]\n}\n```", decision=("yes", "no")):
        (answer,) = vptracker.locate([question])
    assert answer.box_xyxy == (1200, 500, 1500, 700)
    assert answer.visible == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-6)
    with saying(vptracker, "1200, 500, 1921, 700]\n}\n```", decision=("yes", "no")):
        assert vptracker.locate([question])[0].box_xyxy is None


def test_a_box_that_repeats_the_rectangle_is_recognised(vptracker: Grounder) -> None:
    """The rectangle around (100, 80, 132, 116) is four times as large: (52, 26, 180, 170)."""
    question = Question(FRAME, "the red cup", TEMPLATE, LAST)
    cases = {"52, 26, 180, 170": True, "54, 27, 178, 169": True, "100, 80, 132, 116": False}
    for numbers, repeats in cases.items():
        with saying(vptracker, f"{numbers}]", decision=("yes", "no")):
            (answer,) = vptracker.locate([question])
        assert answer.box_xyxy is not None and answer.repeats_visual_prompt == repeats
    # A target that fills the frame has a rectangle of the frame's size.
    whole = Question(FRAME, "the red cup", TEMPLATE, (0.0, 0.0, 320.0, 240.0))
    with saying(vptracker, "0, 0, 320, 240]", decision=("yes", "no")):
        assert not vptracker.locate([whole])[0].repeats_visual_prompt


def test_r1_tracks_answer_comes_back_from_the_search_crop(qwen: Grounder) -> None:
    grounder = by(qwen, "r1_track")
    question = Question(FRAME, "the red cup", TEMPLATE, LAST)
    with saying(grounder, "84,84,252,168]"):
        (answer,) = grounder.locate([question])
    square = Square.around(LAST, 4.0)
    assert square == Square(48, 30, 136)
    share = 136 / 336
    expected = (48 + 84 * share, 30 + 84 * share, 48 + 252 * share, 30 + 168 * share)
    assert answer.box_xyxy == pytest.approx(expected)
    assert answer.visible == answer.box_confidence > 0.9, "it has no presence of its own"
    with saying(grounder, "the cup is gone"):
        (answer,) = grounder.locate([question])
    assert (answer.visible, answer.box_xyxy) == (0.0, None)


def test_r1_track_answers_words_and_crops_in_one_call(qwen: Grounder) -> None:
    grounder = by(qwen, "r1_track")
    both = Question(FRAME, "it", TEMPLATE, LAST)
    questions = [both, Question(FRAME, "it"), Question(FRAME, "a cup", TEMPLATE, LAST)]
    together = grounder.locate(questions)
    for question, answer in zip(questions, together, strict=True):
        (alone,) = grounder.locate([question])
        assert (alone.text, alone.box_xyxy) == (answer.text, answer.box_xyxy)
        assert alone.visible == pytest.approx(answer.visible, abs=1e-4)


# ---- thoughts ------------------------------------------------------------------------------------


def recorded_thoughts(grounder: Grounder, monkeypatch: pytest.MonkeyPatch) -> list[list[str] | None]:
    """The thoughts of every call of the grounder's encoder."""
    seen: list[list[str] | None] = []
    encode = grounder.encoder.encode

    def recorded(questions: Any, answers: Any, thoughts: Any = None, starts: Any = None) -> Any:
        seen.append(thoughts)
        return encode(questions, answers, thoughts, starts)

    monkeypatch.setattr(grounder.encoder, "encode", recorded)
    return seen


def test_a_thought_is_generated_before_the_answer_and_part_of_its_prefix(
    qwen: Grounder, monkeypatch: pytest.MonkeyPatch
) -> None:
    grounder = by(qwen, "r1_track_think")
    seen = recorded_thoughts(grounder, monkeypatch)
    thought = "<think>It moved right.</think> <answer>"
    question = Question(FRAME, "the red cup", TEMPLATE, LAST)
    with saying(grounder, thought, "84,84,252,168]"):
        (answer,) = grounder.locate([question])
    assert seen == [None, [thought]]
    encoded = grounder.encoder.encode([question], "[", [thought])
    assert grounder.tokenizer.decode(encoded.inputs["input_ids"][0]).endswith(f"{REPLY}{thought}[")
    assert answer.box_xyxy is not None and answer.text == "84,84,252,168"


def test_questions_of_one_frame_think_as_each_would_alone(
    qwen: Grounder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The encoder holds an image that several questions share once; `generate` expects it for each of them.
    grounder = by(qwen, Contract(**{**vars(BUILT_IN["r1_track_think"]), "thinking": 5}))
    seen = recorded_thoughts(grounder, monkeypatch)
    other = FRAME[::-1].copy()
    questions = [
        Question(image, words, TEMPLATE, LAST)
        for image, words in ((FRAME, "it"), (other, "the red cup"), (FRAME, "the blue cup"))
    ]
    thoughts = [grounder._think([question], grounder.contract.format) for question in questions]
    together = grounder._think(questions, grounder.contract.format)
    assert together == [thought for alone in thoughts for thought in alone or []]
    assert len(set(together)) > 1 and seen == [None] * 4


def test_a_thought_without_an_end_is_ended_at_its_limit(
    qwen: Grounder, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = BUILT_IN["r1_track_think"]
    grounder = by(qwen, Contract(**{**vars(contract), "thinking": 5}))
    seen = recorded_thoughts(grounder, monkeypatch)
    with saying(grounder, "It moved and moved and", "84,84,252,168]"):
        (answer,) = grounder.locate([Question(FRAME, "the red cup", TEMPLATE, LAST)])
    assert answer.text == "84,84,252,168"
    assert seen == [None, ["It moved and moved and</think> <answer>"]]
