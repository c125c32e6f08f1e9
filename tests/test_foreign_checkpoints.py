"""Checkpoints of other trainers, of older libraries, and hostile ones: read rightly, or refused in a line."""

import json
import re
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
from data_prep.contract.contract import CONTRACT_FILE
from models.checkpoint import NotFiniteError
from models.checkpoint_files import check_grounder_checkpoint
from models.config import GrounderConfig
from models.families import FAMILIES, lora_targets
from models.grounder.grounder import Grounder
from models.interfaces import Answer, Question
from models.mask_head.config import MASK_HEADS, MaskHeadConfig
from models.mask_head.registry import check_mask_head
from models.mask_head.sam2 import MaskHead
from tests.tiny_models import save_grounder, save_mask_head

CPU = torch.device("cpu")
QUESTION = Question(np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8), "the red ball")
CODE = "open('ran', 'w')"
Weights = dict[str, torch.Tensor]


@pytest.fixture(autouse=True, scope="module")
def offline_on_one_thread() -> Any:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_grounder(tmp_path_factory.mktemp("foreign") / "whole")


@pytest.fixture(scope="module")
def mask_head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_mask_head(tmp_path_factory.mktemp("foreign") / "mask_head")


@pytest.fixture(scope="module")
def lora(whole: Path) -> Path:
    """Adapters of that checkpoint that change the answer, with contract and processor beside them."""
    folder = whole.parent / "lora"
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(whole, dtype=torch.float32)
    targets = lora_targets(FAMILIES["qwen2_5_vl"], ("language_model", "vision_tower"))
    adapters = get_peft_model(model, LoraConfig(r=2, lora_alpha=8, target_modules=targets))
    for name, weight in adapters.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    adapters.save_pretrained(folder)
    for path in whole.iterdir():
        if path.name not in ("model.safetensors", "config.json"):
            shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def base_answer(whole: Path) -> Answer:
    return ask(whole)


@pytest.fixture(scope="module")
def adapted_answer(lora: Path, base_answer: Answer) -> Answer:
    answer = ask(lora)
    assert abs(answer.visible - base_answer.visible) > 1e-3
    return answer


def ask(checkpoint: Path, **settings: Any) -> Answer:
    config = GrounderConfig(str(checkpoint), box_threshold=0.0, **settings)
    return Grounder.load(config, CPU).locate([QUESTION])[0]


def refused(checkpoint: Path, words: str, **settings: Any) -> None:
    with pytest.raises(UserError, match=words) as refusal:
        ask(checkpoint, **settings)
    assert "\n" not in str(refusal.value)


def copied(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(source, tmp_path / "copy"))


def rewritten(path: Path, change: Callable[[Weights], Weights]) -> None:
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def edited(path: Path, **values: Any) -> None:
    settings = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**settings, **values}))


# ---- adapters -------------------------------------------------------------------------------------


def old_name(name: str) -> str:
    """As transformers < 4.52 named it."""
    name = name.replace("model.model.language_model.", "model.model.")
    return name.replace("model.model.visual.", "model.visual.")


RENAMED: dict[str, Callable[[str], str]] = {
    "old names": old_name,
    "a raw state dict": lambda name: re.sub(r"(lora_[AB])\.", r"\1.default.", name),
    "without the prefix": lambda name: name.removeprefix("base_model.model."),
}


@pytest.mark.parametrize("kind", RENAMED)
def test_known_names_of_adapters_are_read(
    kind: str, lora: Path, adapted_answer: Answer, tmp_path: Path
) -> None:
    copy = copied(lora, tmp_path)
    names = list(load_file(copy / "adapter_model.safetensors"))
    assert all(RENAMED[kind](name) != name for name in names)
    rewritten(
        copy / "adapter_model.safetensors",
        lambda weights: {RENAMED[kind](name): weight for name, weight in weights.items()},
    )
    answer = ask(copy)
    assert answer == adapted_answer


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        (r"^(?!.*visual).*\.(q_proj|v_proj)", ("model.layers",)),
        # Written for the old names: by today's it would take the vision tower's maps as well.
        (r"^(model)(?=\.).*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)", ("model.layers",)),
        (["q_proj", "gate_proj"], ("model.layers", "visual.blocks")),
        (r"visual\.blocks\.\d+\.attn\.qkv", ("visual.blocks",)),
    ],
)
def test_patterns_written_for_old_names_mean_the_old_maps(
    pattern: Any, parts: tuple[str, ...], base_answer: Answer, lora: Path, tmp_path: Path
) -> None:
    copy = copied(lora, tmp_path)
    edited(copy / "adapter_config.json", target_modules=pattern)
    wanted = re.compile(pattern) if isinstance(pattern, str) else None

    def chosen(weights: Weights) -> Weights:
        found = {}
        for name, weight in weights.items():
            module = old_name(name).removeprefix("base_model.model.").rsplit(".lora_", 1)[0]
            if wanted.fullmatch(module) if wanted else module.rsplit(".", 1)[1] in pattern:
                found[old_name(name)] = weight
        return found

    rewritten(copy / "adapter_model.safetensors", chosen)
    held = " ".join(load_file(copy / "adapter_model.safetensors"))
    assert [part for part in ("model.layers", "visual.blocks") if part in held] == list(parts)
    assert ask(copy).visible != base_answer.visible


def _half(weights: Weights) -> Weights:
    return dict(sorted(weights.items())[: len(weights) // 2])


def _one_renamed(weights: Weights) -> Weights:
    return {name.replace("0.self_attn.q_", "0.self_attn.qq_"): weight for name, weight in weights.items()}


LOST: dict[str, tuple[Callable[[Weights], Weights], str]] = {
    "half": (
        _half,
        r"\d+ of \d+ adapter weights are missing and 0 are unknown, the first that is",
    ),
    "one is renamed": (
        _one_renamed,
        r"2 of \d+ adapter weights are missing and 2 are unknown.*layers\.0\.self_attn\.q_proj\.lora_A",
    ),
    "one too many": (
        lambda weights: {**weights, "base_model.model.model.other.lora_A.weight": torch.zeros(2, 3)},
        r"0 of \d+ .* 1 are unknown, the first that is unknown is base_model.model.model.other.lora_A.weight",
    ),
    "none": (lambda weights: {}, r"\d+ of \d+ adapter weights are missing"),
    "another size": (lambda weights: {name: w[:1] for name, w in weights.items()}, "cannot be loaded"),
    "not finite": (lambda weights: {name: w * torch.nan for name, w in weights.items()}, "loaded.*NaN"),
}


@pytest.mark.parametrize("fault", LOST)
def test_lost_adapters_are_refused(fault: str, lora: Path, tmp_path: Path) -> None:
    copy = copied(lora, tmp_path)
    rewritten(copy / "adapter_model.safetensors", LOST[fault][0])
    refused(copy, LOST[fault][1])


def test_embeddings_saved_beside_adapters_are_read(
    whole: Path, lora: Path, adapted_answer: Answer, tmp_path: Path
) -> None:
    copy = copied(lora, tmp_path)
    embeddings = load_file(whole / "model.safetensors")["model.embed_tokens.weight"].float()
    name = "base_model.model.model.embed_tokens.weight"
    rewritten(copy / "adapter_model.safetensors", lambda weights: {**weights, name: embeddings * 2})
    assert ask(copy).visible != adapted_answer.visible


def test_adapters_without_a_processor_take_their_bases(
    lora: Path, adapted_answer: Answer, tmp_path: Path
) -> None:
    copy = copied(lora, tmp_path)
    for path in copy.iterdir():
        if not path.name.startswith("adapter_") and path.name != CONTRACT_FILE:
            path.unlink()
    assert ask(copy) == adapted_answer


def test_a_base_on_the_hub_is_named_with_the_line_to_edit(lora: Path, tmp_path: Path) -> None:
    copy = copied(lora, tmp_path)
    edited(copy / "adapter_config.json", base_model_name_or_path="Qwen/Qwen2.5-VL-7B-Instruct")
    refused(
        copy, r"its base Qwen/Qwen2\.5-VL-7B-Instruct cannot be .*line base_model_name_or_path of .*copy/ada"
    )


ADAPTER_SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "code": ({"auto_map": {"AutoModel": "evil.X"}}, "adapter_config.json asks for code by auto_map"),
    "an import": (
        {"megatron_config": {"a": 1}, "megatron_core": "antigravity"},
        "asks for code by megatron_config",
    ),
    "another kind": ({"peft_type": "IA3"}, "adapters of kind 'IA3'"),
    "no map of the model": ({"target_modules": ["nothing_here"]}, "nothing_here"),
    "a base outside": (
        {"base_model_name_or_path": "../../../../etc"},
        "etc: the folder has no config.json|no such folder",
    ),
}


@pytest.mark.parametrize("fault", ADAPTER_SETTINGS)
def test_settings_of_adapters_are_refused(fault: str, lora: Path, tmp_path: Path) -> None:
    copy = copied(lora, tmp_path)
    values, words = ADAPTER_SETTINGS[fault]
    edited(copy / "adapter_config.json", **values)
    refused(copy, words)


def test_pickled_adapters_are_told_how_to_convert(lora: Path, tmp_path: Path) -> None:
    copy = copied(lora, tmp_path)
    path = copy / "adapter_model.safetensors"
    torch.save(load_file(path), copy / "adapter_model.bin")
    path.unlink()
    refused(copy, r"pickled weights only \(adapter_model.bin\).*safe_serialization=True")


# ---- whole weights --------------------------------------------------------------------------------


def _sharded(folder: Path, lost: bool = False) -> None:
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, held in shards.items():
        save_file({name: weights[name] for name in held}, folder / file, metadata={"format": "pt"})
    placed = {name: file for file, held in shards.items() for name in held}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    (folder / "model.safetensors").unlink()
    if lost:
        (folder / "model-2.safetensors").unlink()


def _todays_names(weights: Weights) -> Weights:
    """As transformers has them in memory, and some trainers save them."""
    return {
        re.sub(r"^visual\.", "model.visual.", re.sub(r"^model\.", "model.language_model.", name)): weight
        for name, weight in weights.items()
    }


def _padded(folder: Path) -> None:
    def pad(weights: Weights) -> Weights:
        rows = weights["model.embed_tokens.weight"]
        return {**weights, "model.embed_tokens.weight": torch.cat([rows, torch.zeros(12, rows.shape[1])])}

    rewritten(folder / "model.safetensors", pad)
    settings = json.loads((folder / "config.json").read_text())
    settings["text_config"]["vocab_size"] += 12
    (folder / "config.json").write_text(json.dumps(settings))


def _with_head(weights: Weights, change: float) -> Weights:
    return {**weights, "lm_head.weight": weights["model.embed_tokens.weight"] * change}


def _weights(change: Callable[[Weights], Weights]) -> Callable[[Path], None]:
    return lambda folder: rewritten(folder / "model.safetensors", change)


def _set(file: str, **values: Any) -> Callable[[Path], None]:
    return lambda folder: edited(folder / file, **values)


def _set_text(**values: Any) -> Callable[[Path], None]:
    """Settings of the language model."""

    def change(folder: Path) -> None:
        held = json.loads((folder / "config.json").read_text())["text_config"]
        edited(folder / "config.json", text_config=held | values)

    return change


def _write(file: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / file).write_text(text)


SAME: dict[str, Callable[[Path], None]] = {
    "in shards": _sharded,
    "other names": _weights(_todays_names),
    "a head that is the embeddings": _weights(lambda weights: _with_head(weights, 1.0)),
    "rows to spare": _padded,
    "another attention": _set("config.json", attn_implementation="flash_attention_2"),
}


@pytest.mark.parametrize("kind", SAME)
def test_whole_weights_of_other_layouts_are_read(
    kind: str, whole: Path, base_answer: Answer, tmp_path: Path
) -> None:
    copy = copied(whole, tmp_path)
    SAME[kind](copy)
    assert ask(copy) == base_answer


LOOP = "{% for a in range(9999) %}{% for b in range(9999) %}{{ '' }}{% endfor %}{% endfor %}"
BREAK_OUT = "{{ cycler.__init__.__globals__.os.system('touch ran') }}"
MAP = {"AutoX": "evil.X"}
HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a shard lost": (lambda p: _sharded(p, lost=True), "model-2.safetensors is missing, which model.safet"),
    "a shard elsewhere": (
        _set("model.safetensors.index.json", weight_map={"a": "../../model.safetensors"}),
        "which is not a file name",
    ),
    "a head of its own": (_weights(lambda w: _with_head(w, 2.0)), "lm_head.weight differs.*tie_word_embed"),
    "a pointer": (
        _write("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "pointer of Git LFS.*git lfs pull",
    ),
    "code of a config": (_set("config.json", auto_map=MAP), "config.json asks for code by auto_map"),
    "code of a tokenizer": (_set("tokenizer_config.json", auto_map=MAP), "tokenizer_config.json asks"),
    "code of a processor": (_set("processor_config.json", auto_map=MAP), "processor_config.json asks"),
    "code of images": (_set("preprocessor_config.json", auto_map=MAP), "preprocessor_config.json asks"),
    "code of videos": (_set("video_preprocessor_config.json", auto_map=MAP), "video_preprocessor_config"),
    "nested code": (_set("processor_config.json", image_processor={"auto_map": MAP}), "asks for code"),
    "kernels": (_set("config.json", attn_implementation="evil/kernel"), "code by attn_implementation"),
    "kernels of a part": (_set_text(_attn_implementation={"": "evil/kernel"}), "by _attn_implementation"),
    "brackets": (_write("config.json", "[" * 100_000), "config.json is damaged"),
    "a list": (_write("config.json", "[1]"), "config.json is damaged"),
    "a far too large config": (_write("config.json", " " * (17 << 20)), "config.json is damaged"),
    "a width in words": (_set_text(hidden_size="many"), "cannot be loaded.*hidden_size"),
    "a width of millions": (
        _set_text(hidden_size=10**7),
        "cannot be loaded|shapes of the weights|billion parameters",
    ),
    "no text model": (_set("config.json", text_config=[]), "cannot be loaded"),
    "another tokenizer": (_write("tokenizer.json", "{}"), "cannot be loaded"),
    "a template that loops": (_write("chat_template.jinja", LOOP), "template.*does not come to an end"),
    "a template that breaks": (_write("chat_template.jinja", "{% for %}"), "cannot be rendered"),
    "a template that breaks out": (_write("chat_template.jinja", BREAK_OUT), "rendered .SecurityError"),
    "a template that shows nothing": (_write("chat_template.jinja", "words"), "writes 0 of 2 images"),
    "not finite": (_weights(lambda w: {**w, min(w): w[min(w)] * torch.nan}), "in float32 its visible prob"),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_hostile_folder_is_refused_and_nothing_of_it_runs(
    fault: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = copied(whole, tmp_path)
    (copy / "evil.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question is asked"))
    HOSTILE[fault][0](copy)
    refused(copy, HOSTILE[fault][1])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_code_of_a_mask_head_is_refused(file: str, mask_head: Path, tmp_path: Path) -> None:
    copy = copied(mask_head, tmp_path)
    edited(copy / file, auto_map={"AutoConfig": "evil.Y"})
    with pytest.raises(UserError, match=rf"mask_head.checkpoint=.*its {file} asks for code by auto_map"):
        MaskHead.load(str(copy), CPU)


def test_a_mask_head_on_the_hub_of_another_type_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "models.checkpoint.PreTrainedConfig.get_config_dict", lambda _name: ({"model_type": "sam"}, {})
    )
    with pytest.raises(UserError, match="holds a 'sam' model; sam2_video is needed"):
        MaskHead.load("facebook/sam-vit-base", CPU)


# ---- what a look at folders shows -----------------------------------------------------------------


def test_a_look_at_folders_passes_what_can_be_loaded(whole: Path, lora: Path, mask_head: Path) -> None:
    check_grounder_checkpoint(GrounderConfig(str(whole)))
    check_grounder_checkpoint(GrounderConfig(str(lora)))
    check_grounder_checkpoint(GrounderConfig("Qwen/Qwen2.5-VL-7B-Instruct"))
    check_mask_head(MaskHeadConfig(str(mask_head)))
    check_mask_head(MASK_HEADS["sam2_1_large"])


def test_a_look_at_folders_tells_what_is_wrong(
    whole: Path, lora: Path, mask_head: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        UserError, match=r"mask_head.checkpoint=.*holds a 'qwen2_5_vl' model; sam2_video is needed"
    ):
        check_mask_head(MaskHeadConfig(str(whole)))
    with pytest.raises(UserError, match=r"model.checkpoint=.*holds a 'sam2_video' model"):
        check_grounder_checkpoint(GrounderConfig(str(mask_head)))
    with pytest.raises(UserError, match="choose one of auto"):
        check_grounder_checkpoint(GrounderConfig(str(whole), contract="tall"))
    copy = copied(lora, tmp_path)
    (copy / CONTRACT_FILE).unlink()
    check_grounder_checkpoint(GrounderConfig(str(copy)))  # its base has a contract
    edited(copy / "adapter_config.json", base_model_name_or_path=str(mask_head))
    with pytest.raises(
        UserError, match=r"adapter_config.json: base_model_name_or_path=.*holds a 'sam2_video'"
    ):
        check_grounder_checkpoint(GrounderConfig(str(copy)))


def test_the_folder_of_a_run_names_its_weights(lora: Path, tmp_path: Path) -> None:
    for name in ("final", "best"):
        shutil.copytree(lora, tmp_path / "run" / name)
        refused(tmp_path / "run", f"its weights are model.checkpoint={tmp_path}/run/{name}")


# ---- numbers that are none ------------------------------------------------------------------------


def test_a_box_of_nan_is_told(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grounder = Grounder.load(GrounderConfig(str(whole), box_threshold=0.0), CPU)

    def spoil(_module: Any, _inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        spoilt = logits.clone()
        spoilt[:, -1] = torch.nan  # behind the decision: of the box's first number
        return spoilt

    hook = grounder.model.lm_head.register_forward_hook(spoil)
    try:
        with pytest.raises(NotFiniteError, match=rf"model.checkpoint={whole}: in float32 its score of a box"):
            grounder.locate([QUESTION])
    finally:
        hook.remove()


def test_what_overflows_float16_is_sent_to_wider_formats(whole: Path) -> None:
    grounder = Grounder.load(GrounderConfig(str(whole), dtype="float16", box_threshold=0.0), CPU)
    with torch.no_grad():
        grounder.model.model.language_model.norm.weight.fill_(60000)
    with pytest.raises(NotFiniteError, match=r"in float16 .* model.dtype=bfloat16 or model.dtype=float32"):
        grounder.locate([QUESTION])


@pytest.mark.parametrize("part", ["pred_obj_score_head", "iou_prediction_head", "upscale_conv2"])
def test_a_mask_heads_nan_is_told(part: str, mask_head: Path) -> None:
    head = MaskHead.load(str(mask_head), CPU)
    features = head.encode(QUESTION.image)
    (first,) = head.segment(features, [(10, 10, 50, 40)], [None])
    with torch.no_grad():
        for weight in head.model.mask_decoder.get_submodule(part).parameters():
            weight.fill_(torch.nan)
    with pytest.raises(NotFiniteError, match=rf"mask_head.checkpoint={mask_head}: in float32 its"):
        head.segment(features, [(10, 10, 50, 40)], [None])
    with pytest.raises(NotFiniteError, match=r"not a finite number"):
        head.propagate([first.memory], features)
