"""Adapters as LLaMA-Factory, ms-swift and peft save them: loaded and merged as they computed in training."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import Qwen2_5_VLForConditionalGeneration

from configs.errors import UserError
from models.config import GrounderConfig
from models.families import FAMILIES, lora_targets
from models.grounder.grounder import Grounder
from tests import library_outputs
from tests.tiny_models import TINY, save_grounder
from train import merging
from train.merging import merge

CPU = torch.device("cpu")
TARGETS = lora_targets(FAMILIES["qwen2_5_vl"])
PROCESSOR: Any = TINY["qwen2_5_vl"].build_processor()


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_grounder(tmp_path_factory.mktemp("base") / "whole")


def trained(
    base: Path, folder: Path, rows: int | None = None, beside: bool = False, **settings: Any
) -> np.ndarray:
    """Save adapters with random weights; returns the logits that peft computes with them.

    `rows`: the embeddings are enlarged to them before, as trainers do for new tokens; `beside`: both are
    saved too.
    """
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
    if rows is not None:
        model.resize_token_embeddings(rows)
    adapters = get_peft_model(model, LoraConfig(r=2, lora_alpha=4, **{"target_modules": TARGETS, **settings}))
    with torch.no_grad():
        for weight in adapters.parameters():
            if weight.requires_grad:
                weight += 0.1 * torch.randn_like(weight)
    adapters.save_pretrained(folder, save_embedding_layers=beside or "auto")
    for path in base.iterdir():
        if path.name not in ("model.safetensors", "config.json"):
            shutil.copy(path, folder)
    return logits(adapters)


def logits(model: Any) -> np.ndarray:
    return library_outputs.outputs(model.eval(), PROCESSOR)["logits"]


def loaded(folder: Path) -> Grounder:
    return Grounder.load(GrounderConfig(str(folder), dtype="float32"), CPU)


KINDS: dict[str, dict[str, Any]] = {
    "rsLoRA": {"use_rslora": True},
    "DoRA": {"use_dora": True},
    "PiSSA": {"init_lora_weights": "pissa"},
    "biases": {"bias": "all"},
    "ranks of their own": {"rank_pattern": {"q_proj": 4}, "alpha_pattern": {"q_proj": 2}},
    "a module beside": {"modules_to_save": ["visual.merger"]},
    # What LLaMA-Factory calls additional_target.
    "both ends": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "one end": {"modules_to_save": ["embed_tokens"]},
    "LoRA of the embeddings": {"target_modules": ["embed_tokens", "q_proj"]},
    "LoRA of the head": {"target_modules": ["lm_head", "q_proj"]},
    "some tokens": {"trainable_token_indices": [3, 40, 41]},
    "embeddings saved beside": {"rows": 576, "beside": True},
    "a larger vocabulary": {"modules_to_save": ["embed_tokens", "lm_head"], "rows": 576},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_adapters_compute_as_in_training_and_so_do_merged_weights(
    kind: str, base: Path, tmp_path: Path
) -> None:
    expected = trained(base, tmp_path / "lora", **KINDS[kind])
    plain = logits(loaded(base).model)
    assert np.abs(plain - expected[..., : plain.shape[-1]]).max() > 1e-2, "the adapters change the logits"
    grounder = loaded(tmp_path / "lora")
    np.testing.assert_allclose(logits(grounder.model), expected, atol=2e-4)
    merge(GrounderConfig(str(tmp_path / "lora"), dtype="float32"), tmp_path / "merged", CPU)
    np.testing.assert_allclose(logits(loaded(tmp_path / "merged").model), expected, atol=2e-4)
    model, _ = library_outputs.load(str(tmp_path / "merged"))
    np.testing.assert_allclose(logits(model), expected, atol=2e-4)


@pytest.mark.filterwarnings("ignore")
def test_names_of_adapters_in_a_raw_state_dict_are_read(base: Path, tmp_path: Path) -> None:
    expected = trained(base, tmp_path / "lora", use_dora=True, modules_to_save=["embed_tokens", "lm_head"])
    path = tmp_path / "lora" / "adapter_model.safetensors"

    def raw(name: str) -> str:
        """As the module holds it, with the name of the adapter."""
        for part in ("lora_A", "lora_B", "lora_magnitude_vector"):
            name = name.replace(part, f"{part}.default")
        return name

    found = load_file(path)
    save_file({raw(name): weight for name, weight in found.items()}, path, metadata={"format": "pt"})
    np.testing.assert_allclose(logits(loaded(tmp_path / "lora").model), expected, atol=2e-4)


def _renamed_embeddings(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.replace("embed_tokens", "tok_embeddings"): weight for name, weight in weights.items()}


def _without_magnitudes(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: weight for name, weight in weights.items() if "magnitude" not in name}


@pytest.mark.parametrize(
    ("settings", "change", "words"),
    [
        (
            {"modules_to_save": ["embed_tokens"]},
            _renamed_embeddings,
            "1 of .* missing and 1 are unknown.*embed",
        ),
        ({"use_dora": True}, _without_magnitudes, r"7 of 21 adapter weights are missing.*lora_magnitude"),
        ({"init_lora_weights": "pissa_niter_4"}, dict, "pissa_niter_4 changed the base weights .*merge them"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_merged_is_refused_in_a_line(
    settings: dict[str, Any], change: Callable[[Any], Any], words: str, base: Path, tmp_path: Path
) -> None:
    trained(base, tmp_path / "lora", **settings)
    path = tmp_path / "lora" / "adapter_model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=words) as refusal:
        loaded(tmp_path / "lora")
    assert "\n" not in str(refusal.value)


def sharded(source: Path, folder: Path) -> None:
    """The checkpoint in two files with an index."""
    shutil.copytree(source, folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    placed = {name: f"model-0000{1 + index % 2}-of-00002.safetensors" for index, name in enumerate(weights)}
    for file in set(placed.values()):
        part = {name: weight for name, weight in weights.items() if placed[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": placed}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_a_base_on_the_hub_is_taken_from_its_cache_in_shards(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = trained(base, tmp_path / "lora")
    entry = tmp_path / "cache" / "models--someone--tiny-vl"
    sharded(base, entry / "snapshots" / "abc")
    (entry / "refs").mkdir()
    (entry / "refs" / "main").write_text("abc")
    path = tmp_path / "lora" / "adapter_config.json"
    settings = json.loads(path.read_text()) | {"base_model_name_or_path": "someone/tiny-vl"}
    path.write_text(json.dumps(settings))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    np.testing.assert_allclose(logits(loaded(tmp_path / "lora").model), expected, atol=2e-4)


# ---- merging where the memory of a GPU does not suffice -------------------------------------------


@pytest.mark.parametrize("is_explained", [False, True])
def test_merging_goes_to_the_cpu_where_the_gpu_is_too_small(
    is_explained: bool,
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = trained(base, tmp_path / "lora")
    load, devices = Grounder.load, []

    def small(config: GrounderConfig, device: torch.device) -> Grounder:
        devices.append(device.type)
        if device.type == "cuda":
            fault = torch.OutOfMemoryError("CUDA out of memory")
            if not is_explained:
                raise fault
            raise UserError("the weights cannot be loaded") from fault
        return load(config, device)

    monkeypatch.setattr(merging.Grounder, "load", small)
    merge(GrounderConfig(str(tmp_path / "lora")), tmp_path / "merged", torch.device("cuda"))
    monkeypatch.undo()
    assert devices == ["cuda", "cpu"]
    assert "device=cuda: too little free memory" in capsys.readouterr().out
    np.testing.assert_allclose(logits(loaded(tmp_path / "merged").model), expected, atol=2e-4)


def test_other_errors_of_a_gpu_are_not_hidden(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(base, tmp_path / "lora")
    devices = []

    def broken(_: GrounderConfig, device: torch.device) -> Grounder:
        devices.append(device.type)
        raise UserError("the weights cannot be loaded") from ValueError("spoilt")

    monkeypatch.setattr(merging.Grounder, "load", broken)
    with pytest.raises(UserError, match="cannot be loaded"):
        merge(GrounderConfig(str(tmp_path / "lora")), tmp_path / "merged", torch.device("cuda"))
    assert devices == ["cuda"]
