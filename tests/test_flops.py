"""FLOPs by formula against those that PyTorch counts, and the MFU."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.families import FAMILIES
from models.grounder.forward import encode_images, forward
from models.grounder.model import build_empty
from models.grounder.questions import Encoded, QuestionEncoder
from models.interfaces import Question
from tests.tiny_models import TINY
from train.loop.metrics import Metrics
from train.loop.objective import StepMetrics
from train.sft.config import TuneSettings
from train.sft.flops import FlopsFormula, flops_formula, peak_flops
from train.sft.model import set_trainable, trains_vision

ANSWER = ' true, "bbox_2d": [001,002,003,004]}'


def encoded(family: str) -> Encoded:
    tiny = TINY[family]
    side = tiny.contract.side_multiple
    picture = np.zeros((side * 8, side * 8, 3), np.uint8)
    questions = [Question(picture, "the red ball"), Question(picture.copy(), "a cup")]
    return QuestionEncoder(tiny.build_processor(), tiny.contract).encode(questions, ANSWER)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "tune",
    [
        TuneSettings(rank=4),
        TuneSettings(rank=4, parts=["language_model", "vision_tower", "projector"]),
        TuneSettings(method="full", parts=["language_model"]),
        TuneSettings(method="full", parts=["language_model", "vision_tower", "projector"]),
    ],
    ids=["lora", "lora everywhere", "full", "full everywhere"],
)
def test_the_formula_counts_what_pytorch_does(family: str, tune: TuneSettings) -> None:
    model = TINY[family].build_grounder(TINY[family].build_processor(), width=64, layers=2, vision_layers=2)
    set_trainable(model, tune, 0)
    batch = encoded(family)
    formula = flops_formula(model, tune)
    model.set_attn_implementation("eager")
    inputs = batch.inputs
    answers = 5
    with FlopCounterMode(display=False) as counted:
        with torch.set_grad_enabled(trains_vision(tune)):
            features = encode_images(model, inputs["pixel_values"], inputs["image_grid_thw"])
        forward(model, batch, features, use_cache=False, logits_to_keep=answers).logits.sum().backward()
    lengths = inputs["attention_mask"].sum(1)
    told = formula.count(lengths, inputs["image_grid_thw"], answers * len(lengths))
    # Padding and the half that causal attention does not need are PyTorch's; gradients
    # end at the first weights that learn.
    assert told == pytest.approx(counted.get_total_flops(), rel=0.15)


def test_a_published_size_takes_what_it_should() -> None:
    """A question of 950 tokens to Qwen2.5-VL-3B: about 4 N a token for it, 2 N for its tower."""
    model = build_empty("qwen2_5_vl_3b")
    with torch.device("meta"):
        set_trainable(model, TuneSettings(), 0)
    told = flops_formula(model, TuneSettings()).count(torch.tensor([950]), torch.tensor([[1, 44, 68]]), 30)
    assert told == pytest.approx(4 * 2.77e9 * 950 + 2 * 0.63e9 * 44 * 68, rel=0.1)


def test_weights_in_shares_and_in_four_bits_count_whole() -> None:
    model = TINY["qwen2_5_vl"].build_grounder(TINY["qwen2_5_vl"].build_processor(), width=64, layers=2)
    set_trainable(model, TuneSettings(), 0)
    whole = flops_formula(model, TuneSettings())
    maps = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    for number, module in enumerate(maps):
        weight: Any = module.weight
        shape, numel, wanted = weight.shape, weight.numel(), weight.requires_grad
        if number % 2:
            weight.data = weight.data.new_zeros(0)
            weight.ds_shape, weight.ds_numel = shape, numel
        elif not wanted:
            packed: Any = torch.nn.Parameter(torch.zeros(numel // 2, 1, dtype=torch.uint8), False)
            packed.quant_state = SimpleNamespace(shape=shape)
            module.weight = packed
    assert flops_formula(model, TuneSettings()) == whole


def test_numbers_add_up() -> None:
    one = FlopsFormula(
        text=3,
        patch=5,
        image_token=8,
        answer=7,
        causal_attention=2,
        full_attention=1,
        window_attention=4,
        merge=4,
    )
    told = one.count(torch.tensor([10, 20]), torch.tensor([[1, 2, 4]]), 6)
    assert told == 3 * 30 + 2 * 500 + 7 * 6 + (5 + 4 + 2) * 8 + 64


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H200", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA GH200 480GB", 989e12),
    ],
)
def test_devices_are_known_by_their_names(monkeypatch: pytest.MonkeyPatch, name: str, peak: float) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    assert peak_flops(torch.device("cuda")) == peak


def test_a_cpu_and_unknown_devices_have_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    assert peak_flops(torch.device("cpu")) is None
    for name in ("Tesla K80", "NVIDIA L40", "NVIDIA RTX A4000", "NVIDIA RTX A1000"):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _, name=name: name)
        assert peak_flops(torch.device("cuda")) is None


@pytest.mark.parametrize(("peak", "mfu"), [(None, None), (1000.0, 0.25)])
def test_a_row_tells_rates_and_the_share_of_the_peak(
    tmp_path: Path, peak: float | None, mfu: float | None
) -> None:
    metrics = Metrics(tmp_path, True, peak)
    counts = {"pairs": 4, "answer_tokens": 8, "tokens": 400}
    for _ in range(2):
        metrics.add(StepMetrics({"loss": 1.0}, 0.1, 1.0, counts, flops=500), seconds=0.5)
    metrics.log(2, 4, 2.0)
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert row["mfu"] == mfu and row["tokens_per_second"] == 200 and row["answer_tokens_per_second"] == 4
