"""LoRA adapters, as peft saves them: putting them into the weights that they belong to, without losing any.

peft's own loading only warns where the names of adapters do not fit the model, and goes on without them.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from peft.tuners.tuners_utils import check_target_module_exists
from safetensors.torch import load_file

from configs.errors import UserError
from data_prep.files import real_path
from models.checkpoint_files import ADAPTER_WEIGHTS, GROUNDER_KEY
from models.grounder.model import QwenVL

PREFIX = "base_model.model."
# Qwen2.5-VL's names before transformers 4.52, as patterns of what follows the prefix, and today's.
OLD_NAMES = (
    (re.compile(r"model\.(?=(layers|embed_tokens|norm)\.)"), "model.language_model."),
    (re.compile(r"visual\."), "model.visual."),
)
ADAPTER_NAME = re.compile(r"\.(lora_\w+|modules_to_save|trainable_tokens_delta)\.default(?=\.|$)")


def merged(model: QwenVL, folder: str) -> QwenVL:
    """The model with the adapters of a folder added to its weights.

    Names as transformers < 4.52 had them, and those of a raw state dict, are taken for today's. Raises
    UserError where an adapter is missing or has no place in the model, and whatever peft raises.
    """
    found = load_file(Path(folder) / ADAPTER_WEIGHTS)
    weights = {_plain_name(name): weight for name, weight in found.items()}
    config: LoraConfig = LoraConfig.from_pretrained(folder)
    config.inference_mode = True
    renamed = {_todays_name(name): weight for name, weight in weights.items()}
    if renamed.keys() != weights.keys():
        config.target_modules = _targets(model, config, renamed)
    shapes = {f"{PREFIX}{name}": weight.shape for name, weight in model.named_parameters()}
    adapted = PeftModel(model, config)
    expected = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    _check_names(folder, expected.keys(), renamed, shapes)
    set_peft_model_state_dict(adapted, renamed)
    return adapted.merge_and_unload(safe_merge=True)  # which refuses what is not finite


def named_base(adapters: PeftModel, checkpoint: str) -> None:
    """Let saved adapters say which checkpoint they belong to, wherever they are read from."""
    here = Path(checkpoint)
    adapters.peft_config["default"].base_model_name_or_path = (
        str(real_path(here)) if here.is_dir() else checkpoint
    )


def _plain_name(name: str) -> str:
    """The name of an adapter's weight as peft saves it: without the adapter's own name, with the prefix."""
    name = ADAPTER_NAME.sub(r".\1", name)
    return name if name.startswith(PREFIX) else PREFIX + name


def _todays_name(name: str) -> str:
    """The name that transformers gives today to what follows the prefix."""
    inner = name.removeprefix(PREFIX)
    for pattern, new in OLD_NAMES:
        if pattern.match(inner):
            return PREFIX + pattern.sub(new, inner, count=1)
    return name


def _old_name(name: str) -> str:
    """The name of a module before transformers 4.52."""
    return name.replace("model.language_model.", "model.", 1).replace("model.visual.", "visual.", 1)


def _targets(model: QwenVL, config: LoraConfig, weights: Collection[str]) -> list[str]:
    """The modules that the settings of old adapters mean, given the weights by today's names.

    A pattern written for the old names may match other modules by today's; but some patterns fit both.
    """
    names = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    by_old_names = [name for name in names if check_target_module_exists(config, _old_name(name))]
    adapted = {name.removeprefix(PREFIX).split(".lora_")[0] for name in weights if ".lora_" in name}
    if adapted <= set(by_old_names):
        return by_old_names
    return [name for name in names if name in by_old_names or check_target_module_exists(config, name)]


def _check_names(
    folder: str,
    expected: Collection[str],
    found: Mapping[str, torch.Tensor],
    shapes: Mapping[str, torch.Size],
) -> None:
    """Raise UserError where weights of adapters are missing, or have no place in the model.

    `shapes` are those of the model's own weights: some trainers save whole embeddings beside the adapters.
    """
    missing = sorted(set(expected) - found.keys())
    foreign = sorted(
        name for name, weight in found.items() if name not in expected and weight.shape != shapes.get(name)
    )
    if not found or not expected or missing or foreign:
        kind, first = ("missing", missing) if missing or not foreign else ("unknown", foreign)
        raise UserError(
            f"{GROUNDER_KEY}={folder}: {len(missing)} of {len(expected)} adapter weights are missing and "
            f"{len(foreign)} are unknown, the first that is {kind} is {(first or ['any'])[0]}; restore "
            f"{ADAPTER_WEIGHTS}, or merge where they were trained"
        )
