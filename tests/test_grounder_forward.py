"""Questions that share pictures, and the quicker vision tower: the same sums as the library's."""

import copy
import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BatchFeature
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLVisionAttention

from data_prep.contract.chat import answer_text, messages
from data_prep.contract.formats import ANSWER_FORMATS
from models.families import FAMILIES
from models.grounder.forward import encode_images, forward
from models.grounder.model import QwenVL, QwenVLProcessor, apply_fast_kernels
from models.grounder.questions import Encoded, QuestionEncoder
from models.interfaces import Question
from models.kernels import qwen2_5_vl
from models.kernels.attention import attend_varlen
from models.kernels.qwen2_5_vl import LinearPatchEmbed, WindowAttention
from tests.tiny_models import TINY

JSON = ANSWER_FORMATS["json"]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def noise(width: int, height: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


@dataclass(frozen=True)
class Setting:
    """A family with questions that share pictures of whole tokens, which keep their sizes."""

    family: str
    processor: QwenVLProcessor
    encoder: QuestionEncoder
    questions: list[Question]
    answers: list[str]

    @classmethod
    def of(cls, family: str) -> "Setting":
        tiny = TINY[family]
        side, processor = tiny.contract.side_multiple, tiny.build_processor()
        contract = dataclasses.replace(
            tiny.contract, search_size=(0, 0), min_pixels=4 * side * side, max_pixels=32 * side * side
        )
        size = 8 * side, 4 * side
        lying, standing, template = (
            noise(*size, 0),
            noise(3 * side, 5 * side, 1),
            noise(2 * side, 2 * side, 2),
        )
        questions = [
            Question(lying, "the red ball"),
            Question(lying, "it", template),
            Question(lying, "the ring that is white", None, (20, 10, 60, 50)),
            Question(standing, "that blue thing", template),
            Question(lying, "the white star"),
            Question(lying.copy(), "the white star"),
        ]
        answers = [answer_text(contract, (1, 20, 112, 84), size), answer_text(contract, None, size)] * 3
        return cls(family, processor, QuestionEncoder(processor, contract), questions, answers)

    def encode(self) -> Encoded:
        return self.encoder.encode(self.questions, self.answers)

    def build(self, **sizes: int) -> QwenVL:
        return TINY[self.family].build_grounder(self.processor, **sizes)

    def with_fast_kernels(self, model: QwenVL) -> QwenVL:
        apply_fast_kernels(model)
        return model


@pytest.fixture(scope="module", params=FAMILIES)
def setting(request: pytest.FixtureRequest) -> Setting:
    return Setting.of(request.param)


PICTURES = [(32, (4, 8)), (4, (2, 2)), (32, (4, 8)), (15, (5, 3)), (32, (4, 8))]  # tokens, rows and columns


@pytest.fixture(scope="module")
def plain(setting: Setting) -> QwenVL:
    """A tiny grounder as the library computes it."""
    return setting.build(width=64, layers=3, vision_layers=3)


@pytest.fixture(scope="module")
def quick(setting: Setting, plain: QwenVL) -> QwenVL:
    """The same grounder with the quicker vision tower, where its family has one."""
    return setting.with_fast_kernels(copy.deepcopy(plain))


@pytest.fixture(scope="module")
def windowed() -> QwenVL:
    """A tiny Qwen2.5-VL, whose tower attends in windows."""
    return Setting.of("qwen2_5_vl").build(width=64, layers=1, vision_layers=2)


def librarys_inputs(setting: Setting) -> BatchFeature:
    """The questions as the library's processor encodes them, with a picture at every placeholder."""
    processor, encoder = setting.processor, setting.encoder
    texts = [
        processor.apply_chat_template(
            messages(
                encoder.contract, q.expression, q.template is not None, q.visual_prompt_xyxy is not None
            ),
            tokenize=False,
            add_generation_prompt=True,
        )
        for q in setting.questions
    ]
    return processor(
        text=[text + JSON.start + answer for text, answer in zip(texts, setting.answers, strict=True)],
        images=[image for question in setting.questions for image in encoder.images(question)],
        padding=True,
        padding_side="left",
        do_resize=False,
        return_tensors="pt",
    )


# ---- shared pictures -----------------------------------------------------------------------------


def test_a_picture_that_questions_share_is_encoded_once(setting: Setting) -> None:
    encoded = setting.encode()
    assert encoded.image_indices == [[0], [1, 0], [2], [1, 3], [0], [4]], (
        "another rectangle or another array: another picture"
    )
    grids = encoded.inputs["image_grid_thw"].tolist()
    assert [(rows * columns // 4, (rows // 2, columns // 2)) for _, rows, columns in grids] == PICTURES
    theirs = librarys_inputs(setting)
    for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
        assert torch.equal(encoded.inputs[name].long(), theirs[name].long()), name
    parts = encoded.inputs["pixel_values"].split([4 * tokens for tokens, _ in PICTURES])
    assert torch.equal(
        torch.cat([parts[index] for row in encoded.image_indices for index in row]), theirs["pixel_values"]
    )


def test_a_picture_shown_whole_and_as_a_template_is_two_pictures(setting: Setting) -> None:
    lying = setting.questions[0].image
    encoded = setting.encoder.encode([Question(lying, "it", lying)], "")
    assert encoded.image_indices == [[0, 1]] and len(encoded.inputs["image_grid_thw"]) == 2
    assert encoded.inputs["image_grid_thw"][0].tolist() != encoded.inputs["image_grid_thw"][1].tolist()


def test_shared_pictures_are_read_as_repeated_ones_and_learn_as_much(
    setting: Setting, plain: QwenVL, quick: QwenVL
) -> None:
    theirs = librarys_inputs(setting)
    mask = theirs["attention_mask"].bool()
    expected = plain(**theirs, use_cache=False).logits[mask]
    logits = forward(quick, setting.encode(), use_cache=False).logits[mask]
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
def test_a_picture_is_seen_alone_as_among_others(setting: Setting, quick: QwenVL) -> None:
    inputs = setting.encode().inputs
    grids = inputs["image_grid_thw"]
    together = encode_images(quick, inputs["pixel_values"], grids)
    assert [len(seen.tokens) for seen in together] == [tokens for tokens, _ in PICTURES]
    assert {len(seen.deepstack) for seen in together} == {2 if setting.family == "qwen3_vl" else 0}
    pixels = inputs["pixel_values"].split(grids.prod(1).tolist())
    for index, seen in enumerate(together):
        (alone,) = encode_images(quick, pixels[index], grids[index : index + 1])
        for layer, same in zip((seen.tokens, *seen.deepstack), (alone.tokens, *alone.deepstack), strict=True):
            torch.testing.assert_close(layer, same, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[0].tokens, together[2].tokens, atol=1e-2), "the rectangle is seen"


@torch.no_grad()
def test_all_pictures_are_seen_by_one_call_where_processes_must_call_alike(
    setting: Setting, quick: QwenVL, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = setting.encode().inputs
    expected = encode_images(quick, inputs["pixel_values"], inputs["image_grid_thw"])
    calls: list[int] = []
    monkeypatch.setattr(
        type(quick.model.visual.patch_embed), "forward", counted(quick.model.visual.patch_embed, calls)
    )
    found = encode_images(quick, inputs["pixel_values"], inputs["image_grid_thw"], at_once=True)
    assert len(calls) == 1 and calls[0] == len(inputs["pixel_values"])
    for one, other in zip(found, expected, strict=True):
        for layer, same in zip((one.tokens, *one.deepstack), (other.tokens, *other.deepstack), strict=True):
            torch.testing.assert_close(layer, same, rtol=1e-4, atol=1e-5)


def counted(module: torch.nn.Module, calls: list[int]) -> Any:
    """The module's forward pass, which notes how many rows it got."""
    forward = type(module).forward

    def noting(self: torch.nn.Module, states: torch.Tensor) -> Any:
        calls.append(len(states))
        return forward(self, states)

    return noting


@torch.no_grad()
def test_the_longest_stretch_is_told_to_a_gpu(
    setting: Setting, quick: QwenVL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be waited for in every layer else."""
    if setting.family != "qwen2_5_vl":
        return
    told: list[tuple[int | None, int]] = []

    def noting(*states: Any, **options: Any) -> torch.Tensor:
        *_, bounds, longest = states
        told.append((longest, int(bounds.diff().max())))
        return attend_varlen(*states, **options)

    monkeypatch.setattr("models.kernels.qwen2_5_vl.attend_varlen", noting)
    inputs = setting.encode().inputs
    for at_once in (False, True):
        encode_images(quick, inputs["pixel_values"], inputs["image_grid_thw"], at_once)
    assert told and all(longest is not None and longest >= true for longest, true in told)
    assert any(longest == true > 64 for longest, true in told), "whole pictures"


@torch.no_grad()
def test_features_given_beforehand_are_not_computed_again(
    setting: Setting, quick: QwenVL, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = setting.encode()
    features = encode_images(quick, encoded.inputs["pixel_values"], encoded.inputs["image_grid_thw"])
    expected = forward(quick, encoded, logits_to_keep=1).logits
    monkeypatch.setattr("models.grounder.forward.encode_images", None)
    assert torch.equal(forward(quick, encoded, features, logits_to_keep=1).logits, expected)
    swapped = [features[2], *features[1:]]
    assert not torch.allclose(forward(quick, encoded, swapped, logits_to_keep=1).logits, expected, atol=1e-4)


@torch.no_grad()
def test_deepstack_features_reach_the_language_model() -> None:
    setting = Setting.of("qwen3_vl")
    model, encoded = setting.build(width=64, layers=3, vision_layers=3), setting.encode()
    features = encode_images(model, encoded.inputs["pixel_values"], encoded.inputs["image_grid_thw"])
    expected = forward(model, encoded, features, logits_to_keep=1).logits
    for layer in range(2):
        changed = [
            dataclasses.replace(
                seen, deepstack=tuple(d * (index != layer) for index, d in enumerate(seen.deepstack))
            )
            for seen in features
        ]
        logits = forward(model, encoded, changed, logits_to_keep=1).logits
        assert not torch.allclose(logits, expected, atol=1e-3), layer


@torch.no_grad()
def test_features_lie_row_by_row() -> None:
    """With attention inside windows of four by four tokens alone, a change stays in its window."""
    setting = Setting.of("qwen2_5_vl")
    model = setting.with_fast_kernels(setting.build(width=32, layers=1, vision_layers=1))
    lying = setting.questions[0].image
    changed = lying.copy()
    changed[28:56, 6 * 28 : 7 * 28] = 255 - changed[28:56, 6 * 28 : 7 * 28]
    seen = []
    for image in (lying, changed):
        inputs = setting.encoder.encode([Question(image, "it")], "").inputs
        seen += encode_images(model, inputs["pixel_values"], inputs["image_grid_thw"])
    moved = (seen[0].tokens - seen[1].tokens).abs().amax(1).view(4, 8) > 1e-6
    assert moved[:, 4:].all() and not moved[:, :4].any()


# ---- the quicker tower ---------------------------------------------------------------------------


def attentions(windowed: QwenVL) -> tuple[Qwen2_5_VLVisionAttention, WindowAttention]:
    theirs = copy.deepcopy(windowed.model.visual.blocks[0].attn)
    ours = copy.deepcopy(theirs)
    ours.__class__ = WindowAttention
    return theirs, ours


def attended(attention: torch.nn.Module, bounds: list[int]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    hidden, angles = torch.randn(24, 64, generator=generator), torch.randn(24, 16, generator=generator)
    positions = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)  # halves are alike, as the library's
    return attention(hidden, cu_seqlens=torch.tensor(bounds), position_embeddings=positions).detach()


@pytest.mark.parametrize("bounds", [[0, 24], [0, 8, 16, 24], [0, 8, 20, 24], [0, 4, 12, 20, 24]])
def test_batched_windows_attend_as_the_librarys(windowed: QwenVL, bounds: list[int]) -> None:
    theirs, ours = attentions(windowed)
    torch.testing.assert_close(attended(ours, bounds), attended(theirs, bounds), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(attended(ours, bounds), attended(ours, [0, 2, 24]), atol=1e-3)


def test_equal_windows_are_one_call(windowed: QwenVL, monkeypatch: pytest.MonkeyPatch) -> None:
    _, ours = attentions(windowed)
    calls = []
    attend = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda *a, **k: calls.append(a) or attend(*a, **k),
    )
    attended(ours, [0, 8, 16, 24])
    assert len(calls) == 1
    attended(ours, [0, 8, 20, 24])
    assert len(calls) == 4


@pytest.mark.parametrize("gradients", [True, False])
def test_the_quicker_tower_gives_the_librarys_features(windowed: QwenVL, gradients: bool) -> None:
    theirs, ours = windowed.model.visual, copy.deepcopy(windowed.model.visual)
    qwen2_5_vl.apply_fast_kernels(ours)
    patches = torch.randn(2 * 8 * 12, 3 * 2 * 14 * 14, generator=torch.Generator().manual_seed(0))
    grids = torch.tensor([[1, 8, 12], [1, 12, 8]])
    with torch.set_grad_enabled(gradients):
        both = [tower(patches, grid_thw=grids).pooler_output for tower in (ours, theirs)]
    torch.testing.assert_close(*both, rtol=1e-4, atol=1e-5)
    if gradients:
        for features in both:
            features.square().sum().backward()
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(
                mine.grad, other.grad, rtol=1e-3, atol=1e-4 * float(other.grad.abs().max())
            )
        theirs.zero_grad()


def test_patches_are_embedded_as_by_the_convolution(windowed: QwenVL) -> None:
    theirs = windowed.model.visual.patch_embed
    ours = copy.deepcopy(theirs)
    ours.__class__ = LinearPatchEmbed
    patches = torch.randn(7, 3 * 2 * 14 * 14, generator=torch.Generator().manual_seed(0))
    assert ours(patches).shape == (7, 64)
    torch.testing.assert_close(ours(patches), theirs(patches), rtol=1e-4, atol=1e-5)


def test_fast_kernels_change_no_weights_nor_names(windowed: QwenVL) -> None:
    model = copy.deepcopy(windowed)
    before = model.state_dict()
    apply_fast_kernels(model)
    apply_fast_kernels(model)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert isinstance(model.model.visual.patch_embed, LinearPatchEmbed)
    assert all(isinstance(block.attn, WindowAttention) for block in model.model.visual.blocks)
