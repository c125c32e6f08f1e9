"""The published Qwen-VL models without weights: sizes, LoRA, names of weights, files of a checkpoint."""

import json
import re
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import check_target_module_exists
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from data_prep.contract.contract import BUILT_IN, CONTRACT_FILE
from models.checkpoint_files import published_contract
from models.config import GROUNDERS, GrounderConfig
from models.families import FAMILIES, PARTS, PUBLISHED_SIZES, lora_targets, part_of
from models.grounder.grounder import Grounder
from models.grounder.model import QwenVL, published_config
from models.grounder.model import build_empty as build_empty_anew
from models.interfaces import Question
from tests.tiny_models import TINY, save_grounder

CPU = torch.device("cpu")
MAPS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
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


def nested(config: Any, **changes: Any) -> dict[str, Any]:
    """A configuration in the words of the hub's config.json of Qwen3-VL."""
    text, vision = config.text_config, config.vision_config
    rope = text.rope_parameters
    keys = (
        *("attention_bias", "bos_token_id", "eos_token_id", "head_dim", "hidden_act", "hidden_size"),
        *("intermediate_size", "max_position_embeddings", "num_attention_heads", "num_hidden_layers"),
        *("num_key_value_heads", "rms_norm_eps", "tie_word_embeddings", "vocab_size"),
    )
    tokens = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    of_vision = (
        *("deepstack_visual_indexes", "depth", "hidden_act", "hidden_size", "in_channels"),
        *("intermediate_size", "num_heads", "num_position_embeddings", "out_hidden_size", "patch_size"),
        *("spatial_merge_size", "temporal_patch_size"),
    )
    return {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "model_type": "qwen3_vl",
        "tie_word_embeddings": config.tie_word_embeddings,
        "transformers_version": "4.57.0.dev0",
        **{key: getattr(config, key) for key in tokens},
        "text_config": {
            **{key: getattr(text, key) for key in keys},
            "model_type": "qwen3_vl_text",
            "dtype": "bfloat16",
            "rope_theta": rope["rope_theta"],
            "rope_scaling": {key: rope[key] for key in ("mrope_interleaved", "mrope_section", "rope_type")},
        },
        "vision_config": {"model_type": "qwen3_vl", **{key: getattr(vision, key) for key in of_vision}},
        **changes,
    }


def flat(config: Any, **changes: Any) -> dict[str, Any]:
    """As that of Qwen2.5-VL: the language model's keys stand at the top."""
    text, vision = config.text_config, config.vision_config
    keys = (
        *("bos_token_id", "eos_token_id", "hidden_act", "hidden_size", "intermediate_size"),
        *("max_position_embeddings", "num_attention_heads", "num_hidden_layers"),
        *("num_key_value_heads", "rms_norm_eps", "vocab_size"),
    )
    tokens = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    of_vision = (
        *("depth", "hidden_act", "hidden_size", "intermediate_size", "num_heads", "out_hidden_size"),
        *("patch_size", "spatial_merge_size", "window_size", "fullatt_block_indexes"),
        *("tokens_per_second", "temporal_patch_size"),
    )
    rope = text.rope_parameters
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "tie_word_embeddings": config.tie_word_embeddings,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.41.2",
        "use_sliding_window": False,
        "sliding_window": 32768,
        "rope_theta": rope["rope_theta"],
        "rope_scaling": {"type": "mrope", "mrope_section": rope["mrope_section"]},
        **{key: getattr(text, key) for key in keys},
        **{key: getattr(config, key) for key in tokens},
        "vision_config": {"in_chans": 3, **{key: getattr(vision, key) for key in of_vision}},
        **changes,
    }


HUB_CONFIG = {"qwen2_5_vl": flat, "qwen3_vl": nested}
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
    assert read.image_token_id == 151_655
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
    assert len(met) == 7 * PUBLISHED_SIZES[name].config["text_config"]["num_hidden_layers"]
    assert not any("visual" in path for path in met)
    assert {path.rsplit(".", 1)[1] for path in met} == MAPS
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
    assert len(trained) == 2 * 7 * 2, "two small matrices for each of seven maps in two layers"
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
    ("family", "layout"), [("qwen2_5_vl", "hub"), ("qwen2_5_vl", "class"), ("qwen3_vl", "class")]
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
}


@families
def test_what_we_save_has_the_hubs_names(family: str, tmp_path: Path) -> None:
    """So that other programs which read these models read ours."""
    weights = load_file(save_grounder(tmp_path / "tiny", family=family) / "model.safetensors")
    assert all(name.startswith(HUB_WEIGHTS[family]) for name in weights)


# The text that the published templates make of a question; Qwen2.5-VL's has a system's line first.
SYSTEM = {"qwen2_5_vl": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n", "qwen3_vl": ""}
PUBLISHED_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
HUB_PIXELS: dict[str, dict[str, Any]] = {
    "qwen2_5_vl": {
        "min_pixels": 3136,
        "max_pixels": 12845056,
        "patch_size": 14,
        "image_processor_type": "Qwen2VLImageProcessor",
        **CLIP,
    },
    "qwen3_vl": {
        "size": {"shortest_edge": 65536, "longest_edge": 16777216},
        "patch_size": 16,
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    },
}


@pytest.fixture(params=FAMILIES)
def hub_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A tiny checkpoint in the files of the hub: config.json, preprocessor_config.json, no contract."""
    family = request.param
    ours, folder = save_grounder(tmp_path / "ours", family=family), tmp_path / family
    folder.mkdir()
    config = AutoConfig.from_pretrained(ours)
    (folder / "config.json").write_text(json.dumps(HUB_CONFIG[family](config)))
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "model.safetensors"):
        shutil.copy(ours / name, folder / name)
    pixels = {
        **HUB_PIXELS[family],
        "temporal_patch_size": 2,
        "merge_size": 2,
        "processor_class": FAMILIES[family].processor_class().__name__,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
    (folder / "chat_template.json").write_text(
        json.dumps({"chat_template": SYSTEM[family] + PUBLISHED_TEMPLATE})
    )
    assert not (folder / CONTRACT_FILE).exists()
    return folder


def test_a_folder_with_the_hubs_files_is_a_grounder(hub_folder: Path) -> None:
    family = hub_folder.name
    contract = FAMILIES[family].contract
    config = GrounderConfig(str(hub_folder), contract=contract, dtype="float32", box_threshold=0.0)
    grounder = Grounder.load(config, CPU)
    assert grounder.contract == BUILT_IN[contract]
    assert isinstance(grounder.model, FAMILIES[family].model_class())
    frame = np.full((270, 480, 3), 255, np.uint8)
    question = Question(frame, "the red cup", frame[:60, :60], (10, 10, 40, 40))
    inputs = grounder.encoder.encode([question], "").inputs
    text = grounder.tokenizer.decode(inputs["input_ids"][0])
    assert text.startswith(f"{SYSTEM[family]}<|im_start|>user\nFind")
    assert text.endswith('<|vision_end|><|im_end|>\n<|im_start|>assistant\n{"visible":')
    means, deviations = HUB_PIXELS[family]["image_mean"], HUB_PIXELS[family]["image_std"]
    white = [(1 - means[channel]) / deviations[channel] for channel in (0, 2)]
    template = inputs["pixel_values"][0].reshape(3, -1)
    assert [float(template[channel].mean()) for channel in (0, 2)] == pytest.approx(white, abs=1e-4)
    (answer,) = grounder.locate([question])
    assert 0 < answer.visible < 1
