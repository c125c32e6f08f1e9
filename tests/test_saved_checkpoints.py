"""What is saved is what other programs load: transformers 5 and 4.57, vLLM, LLaMA-Factory, ms-swift.

Set REFERTRACK_TRANSFORMERS_4 to a folder of packages to load what is saved in transformers 4.57 as well:

    pip install --no-deps --target FOLDER transformers==4.57.3 huggingface_hub==0.36.0 tokenizers==0.22.1
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoImageProcessor, Qwen2Tokenizer

from data_prep.contract.contract import CONTRACT_FILE, read_contract
from data_prep.contract.images import search_size, template_size, with_token_budget
from models.config import GrounderConfig
from models.families import FAMILIES, lora_targets
from models.grounder.grounder import Grounder
from models.grounder.model import add_tokens
from models.grounder.saving import save_checkpoint
from tests import library_outputs
from tests.published import save_published
from tests.tiny_models import TINY

CPU = torch.device("cpu")
PACKAGES = os.environ.get("REFERTRACK_TRANSFORMERS_4")
families = pytest.mark.parametrize("family", TINY)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def built(family: str) -> tuple[Any, Any]:
    tiny = TINY[family]
    processor = tiny.build_processor()
    return tiny.build_grounder(processor, width=32, layers=1, vision_layers=2), processor


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each family with two new tokens, and adapters of the first one."""
    root = tmp_path_factory.mktemp("saved")
    for family in TINY:
        model, processor = built(family)
        add_tokens(model, processor, ["<ref>", "</ref>"])
        save_checkpoint(root / family, model.half(), processor, TINY[family].contract)
    model, processor = built("qwen2_5_vl")
    config = LoraConfig(r=2, target_modules=lora_targets(FAMILIES["qwen2_5_vl"]))
    adapters = get_peft_model(model, config)
    adapters.peft_config["default"].base_model_name_or_path = str(root / "qwen2_5_vl")
    save_checkpoint(root / "adapters", adapters, processor, TINY["qwen2_5_vl"].contract)
    return {path.name: path for path in root.iterdir()}


def settings(folder: Path, file: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / file).read_text())
    return found


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, np.ndarray]]]:
    """Published checkpoints, loaded and saved again: the folder, and the outputs of what was saved."""
    root, found = tmp_path_factory.mktemp("published"), {}
    # A real vocabulary takes seconds to load, so there is one checkpoint unless 4.57 is compared.
    for name in ("vptracker", "qwen2_5_vl") if PACKAGES else ("vptracker",):
        hub = save_published(root / "hub" / name, name)
        grounder = Grounder.load(GrounderConfig(str(hub), dtype="float32"), CPU)
        processor = grounder.encoder.processor
        save_checkpoint(root / name, grounder.model, processor, grounder.contract)
        found[name] = root / name, library_outputs.outputs(grounder.model, processor)
    return found


# ---- fields and files --------------------------------------------------------------------------


@families
def test_config_json_has_the_fields_of_both_versions(saved: dict[str, Path], family: str) -> None:
    config = settings(saved[family], "config.json")
    assert config["dtype"] == config["torch_dtype"] == "float16"
    assert config["architectures"] == [FAMILIES[family].model_class().__name__]
    text = config["text_config"]
    rope = text["rope_parameters"]
    assert text["rope_theta"] == rope["rope_theta"] == 5.0
    assert text["rope_scaling"]["mrope_section"] == rope["mrope_section"]
    assert text["rope_scaling"]["rope_type"] == text["rope_scaling"]["type"] == "default"
    assert text["rope_scaling"].get("mrope_interleaved") == rope.get("mrope_interleaved")
    assert "rope_theta" not in text["rope_scaling"]


@pytest.mark.parametrize("name", [*TINY, "adapters"])
def test_the_tokenizer_has_the_names_that_both_versions_know(saved: dict[str, Path], name: str) -> None:
    config = settings(saved[name], "tokenizer_config.json")
    assert "extra_special_tokens" not in config
    assert {"<|im_start|>", "<|image_pad|>"} <= set(config["additional_special_tokens"])
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    vocabulary = settings(saved[name], "vocab.json")
    merges = (saved[name] / "merges.txt").read_text().splitlines()
    model = settings(saved[name], "tokenizer.json")["model"]
    assert vocabulary == model["vocab"] and len(merges) in (len(model["merges"]), len(model["merges"]) + 1)


@pytest.mark.parametrize("name", [*TINY, "adapters"])
def test_the_processor_is_written_in_both_layouts(saved: dict[str, Path], name: str) -> None:
    processor = settings(saved[name], "processor_config.json")
    for file, part in (
        ("preprocessor_config.json", "image_processor"),
        ("video_preprocessor_config.json", "video_processor"),
    ):
        older = settings(saved[name], file)
        assert older.pop("processor_class") == processor["processor_class"]
        assert older == processor[part] and older["patch_size"] in (14, 16)
    assert "<|vision_start|>" in (saved[name] / "chat_template.jinja").read_text()
    assert read_contract(saved[name]) is not None


@pytest.mark.parametrize("search_tokens", [24, 200])
@families
def test_a_server_resizes_frames_as_the_contract_does(
    family: str, search_tokens: int, tmp_path: Path
) -> None:
    """It reads the saved processor and no contract. Images that were resized before pass unchanged."""
    model, processor = built(family)
    contract = with_token_budget(TINY[family].contract, search_tokens, template_tokens=9)
    save_checkpoint(tmp_path, model, processor, contract)
    newer = AutoImageProcessor.from_pretrained(tmp_path)
    (tmp_path / "processor_config.json").unlink()
    older = AutoImageProcessor.from_pretrained(tmp_path)  # from preprocessor_config.json
    templates = [template_size(contract, crop) for crop in ((50, 50), (90, 30))]
    for server in (newer, older):
        # The last frame takes 8 by 2 of 24 tokens, fewer than the contract's least number.
        for frame in ((640, 360), (360, 640), (1000, 300)):
            resized = search_size(contract, frame)
            for size in (frame, resized, *templates):
                (grid,) = server(images=[np.zeros((size[1], size[0], 3), np.uint8)]).image_grid_thw
                shown = (int(grid[2]) * server.patch_size, int(grid[1]) * server.patch_size)
                assert shown == (resized if size == frame else size)


def test_a_fixed_size_leaves_the_limits_of_the_processor(saved: dict[str, Path]) -> None:
    for family in TINY:
        before = built(family)[1].image_processor.size
        assert settings(saved[family], "processor_config.json")["image_processor"]["size"] == dict(before)


def test_adapters_have_the_files_that_vllm_and_trainers_read(saved: dict[str, Path]) -> None:
    config = settings(saved["adapters"], "adapter_config.json")
    assert config["peft_type"] == "LORA" and config["base_model_name_or_path"] == str(saved["qwen2_5_vl"])
    assert (config["r"], config["lora_alpha"], config["bias"]) == (2, 8, "none")
    # vLLM refuses adapters with either.
    assert config["modules_to_save"] is None and config["use_dora"] is False
    names = load_file(saved["adapters"] / "adapter_model.safetensors")
    assert all(name.startswith("base_model.model.") and ".lora_" in name for name in names)
    assert not (saved["adapters"] / "config.json").exists()


@families
def test_what_is_saved_is_loaded_again_as_it_was(saved: dict[str, Path], family: str) -> None:
    model, processor = built(family)
    add_tokens(model, processor, ["<ref>", "</ref>"])
    for weight in model.parameters():  # and no buffers, which are computed anew
        weight.data = weight.data.half().float()
    before = library_outputs.outputs(model, processor)
    after = library_outputs.outputs(*library_outputs.load(str(saved[family])))
    assert set(after["added"]) >= {"<ref>", "</ref>", "<|im_end|>"}
    for name in ("added", "special", "input_ids", "pixels", "logits"):
        assert np.array_equal(before[name], after[name]), name


def test_vocab_and_merges_alone_make_the_same_tokens(saved: dict[str, Path], tmp_path: Path) -> None:
    """Programs that have no tokenizer.json reader take these two."""
    for file in ("vocab.json", "merges.txt"):
        shutil.copy(saved["qwen2_5_vl"] / file, tmp_path)
    _, processor = built("qwen2_5_vl")
    alone = Qwen2Tokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    text = ' find the red ball, "bbox_2d": [12'
    assert alone(text).input_ids == processor.tokenizer(text).input_ids


def test_published_checkpoints_are_saved_with_their_vocabulary(published: Any) -> None:
    for name, (folder, before) in published.items():
        after = library_outputs.outputs(*library_outputs.load(str(folder)))
        check_equal(after, before)
        config = settings(folder, "tokenizer_config.json")
        assert config["tokenizer_class"] == "Qwen2Tokenizer" and "extra_special_tokens" not in config
        tokens = {"<|im_start|>", "<|image_pad|>", *(("<search>",) if name == "vptracker" else ())}
        assert tokens <= set(config["additional_special_tokens"])
        assert len(settings(folder, "vocab.json")) >= 151_643
        assert settings(folder, "config.json")["text_config"]["rope_scaling"]["mrope_section"]


def check_equal(found: Any, expected: Any) -> None:
    """The same tokens, and pixels and logits that differ by rounding errors only."""
    for name in ("added", "special", "input_ids"):
        assert np.array_equal(found[name], expected[name]), name
    for name in ("pixels", "logits"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)


# ---- transformers 4.57 ---------------------------------------------------------------------------


@pytest.mark.skipif(not PACKAGES, reason="REFERTRACK_TRANSFORMERS_4 is not set")
@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl", "published qwen2_5_vl", "published vptracker"])
def test_transformers_4_computes_the_same_and_what_it_saves_is_read(
    saved: dict[str, Path], published: Any, name: str, tmp_path: Path
) -> None:
    folder = published[name.split()[1]][0] if " " in name else saved[name]
    here = library_outputs.outputs(*library_outputs.load(str(folder)))
    subprocess.run(
        [sys.executable, library_outputs.__file__, folder, tmp_path / "out.npz", tmp_path / "again"],
        env={**os.environ, "PYTHONPATH": str(PACKAGES), "HF_HUB_OFFLINE": "1"},
        check=True,
    )
    there = np.load(tmp_path / "out.npz")
    assert str(there["version"]).startswith("4.57")
    check_equal(there, here)
    # And back: the folder that 4.57 has written is a grounder here.
    shutil.copy(folder / CONTRACT_FILE, tmp_path / "again")
    grounder = Grounder.load(GrounderConfig(str(tmp_path / "again"), dtype="float32"), CPU)
    back = library_outputs.outputs(grounder.model, grounder.encoder.processor)
    check_equal(back, here)
