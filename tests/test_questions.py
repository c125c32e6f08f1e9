"""From questions to tensors: sizes, image tokens, and the way of a box there and back."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from configs.errors import UserError
from data_prep.contract.chat import answer_of, answer_text, to_frame
from data_prep.contract.contract import BUILT_IN, Contract
from data_prep.contract.formats import ANSWER_FORMATS
from data_prep.geometry import rescale
from data_prep.world.vocabulary import COLOUR_WORDS, SHAPES
from models.grounder.questions import QuestionEncoder
from models.interfaces import Question
from tests.tiny_models import SHORT3, TINY

JSON = ANSWER_FORMATS["json"]
PROCESSORS = {tiny.contract.side_multiple: tiny.build_processor() for tiny in TINY.values()}
TOKENIZER = PROCESSORS[28].tokenizer


def encoder_of(contract: Contract) -> QuestionEncoder:
    return QuestionEncoder(PROCESSORS[contract.side_multiple], contract)


# The contracts of this project. Those of published checkpoints are in tests/test_published_contracts.py.
OURS = {name: BUILT_IN[name] for name in ("instruct", "instruct3", "short")} | {"short3": SHORT3}
ENCODERS = {name: encoder_of(contract) for name, contract in OURS.items()}
encoders = pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
sides = pytest.mark.parametrize("multiple", PROCESSORS)
published = pytest.mark.parametrize("name", ["instruct", "instruct3"])
quick = settings(deadline=None, max_examples=60)
FRAME_SIZES = [(320, 240), (320, 180), (480, 270), (640, 360), (960, 540), (1280, 720), (1920, 1080)]
FRAME_SIZES += [(3840, 2160), (270, 480), (1080, 1920), (1500, 300), (320, 64)]


@st.composite
def frame_sizes(draw: st.DrawFn) -> tuple[int, int]:
    """Width and height of a frame, from thumbnails to 4K, lying or standing, up to five times as long."""
    longer = draw(st.integers(64, 4096))
    shorter = draw(st.integers(math.ceil(longer / 5), longer))
    return draw(st.sampled_from([(longer, shorter), (shorter, longer)]))


def noise(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)


def tokens(encoder: QuestionEncoder, question: Question, answer: str = "") -> list[int]:
    ids: torch.Tensor = encoder.encode([question], answer).inputs["input_ids"]
    return ids[0].tolist()


# ---- sizes ---------------------------------------------------------------------------------------


def check_size(encoder: QuestionEncoder, size: tuple[int, int]) -> None:
    contract = dataclasses.replace(encoder.contract, search_size=(0, 0))
    width, height = encoder_of(contract).resized_size(size)
    multiple = contract.side_multiple
    assert width % multiple == 0 and height % multiple == 0 and min(width, height) > 0
    assert width * height <= contract.max_pixels
    if contract.min_pixels < contract.max_pixels:
        assert width * height >= contract.min_pixels
    else:  # as near to the only size there is as whole tokens allow
        assert (width + multiple) * (height + multiple) > contract.max_pixels
    stretch = (width / size[0]) / (height / size[1])
    tokens_of_shorter = min(width, height) // multiple
    # Rounding down to n tokens shrinks a side by at most (n + 1) / n, rounding up stretches it n / (n - 1).
    most = -math.log1p(-1 / tokens_of_shorter) if tokens_of_shorter > 1 else math.log(2)
    assert abs(math.log(stretch)) <= most + 1e-9, "the aspect is nearly kept"


def test_a_contract_may_stretch_every_frame_to_one_size() -> None:
    encoder = encoder_of(dataclasses.replace(BUILT_IN["instruct"], search_size=(84, 56)))
    for size in FRAME_SIZES:
        assert encoder.resized_size(size) == (84, 56)
    (shown,) = encoder.encode([Question(noise((320, 180)), "the cup")], "").resized
    assert shown == (84, 56)
    assert ENCODERS["short"].resized_size((1280, 720)) == (336, 224), "the small model knows one grid only"


def test_of_several_fixed_sizes_a_frame_has_the_one_nearest_in_aspect() -> None:
    sizes = ((364, 196), (280, 280), (196, 364))
    encoder = encoder_of(dataclasses.replace(BUILT_IN["short"], other_search_sizes=sizes))
    wanted = {
        (480, 320): (336, 224),
        (1920, 1080): (364, 196),
        (640, 480): (336, 224),
        (500, 499): (280, 280),
        (1080, 1920): (196, 364),
        (1000, 100): (364, 196),
        (1, 3): (196, 364),
    }
    assert {size: encoder.resized_size(size) for size in wanted} == wanted


@encoders
@pytest.mark.parametrize("size", FRAME_SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_known_frames_get_whole_tokens_within_the_budget(
    encoder: QuestionEncoder, size: tuple[int, int]
) -> None:
    check_size(encoder, size)


@encoders
@quick
@given(size=frame_sizes())
def test_any_frame_gets_whole_tokens_within_the_budget(
    encoder: QuestionEncoder, size: tuple[int, int]
) -> None:
    check_size(encoder, size)


@sides
@pytest.mark.parametrize("side", range(1, 9))
def test_a_square_with_room_for_n_by_n_tokens_has_them(side: int, multiple: int) -> None:
    """`smart_resize` alone gives one token less, or more, where a product misses by its last bit."""
    pixels = (side * multiple) ** 2
    contract = dataclasses.replace(
        BUILT_IN["instruct"], min_pixels=pixels, max_pixels=pixels, side_multiple=multiple
    )
    encoder = encoder_of(contract)
    wanted = side * multiple, side * multiple
    assert {encoder.resized_size((width, width)) for width in range(2, 700)} == {wanted}


def test_the_usual_video_frame_keeps_its_size_in_tokens() -> None:
    """What checkpoints were trained with: another rule would feed them other images."""
    assert ENCODERS["short"].resized_size((480, 320)) == (12 * 28, 8 * 28)
    assert ENCODERS["instruct"].resized_size((1280, 720)) == (36 * 28, 20 * 28)
    assert ENCODERS["instruct"].resized_size((320, 240)) == (14 * 28, 10 * 28)
    assert ENCODERS["instruct3"].resized_size((1280, 720)) == (36 * 32, 20 * 32)
    assert ENCODERS["instruct3"].resized_size((320, 240)) == (14 * 32, 10 * 32)


@pytest.mark.parametrize(("name", "other"), [("instruct", 32), ("short", 32), ("instruct3", 28)])
def test_a_contract_of_another_family_is_refused(name: str, other: int) -> None:
    with pytest.raises(UserError, match=f"shows {other} by {other} pixels; take a contract of") as refusal:
        QuestionEncoder(PROCESSORS[other], BUILT_IN[name])
    assert "\n" not in str(refusal.value)


@published
@pytest.mark.parametrize("size", [(320, 240), (480, 270), (1280, 720), (270, 480), (1500, 300)])
def test_the_processors_own_resize_has_nothing_left_to_do(size: tuple[int, int], name: str) -> None:
    encoder = ENCODERS[name]
    patch = encoder.contract.side_multiple // 2
    question = Question(noise(size), "the cup", noise((90, 90)), (10, 10, 60, 50))
    ours = encoder.encode([question], "").inputs
    contract = encoder.contract
    images = encoder.images(question)
    for image, least, most in (
        (images[0], contract.template_pixels, contract.template_pixels),
        (images[1], contract.min_pixels, contract.max_pixels),
    ):
        theirs = encoder.processor.image_processor(
            images=[image],
            do_resize=True,
            size={"shortest_edge": least, "longest_edge": most},
            return_tensors="pt",
        )
        assert theirs["image_grid_thw"].tolist() == [[1, image.shape[0] // patch, image.shape[1] // patch]]
        count = len(theirs["pixel_values"])
        part = ours["pixel_values"][:count] if image is images[0] else ours["pixel_values"][-count:]
        assert torch.equal(part, theirs["pixel_values"])


@published
def test_a_frame_is_shown_as_it_is(name: str) -> None:
    """Red, green and blue stay apart, and pixels are scaled to ±1."""
    frame = np.zeros((270, 480, 3), np.uint8)
    frame[..., 0], frame[..., 2] = 255, 51
    pixels = ENCODERS[name].encode([Question(frame, "x")], "").inputs["pixel_values"]
    channels = pixels.reshape(len(pixels), 3, -1)
    assert [channels[:, channel].unique().tolist() for channel in range(3)] == [
        [1.0],
        [-1.0],
        [pytest.approx(-0.6)],
    ]


# ---- image tokens --------------------------------------------------------------------------------


@encoders
@pytest.mark.parametrize("has_template", [False, True])
def test_there_is_one_token_for_every_square_of_the_contract(
    encoder: QuestionEncoder, has_template: bool
) -> None:
    patch = encoder.contract.side_multiple // 2
    question = Question(noise((480, 270)), "the cup", noise((61, 61)) if has_template else None)
    encoded = encoder.encode([question], "")
    pad = TOKENIZER.convert_tokens_to_ids("<|image_pad|>")
    ids, grids = encoded.inputs["input_ids"][0], encoded.inputs["image_grid_thw"]
    assert len(grids) == 1 + has_template
    assert int((ids == pad).sum()) == int(grids.prod(-1).sum()) // 4
    assert tuple(encoded.resized[0]) == (int(grids[-1, 2]) * patch, int(grids[-1, 1]) * patch)
    starts = (ids == TOKENIZER.convert_tokens_to_ids("<|vision_start|>")).nonzero()[:, 0]
    runs = [int((ids[start + 1 :] != pad).nonzero()[0, 0]) for start in starts]
    assert runs == [int(grid.prod()) // 4 for grid in grids], "template first, search image last"


def test_words_stand_before_every_image_token() -> None:
    ids = torch.tensor(
        tokens(ENCODERS["short"], Question(noise((480, 270)), "the red ball", noise((30, 30))))
    )
    first_image = int((ids == TOKENIZER.convert_tokens_to_ids("<|image_pad|>")).nonzero()[0, 0])
    assert "find the red ball" in TOKENIZER.decode(ids[:first_image])


def test_rows_are_padded_on_the_left_and_end_with_their_answers() -> None:
    encoder = encoder_of(dataclasses.replace(BUILT_IN["short"], search_size=(0, 0)))
    questions = [
        Question(noise((480, 270)), "the red ball", noise((30, 30)), (10, 10, 60, 50)),
        Question(noise((270, 480)), "it"),
    ]
    answers = [answer_of(encoder.contract, (1, 2, 3, 4)), answer_of(encoder.contract, None)]
    encoded = encoder.encode(questions, answers)
    mask = encoded.inputs["attention_mask"]
    assert mask[0].all() and not mask[1].all()
    assert bool((mask.diff(dim=1) >= 0).all()), "once a row has begun it has no gap"
    assert encoded.resized == [(364, 196), (196, 364)]
    for row, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        alone = tokens(encoder, question, answer)
        ids = encoded.inputs["input_ids"][row]
        assert ids[mask[row] == 1].tolist() == alone
        assert TOKENIZER.decode(alone).endswith(JSON.start + answer)


# ---- one text in training and inference ----------------------------------------------------------


@encoders
@settings(deadline=None, max_examples=15)
@given(
    box=st.one_of(st.none(), st.tuples(*[st.integers(0, 999)] * 4)),
    words=st.sampled_from(["the red ball", "x", '"a {b}"', "ends with a brace {", "über 3 日本"]),
)
def test_a_question_is_a_prefix_of_its_answered_self_token_by_token(
    encoder: QuestionEncoder, box: tuple[int, int, int, int] | None, words: str
) -> None:
    question = Question(noise((112, 112)), words)
    answer = answer_of(encoder.contract, box)
    asked, answered = tokens(encoder, question), tokens(encoder, question, answer)
    assert answered[: len(asked)] == asked
    assert answered[len(asked) :] == TOKENIZER(answer, add_special_tokens=False).input_ids
    if box is not None:  # what inference forces, before the first digit
        forced = tokens(encoder, question, JSON.forced_prefix)
        assert answered[: len(forced)] == forced
        assert TOKENIZER.decode(answered[len(forced)]) in "0123456789"


@quick
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_the_small_tokenizer_writes_any_text(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER(text, add_special_tokens=False).input_ids) == text


def test_the_small_tokenizer_has_a_token_for_a_digit_and_for_a_word_of_the_world() -> None:
    def count(text: str) -> int:
        return len(TOKENIZER(text, add_special_tokens=False).input_ids)

    assert count("0123456789") == 10 and count("112,084") == 7
    names = [name for words in (*SHAPES.values(), *COLOUR_WORDS.values()) for name in words]
    words = {word for name in names for word in name.split()}
    assert {word for word in words if count(f" {word}") != 1} == set()


def test_words_come_through_the_chat_template_unharmed() -> None:
    words = 'two\nlines, "quotes", {{ braces }} {% if %} & <b> Straße 猫 \U0001f600'
    text = TOKENIZER.decode(tokens(ENCODERS["short"], Question(noise((112, 112)), words)))
    assert f"find {words}" in text


@pytest.mark.parametrize("token", ["<|image_pad|>", "<|im_end|>", "<|vision_start|>"])
def test_words_that_steer_the_model_are_refused(token: str) -> None:
    with pytest.raises(UserError, match="leave it out") as refusal:
        tokens(ENCODERS["short"], Question(noise((112, 112)), f"the cup {token}"))
    assert token in str(refusal.value) and "\n" not in str(refusal.value)


# ---- the way of a box ----------------------------------------------------------------------------


@encoders
@quick
@given(size=frame_sizes(), corners=st.tuples(*[st.floats(0, 1)] * 4))
def test_a_box_comes_back_within_half_of_what_is_counted_and_a_narrower_one_within_a_unit(
    encoder: QuestionEncoder, size: tuple[int, int], corners: tuple[float, float, float, float]
) -> None:
    contract: Contract = encoder.contract
    left, right = sorted((corners[0] * size[0], corners[2] * size[0]))
    top, bottom = sorted((corners[1] * size[1], corners[3] * size[1]))
    resized = encoder.resized_size(size)
    counted = resized if contract.coordinates == "resized" else (1000, 1000)
    unit = size[0] / counted[0], size[1] / counted[1]
    assume(right > left and bottom > top)
    limit = 0.5 if right - left > unit[0] and bottom - top > unit[1] else 1.0
    said = answer_text(contract, rescale((left, top, right, bottom), size, resized), resized)
    numbers = JSON.parse(said[len(JSON.forced_prefix) :])
    assert numbers is not None
    box = to_frame(contract, numbers, resized, size)
    assert box is not None
    for found, wanted, step in zip(box, (left, top, right, bottom), unit * 2, strict=True):
        assert abs(found - wanted) <= step * limit + 1e-6


def test_a_marked_frame_differs_only_along_the_rectangle() -> None:
    """The rectangle is drawn in the resized image, at the place that the last box has there."""
    contract = dataclasses.replace(BUILT_IN["instruct"], prompt_scale=2.0, prompt_width=0.0005)
    encoder = encoder_of(contract)
    frame = np.full((300, 1500, 3), 90, np.uint8)
    plain, marked = (
        encoder.images(Question(frame, "x", None, box))[0] for box in (None, (500, 100, 600, 160))
    )
    rows, columns = np.nonzero((plain != marked).any(axis=2))
    across, down = plain.shape[1] / 1500, plain.shape[0] / 300
    assert across != down
    found = columns.min(), rows.min(), columns.max(), rows.max()
    assert found == pytest.approx((450 * across, 70 * down, 650 * across, 190 * down), abs=0.5)
