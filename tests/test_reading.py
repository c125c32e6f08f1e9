"""Questions that share pictures, and the quicker vision tower: the same sums as the library's."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from transformers import BatchFeature, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLVisionAttention

from data_prep.prompts import ANSWER_START, BUILT_IN, answer_text, messages
from models.fast_vision import BatchedWindowAttention, LinearPatchEmbed, quicken
from models.nano import build_grounder, build_processor
from models.questions import Question, QuestionEncoder
from models.reading import read, see

PROCESSOR = build_processor()
CONTRACT = dataclasses.replace(
    BUILT_IN["short"], search_size=(0, 0), min_pixels=4 * 28 * 28, max_pixels=32 * 28 * 28
)
ENCODER = QuestionEncoder(PROCESSOR, CONTRACT)  # small pictures keep their sizes
Grounder = Qwen2_5_VLForConditionalGeneration


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def noise(width: int, height: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


LYING, STANDING, TEMPLATE = noise(224, 112, 0), noise(84, 140, 1), noise(56, 56, 2)
QUESTIONS = [
    Question(LYING, "the red ball"),
    Question(LYING, "it", TEMPLATE),
    Question(LYING, "the ring that is white", None, (20, 10, 60, 50)),
    Question(STANDING, "that blue thing", TEMPLATE),
    Question(LYING, "the white star"),
    Question(LYING.copy(), "the white star"),
]
PICTURES = [(32, (4, 8)), (4, (2, 2)), (32, (4, 8)), (15, (5, 3)), (32, (4, 8))]  # tokens, rows and columns
ANSWERS = [answer_text(CONTRACT, (1, 20, 112, 84)), answer_text(CONTRACT, None)] * 3


@pytest.fixture(scope="module")
def plain() -> Grounder:
    """A tiny grounder as the library computes it."""
    return build_grounder(PROCESSOR, width=64, layers=2, vision_layers=2)


@pytest.fixture(scope="module")
def quick(plain: Grounder) -> Grounder:
    """The same grounder with the quicker vision tower."""
    model = copy.deepcopy(plain)
    quicken(model.model.visual)
    return model


def librarys_inputs() -> BatchFeature:
    """The questions as the library's processor encodes them, with a picture at every placeholder."""
    texts = [
        PROCESSOR.apply_chat_template(
            messages(CONTRACT, q.words, q.template is not None, q.last_box_xyxy is not None),
            tokenize=False,
            add_generation_prompt=True,
        )
        for q in QUESTIONS
    ]
    return PROCESSOR(
        text=[text + ANSWER_START + answer for text, answer in zip(texts, ANSWERS, strict=True)],
        images=[image for question in QUESTIONS for image in ENCODER.images(question)],
        padding=True,
        padding_side="left",
        do_resize=False,
        return_tensors="pt",
    )


# ---- shared pictures -----------------------------------------------------------------------------


def test_a_picture_that_questions_share_is_encoded_once() -> None:
    encoded = ENCODER.encode(QUESTIONS, ANSWERS)
    assert encoded.shown == [[0], [1, 0], [2], [1, 3], [0], [4]], (
        "another rectangle or another array: another picture"
    )
    grids = encoded.inputs["image_grid_thw"].tolist()
    assert [(rows * columns // 4, (rows // 2, columns // 2)) for _, rows, columns in grids] == PICTURES
    theirs = librarys_inputs()
    for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
        assert torch.equal(encoded.inputs[name].long(), theirs[name].long()), name
    parts = encoded.inputs["pixel_values"].split([4 * tokens for tokens, _ in PICTURES])
    assert torch.equal(
        torch.cat([parts[index] for row in encoded.shown for index in row]), theirs["pixel_values"]
    )


def test_a_picture_shown_whole_and_as_a_template_is_two_pictures() -> None:
    encoded = ENCODER.encode([Question(LYING, "it", LYING)], "")
    assert encoded.shown == [[0, 1]] and len(encoded.inputs["image_grid_thw"]) == 2
    assert encoded.inputs["image_grid_thw"][0].tolist() != encoded.inputs["image_grid_thw"][1].tolist()


def test_shared_pictures_are_read_as_repeated_ones_and_learn_as_much(
    plain: Grounder, quick: Grounder
) -> None:
    theirs = librarys_inputs()
    mask = theirs["attention_mask"].bool()
    expected = plain(**theirs, use_cache=False).logits[mask]
    logits = read(quick, ENCODER.encode(QUESTIONS, ANSWERS), use_cache=False).logits[mask]
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    gradients = []
    for model, out in ((plain, expected), (quick, logits)):
        model.zero_grad()
        (out * direction).mean().backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient is not None and gradients[1][name] is not None and gradient.abs().max() > 0, name
        torch.testing.assert_close(
            gradients[1][name], gradient, rtol=1e-3, atol=1e-3 * float(gradient.abs().max()), msg=name
        )


@torch.no_grad()
def test_a_picture_is_seen_alone_as_among_others(quick: Grounder) -> None:
    inputs = ENCODER.encode(QUESTIONS, ANSWERS).inputs
    grids = inputs["image_grid_thw"]
    together = see(quick, inputs["pixel_values"], grids)
    assert [len(features) for features in together] == [tokens for tokens, _ in PICTURES]
    pixels = inputs["pixel_values"].split(grids.prod(1).tolist())
    for index, features in enumerate(together):
        (alone,) = see(quick, pixels[index], grids[index : index + 1])
        torch.testing.assert_close(features, alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[0], together[2], atol=1e-2), "the rectangle is seen"


@torch.no_grad()
def test_features_given_beforehand_are_not_computed_again(
    quick: Grounder, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = ENCODER.encode(QUESTIONS, ANSWERS)
    features = see(quick, encoded.inputs["pixel_values"], encoded.inputs["image_grid_thw"])
    expected = read(quick, encoded, logits_to_keep=1).logits
    monkeypatch.setattr("models.reading.see", None)
    assert torch.equal(read(quick, encoded, features, logits_to_keep=1).logits, expected)


@torch.no_grad()
def test_features_lie_row_by_row() -> None:
    """With attention inside windows of four by four tokens alone, a change stays in its window."""
    model = build_grounder(PROCESSOR, width=32, layers=1, vision_layers=1)
    quicken(model.model.visual)
    changed = LYING.copy()
    changed[28:56, 6 * 28 : 7 * 28] = 255 - changed[28:56, 6 * 28 : 7 * 28]
    seen = []
    for image in (LYING, changed):
        inputs = ENCODER.encode([Question(image, "it")], "").inputs
        seen += see(model, inputs["pixel_values"], inputs["image_grid_thw"])
    moved = (seen[0] - seen[1]).abs().amax(1).view(4, 8) > 1e-6
    assert moved[:, 4:].all() and not moved[:, :4].any()


# ---- the quicker tower ---------------------------------------------------------------------------


def attentions(plain: Grounder) -> tuple[Qwen2_5_VLVisionAttention, BatchedWindowAttention]:
    theirs = copy.deepcopy(plain.model.visual.blocks[0].attn)
    ours = copy.deepcopy(theirs)
    ours.__class__ = BatchedWindowAttention
    return theirs, ours


def attended(attention: torch.nn.Module, bounds: list[int]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    hidden, angles = torch.randn(24, 64, generator=generator), torch.randn(24, 32, generator=generator)
    positions = angles.cos(), angles.sin()
    return attention(hidden, cu_seqlens=torch.tensor(bounds), position_embeddings=positions).detach()


@pytest.mark.parametrize("bounds", [[0, 24], [0, 8, 16, 24], [0, 8, 20, 24], [0, 4, 12, 20, 24]])
def test_batched_windows_attend_as_the_librarys(plain: Grounder, bounds: list[int]) -> None:
    theirs, ours = attentions(plain)
    torch.testing.assert_close(attended(ours, bounds), attended(theirs, bounds), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(attended(ours, bounds), attended(ours, [0, 2, 24]), atol=1e-3)


def test_equal_windows_are_one_call(plain: Grounder, monkeypatch: pytest.MonkeyPatch) -> None:
    _, ours = attentions(plain)
    monkeypatch.setattr(Qwen2_5_VLVisionAttention, "forward", None)
    attended(ours, [0, 8, 16, 24])
    with pytest.raises(TypeError):
        attended(ours, [0, 8, 20, 24])


def test_patches_are_embedded_as_by_the_convolution(plain: Grounder) -> None:
    theirs = plain.model.visual.patch_embed
    ours = copy.deepcopy(theirs)
    ours.__class__ = LinearPatchEmbed
    patches = torch.randn(7, 3 * 2 * 14 * 14, generator=torch.Generator().manual_seed(0))
    assert ours(patches).shape == (7, 64)
    torch.testing.assert_close(ours(patches), theirs(patches), rtol=1e-4, atol=1e-5)


def test_quickening_changes_no_weights_nor_names(plain: Grounder) -> None:
    model = copy.deepcopy(plain)
    before = model.state_dict()
    quicken(model.model.visual)
    quicken(model.model.visual)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert isinstance(model.model.visual.patch_embed, LinearPatchEmbed)
    assert all(isinstance(block.attn, BatchedWindowAttention) for block in model.model.visual.blocks)
