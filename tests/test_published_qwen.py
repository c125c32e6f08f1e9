"""The published Qwen-VL models without weights: sizes, LoRA, names of weights."""

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import check_target_module_exists
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from models.checkpoint_files import published_contract
from models.config import GROUNDERS
from models.families import FAMILIES, PARTS, PUBLISHED_SIZES, lora_targets, part_of
from models.grounder.model import QwenVL, published_config
from models.grounder.model import build_empty as build_empty_anew
from tests.hub_configs import HUB_CONFIG
from tests.tiny_models import TINY, save_grounder

MAPS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
LINEAR_MAPS = {"in_proj_qkv", "in_proj_z", "in_proj_a", "in_proj_b", "out_proj"}  # of linear attention
names = pytest.mark.parametrize("name", PUBLISHED_SIZES)
families = pytest.mark.parametrize("family", FAMILIES)
build_empty = lru_cache(build_empty_anew)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


# ---- sizes ---------------------------------------------------------------------------------------


@names
def test_the_published_sizes_have_the_published_parameters(name: str) -> None:
    assert name in GROUNDERS
    model = build_empty(name)
    parameters = list(model.parameters())
    assert sum(weight.numel() for weight in parameters) == PUBLISHED_SIZES[name].parameters
    assert {weight.device.type for weight in parameters} == {"meta"}


@names
def test_an_option_names_weights_of_its_family(name: str) -> None:
    family = FAMILIES[PUBLISHED_SIZES[name].model_type]
    checkpoint = GROUNDERS[name].checkpoint
    assert checkpoint.startswith(family.hub_prefix) and name.rsplit("_", 1)[1].upper() in checkpoint
    assert published_contract(checkpoint) == family.contract
    assert isinstance(build_empty(name), family.model_class())


@names
def test_embeddings_are_tied_where_they_are_published_so(name: str) -> None:
    model = build_empty(name)
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == PUBLISHED_SIZES[name].config[
        "tie_word_embeddings"
    ]


NOT_THE_NET = {"dtype", "rope_parameters", "tie_word_embeddings", "transformers_version"}


def check_same_config(read: Any, wanted: Any) -> None:
    """All keys that shape the net; rope's are compared apart, since the hub's hold an older name too."""
    for part in ("text_config", "vision_config"):
        found, expected = getattr(read, part).to_dict(), getattr(wanted, part).to_dict()
        assert {key for key in expected if found.get(key) != expected[key]} <= NOT_THE_NET
        rope = expected["rope_parameters"]
        assert {key: found["rope_parameters"][key] for key in rope} == rope
    tokens = ("image_token_id", "vision_start_token_id", "vision_end_token_id", "tie_word_embeddings")
    assert [getattr(read, key) for key in tokens] == [getattr(wanted, key) for key in tokens]


@names
def test_the_hubs_config_json_means_the_same_net(name: str, tmp_path: Path) -> None:
    config = published_config(name)
    family = PUBLISHED_SIZES[name].model_type
    (tmp_path / "config.json").write_text(json.dumps(HUB_CONFIG[family](config)))
    read = AutoConfig.from_pretrained(tmp_path)
    check_same_config(read, config)
    assert read.image_token_id == {"qwen3_5": 248_056}.get(family, 151_655)
    with torch.device("meta"):
        model = FAMILIES[family].model_class()(read)
    assert sum(weight.numel() for weight in model.parameters()) == PUBLISHED_SIZES[name].parameters


# ---- LoRA ----------------------------------------------------------------------------------------


def met_by(targets: str, modules: dict[str, torch.nn.Module]) -> list[str]:
    config = LoraConfig(target_modules=targets)
    return [path for path in modules if check_target_module_exists(config, path)]


@names
def test_lora_meets_every_linear_map_of_the_language_model_and_no_other(name: str) -> None:
    modules = dict(build_empty(name).named_modules())
    met = met_by(lora_targets(FAMILIES[PUBLISHED_SIZES[name].model_type]), modules)
    text = PUBLISHED_SIZES[name].config["text_config"]
    linear = text.get("layer_types", []).count("linear_attention")
    # A layer of linear attention has five maps in place of the four of full attention.
    assert len(met) == 7 * text["num_hidden_layers"] + linear
    assert not any("visual" in path for path in met)
    assert {path.rsplit(".", 1)[1] for path in met} == MAPS | (LINEAR_MAPS if linear else set())
    assert all(isinstance(modules[path], torch.nn.Linear) for path in met)
    in_language_model = {
        path
        for path, module in modules.items()
        if isinstance(module, torch.nn.Linear) and "visual" not in path and path != "lm_head"
    }
    assert set(met) == in_language_model


@names
def test_every_weight_belongs_to_one_part_and_every_map_to_its_own(name: str) -> None:
    family, model = FAMILIES[PUBLISHED_SIZES[name].model_type], build_empty(name)
    modules = dict(model.named_modules())
    assert tuple(family.parts) == PARTS
    for weight, _ in model.named_parameters():
        owners = [part for part in PARTS if re.fullmatch(family.parts[part].weights, weight)]
        assert len(owners) == 1, weight
        assert part_of(family, weight) == owners[0] == part_of(family, f"base_model.model.{weight}")
    linear = {path for path, module in modules.items() if isinstance(module, torch.nn.Linear)} - {"lm_head"}
    met = [met_by(lora_targets(family, (part,)), modules) for part in PARTS]
    assert sorted(path for paths in met for path in paths) == sorted(linear)
    assert [{part_of(family, f"{path}.weight") for path in paths} for paths in met] == [{p} for p in PARTS]
    assert set(met_by(lora_targets(family, PARTS), modules)) == linear
    with pytest.raises(KeyError):
        part_of(family, "model.audio.blocks.0.attn.qkv.weight")


@families
def test_lora_trains_the_language_model_alone(family: str) -> None:
    model = tiny(family, layers=2)
    tuned = get_peft_model(model, LoraConfig(r=2, target_modules=lora_targets(FAMILIES[family])))
    trained = [path for path, weight in tuned.named_parameters() if weight.requires_grad]
    # Two small matrices for each of seven maps in two layers; in one of Qwen3.5's there are eight maps.
    assert len(trained) == 2 * (7 * 2 + (family == "qwen3_5"))
    assert all("lora_" in path and "language_model.layers" in path for path in trained)


def tiny(family: str, layers: int, vision_layers: int = 2) -> QwenVL:
    build = TINY[family]
    return build.build_grounder(build.build_processor(), 32, layers, vision_layers, seed=7)


# ---- names of weights, and files -----------------------------------------------------------------

OLDER = (("model.language_model.", "model."), ("model.visual.", "visual."))


def hub_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights under the names that they have in the published files of Qwen2.5-VL."""
    renamed = {}
    for name, weight in weights.items():
        for ours, theirs in OLDER:
            name = theirs + name.removeprefix(ours) if name.startswith(ours) else name
        renamed[name] = weight.clone()
    return renamed


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("family", "layout"),
    [("qwen2_5_vl", "hub"), ("qwen2_5_vl", "class"), ("qwen3_vl", "class"), ("qwen3_5", "class")],
)
def test_weights_of_either_layout_load_whole(family: str, layout: str, tied: bool, tmp_path: Path) -> None:
    model = tiny(family, layers=2)
    if not tied:
        config = model.config
        config.tie_word_embeddings = config.text_config.tie_word_embeddings = False
        model = FAMILIES[family].model_class()(config)
    model.config.save_pretrained(tmp_path)
    kept = {
        name: weight for name, weight in model.state_dict().items() if not tied or name != "lm_head.weight"
    }
    weights = hub_names(kept) if layout == "hub" else {name: weight.clone() for name, weight in kept.items()}
    if layout == "hub":
        assert {"model.layers.0.mlp.up_proj.weight", "visual.blocks.0.attn.qkv.weight"} <= weights.keys()
        assert ("lm_head.weight" in weights) != tied and "model.embed_tokens.weight" in weights
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded: Any = FAMILIES[family].model_class().from_pretrained(tmp_path, output_loading_info=True)
    read, report = loaded
    assert not any(report.values()), report
    before, after = model.state_dict(), read.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


HUB_WEIGHTS = {
    "qwen2_5_vl": ("model.layers.", "model.embed_", "model.norm.", "visual."),
    "qwen3_vl": ("model.language_model.", "model.visual."),
    "qwen3_5": ("model.language_model.", "model.visual."),
}


@families
def test_what_we_save_has_the_hubs_names(family: str, tmp_path: Path) -> None:
    """So that other programs which read these models read ours."""
    weights = load_file(save_grounder(tmp_path / "tiny", family=family) / "model.safetensors")
    assert all(name.startswith(HUB_WEIGHTS[family]) for name in weights)
