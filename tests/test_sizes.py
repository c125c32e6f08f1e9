"""Sizes of images: budgets of tokens, boxes back in the frame, and targets too small to be seen."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import UserError
from data_prep.contract.chat import answer_text, counted_size, to_frame
from data_prep.contract.contract import BUILT_IN, CONTRACT_FILE, Contract, contract_values, write_contract
from data_prep.contract.images import search_size, with_token_budget
from data_prep.geometry import Box, Size, rescale
from data_prep.votsr.textfiles import write_workspace
from infer.config import InferSettings
from infer.runs import run as infer_run
from infer.runs.target_size import small_target
from infer.trackers.per_frame import PerFrameConfig
from models.checkpoint_files import check_grounder_checkpoint
from models.config import GrounderConfig
from models.config_checks import check_inference_keys, sized_contract
from models.grounder.grounder import Grounder
from models.interfaces import Answer, Question
from models.mask_head.config import MaskHeadConfig
from tests.tiny_models import save_grounder, save_mask_head
from tests.votsr_miniature import add_sequence, make_workspace, write_frame

CPU = torch.device("cpu")
QWEN, QWEN3, SHORT = (BUILT_IN[name] for name in ("instruct", "instruct3", "short"))


# ---- budgets of tokens ---------------------------------------------------------------------------


def test_search_tokens_show_a_small_target_larger() -> None:
    """Forty pixels in 4K are ten with the tokens of the contract, and keep their size with enough of them."""
    box, frame = (0.0, 0.0, 40.0, 40.0), (3840, 2160)

    def side(contract: Contract) -> float:
        return rescale(box, frame, search_size(contract, frame))[2]

    assert 9 < side(QWEN) < 11
    assert 20 < side(with_token_budget(QWEN, 4 * 768, None)) < 22
    assert 39 < side(with_token_budget(QWEN, 10_700, None)) < 41


@pytest.mark.parametrize("contract", [QWEN, QWEN3])
@pytest.mark.parametrize("tokens", [1, 100, 768, 5000])
def test_images_have_at_most_the_tokens_asked_for(contract: Contract, tokens: int) -> None:
    sized = with_token_budget(contract, tokens, None)
    width, height = search_size(sized, (3840, 2160))
    assert tokens * 0.7 <= width * height / contract.side_multiple**2 <= tokens
    assert sized.min_pixels <= sized.max_pixels and sized.template_pixels == contract.template_pixels


def test_template_tokens_change_the_template_alone() -> None:
    sized = with_token_budget(QWEN, None, 256)
    assert dataclasses.replace(sized, template_pixels=QWEN.template_pixels) == QWEN
    assert sized.template_pixels == 256 * 28 * 28
    assert with_token_budget(QWEN, None, None) == QWEN


def test_a_contract_of_one_size_takes_no_budget() -> None:
    config = GrounderConfig("weights/mine", search_tokens=500)
    with pytest.raises(
        UserError, match=r"model.search_tokens=500: weights/mine was trained on search images of"
    ):
        sized_contract(config, SHORT)
    config = GrounderConfig("mine", template_tokens=9)
    assert sized_contract(config, SHORT).template_pixels == 9 * 28 * 28
    for name, why in (("r1_track", "templates of one size"), ("qwen", "no template")):
        with pytest.raises(UserError, match=f"template_tokens=9: questions to mine have {why}"):
            sized_contract(config, BUILT_IN[name])


def test_a_budget_beyond_all_memory_is_refused() -> None:
    with pytest.raises(UserError, match=r"search_tokens=100000 .* take fewer"):
        sized_contract(GrounderConfig("mine", search_tokens=100_000), QWEN)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small grounder whose contract has a budget of pixels, as published checkpoints have."""
    folder = save_grounder(tmp_path_factory.mktemp("grounder"))
    write_contract(folder, dataclasses.replace(QWEN, wording="short"))
    return folder


def test_a_grounder_is_asked_with_the_sizes_of_the_settings(folder: Path) -> None:
    written = (folder / CONTRACT_FILE).read_bytes()
    config = GrounderConfig(str(folder), search_tokens=24, template_tokens=4, box_threshold=0.0)
    check_grounder_checkpoint(config)
    grounder = Grounder.load(config, CPU)
    frame = np.zeros((240, 320, 3), np.uint8)
    template, search = grounder.encoder.images(Question(frame, "it", frame[:50, :50]))
    assert template.shape[0] * template.shape[1] == 4 * 28 * 28
    assert search.shape[0] * search.shape[1] <= 24 * 28 * 28
    assert len(grounder.locate([Question(frame, "it", frame[:50, :50])])) == 1
    assert (folder / CONTRACT_FILE).read_bytes() == written


def test_training_and_merging_refuse_keys_of_inference() -> None:
    check_inference_keys(GrounderConfig("mine", dtype="float32", batch=2, attention="eager"))
    for name, value, instead in (
        ("search_tokens", 5, "recipe.contract.search_tokens"),
        ("template_tokens", 5, "recipe.contract.template_tokens"),
        ("quantization", "4bit", "recipe.tune.method=qlora"),
        ("device_map", "auto", "launch.strategy=fsdp or zero3"),
    ):
        changes: dict[str, Any] = {name: value}
        with pytest.raises(
            UserError, match=f"model.{name}={value}: .* inference only; .*{re.escape(instead)}"
        ):
            check_inference_keys(GrounderConfig("mine", **changes))


# ---- boxes back in the frame ---------------------------------------------------------------------


@st.composite
def frames_with_boxes(draw: st.DrawFn) -> tuple[Size, Box]:
    """A frame from 1 pixel to 8K, at most 200 times as long as wide, and a box inside it."""
    short = draw(st.integers(1, 4320))
    long = draw(st.integers(short, min(200 * short, 8192)))
    size = draw(st.permutations([short, long]))
    sides = []
    for length in size:
        start = draw(st.floats(0, length * 0.999))
        sides.append((start, draw(st.floats(min(start + 1e-3, length), length))))
    (left, right), (top, bottom) = sides
    return (size[0], size[1]), (left, top, right, bottom)


CONTRACTS = st.builds(
    with_token_budget,
    st.sampled_from(list(BUILT_IN.values())),
    st.one_of(st.none(), st.integers(1, 16_384)),
    st.none(),
)


@settings(max_examples=300)
@given(CONTRACTS, frames_with_boxes())
def test_an_answers_box_comes_back_within_one_unit(contract: Contract, case: tuple[Size, Box]) -> None:
    """Through the answer as it is trained and read, whatever the sizes of frame and search image are."""
    frame, box = case
    resized = search_size(contract, frame)
    answer = answer_text(contract, rescale(box, frame, resized), resized, frame)
    numbers = contract.format.parse(answer.removeprefix(contract.format.forced_prefix))
    assert numbers is not None
    back = to_frame(contract, numbers, resized, frame)
    assert back is not None
    units = counted_size(contract.coordinates, resized, frame)
    for axis in (0, 1):
        unit = frame[axis] / units[axis]
        assert abs(back[axis] - box[axis]) <= unit * (1 + 1e-6)
        assert abs(back[axis + 2] - box[axis + 2]) <= unit * (1 + 1e-6)
        assert 0 <= back[axis] < back[axis + 2] <= frame[axis]


@pytest.mark.parametrize("contract", [QWEN, QWEN3])
@pytest.mark.parametrize("size", [(8, 8), (1, 1), (3840, 2160), (7680, 4320), (1600, 8)])
def test_tiny_and_huge_frames_have_a_size(contract: Contract, size: Size) -> None:
    width, height = search_size(contract, size)
    assert width % contract.side_multiple == height % contract.side_multiple == 0
    assert 0 < width * height <= contract.max_pixels


# ---- runs ----------------------------------------------------------------------------------------


@pytest.fixture
def run_settings(folder: Path, tmp_path: Path) -> InferSettings:
    """A run over `tmp_path/ws` with few tokens, that takes every answer for visible."""
    return InferSettings(
        workspace=str(tmp_path / "ws"),
        model=GrounderConfig(str(folder), search_tokens=24, template_tokens=4, box_threshold=0.0),
        mask_head=MaskHeadConfig(str(save_mask_head(tmp_path / "mask_head"))),
        tracker=PerFrameConfig(activation_threshold=0.0),
        device="cpu",
        out=str(tmp_path / "out"),
        pack=False,
        overlay=False,
    )


def run(settings: InferSettings) -> tuple[int, dict[str, Any]]:
    status = infer_run.run(settings)
    return status, json.loads((Path(settings.out) / "summary.json").read_text())


def test_a_frame_like_a_ribbon_fails_its_sequence_alone(run_settings: InferSettings, tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws", ("ball",), num_frames=2)
    folder = add_sequence(root, "ribbon", num_frames=2)
    for path in (folder / "color").iterdir():
        write_frame(path, (404, 2))
    write_workspace(root, ("ball", "ribbon"))
    status, summary = run(run_settings)
    assert status == 1 and {failed["sequence"] for failed in summary["failed"]} == {"ribbon"}
    assert "an image of 404x2 is too long for a Qwen-VL model" in summary["failed"][0]["reason"]
    assert summary["written"] == summary["tracks"] - len(summary["failed"]) > 0


def test_results_of_other_sizes_or_weights_are_not_mixed(
    run_settings: InferSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_workspace(tmp_path / "ws", ("ball",), num_frames=1)
    assert run(run_settings)[0] == 0
    for changes in ({"search_tokens": 25}, {"template_tokens": 5}):
        model = dataclasses.replace(run_settings.model, **changes)
        with pytest.raises(UserError, match=r"holds results of another run .*contract"):
            run(dataclasses.replace(run_settings, model=model))
    monkeypatch.setattr("models.grounder.grounder.quantization_of", lambda model: "4bit")
    with pytest.raises(UserError, match=r"holds results of another run \(other quantization\)"):
        run(run_settings)


# ---- targets that are too small ------------------------------------------------------------------


def test_a_target_narrower_than_half_a_token_names_the_key() -> None:
    frame: Size = (3840, 2160)
    assert small_target(QWEN, (100, 100, 160, 160), frame) is None
    assert small_target(QWEN, (100, 100, 100, 160), frame) is None, "a box without an area"
    told = small_target(QWEN, (100, 100, 130, 160), frame)
    assert told is not None and "last box at 8 by 16 pixels, less than half a token" in told
    tokens = int(re.findall(r"model.search_tokens=(\d+) shows it larger", told)[0])
    assert 768 < tokens < 4000
    assert small_target(with_token_budget(QWEN, tokens, None), (100, 100, 130, 160), frame) is None


@given(st.floats(0.5, 200), st.floats(0.5, 200))
def test_the_number_of_tokens_that_is_named_suffices(width: float, height: float) -> None:
    frame: Size = (2560, 1440)
    box = (10.0, 10.0, 10 + width, 10 + height)
    told = small_target(QWEN, box, frame)
    if told is None:
        return
    tokens = int(re.findall(r"model.search_tokens=(\d+)", told)[0])
    again = small_target(with_token_budget(QWEN, tokens, None), box, frame)
    assert again is None or (min(width, height) < 15 and again.endswith("higher resolution would help"))


@pytest.mark.parametrize("name", ["short", "r1_track"])
def test_images_of_one_size_are_not_warned_of(name: str) -> None:
    """Small targets were in the training of `short`; `r1_track` searches a crop around the last box."""
    assert small_target(BUILT_IN[name], (0, 0, 1, 1), (3840, 2160)) is None


def test_a_run_warns_once_a_sequence(
    run_settings: InferSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_workspace(tmp_path / "ws", ("ball",), num_frames=1)
    seen = Answer(1.0, (10.0, 10.0, 20.0, 20.0), 1.0, "")
    monkeypatch.setattr(Grounder, "locate", lambda _, questions: [seen] * len(questions))
    monkeypatch.setattr("infer.runs.target_size.small_target", lambda contract, *_: f"{contract} too small")
    _, summary = run(run_settings)
    model = sized_contract(run_settings.model, dataclasses.replace(QWEN, wording="short"))
    warned = [line for line in summary["warnings"] if line.endswith("too small")]
    assert len(warned) == 1 and str(model) in warned[0]
    assert contract_values(model)["max_pixels"] == 24 * 28 * 28


def test_a_fault_in_that_check_is_a_warning_and_the_results_stay(
    run_settings: InferSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_workspace(tmp_path / "ws", ("ball",), num_frames=1)
    seen = Answer(1.0, (10.0, 10.0, 20.0, 20.0), 1.0, "")
    monkeypatch.setattr(Grounder, "locate", lambda _, questions: [seen] * len(questions))

    def refuse(*_: Any) -> None:
        raise UserError("the frame is too long")

    monkeypatch.setattr("infer.runs.target_size.small_target", refuse)
    _, summary = run(run_settings)
    assert any(line.endswith(": the frame is too long") for line in summary["warnings"])
    assert summary["written"] == summary["tracks"] > 0 and not summary["failed"]
