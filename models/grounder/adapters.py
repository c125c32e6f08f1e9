"""LoRA adapters, as peft saves them: added to the weights that they were trained on, or beside them.

Every adapter weight must find its place. The loading function of peft only warns where the names of adapters
do not fit the model, and continues without them.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

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
from models.file_checks import ADAPTER_WEIGHTS, GROUNDER_KEY
from models.grounder.model import QwenVL

PREFIX = "base_model.model."
# Names of Qwen2.5-VL's modules before transformers 4.52 (patterns of what follows the prefix), and present
# ones.
OLD_NAMES = (
    (re.compile(r"model\.(?=(layers|embed_tokens|norm)\.)"), "model.language_model."),
    (re.compile(r"visual\."), "model.visual."),
)
ADAPTER_NAME = re.compile(r"\.(lora_\w+|modules_to_save|trainable_tokens_delta)\.default(?=\.|$)")
EMBEDDINGS = ("embed_tokens", "lm_head")
# Initializations that move a part of the base weights into the adapters, and that cannot be repeated here:
# they draw random numbers, or need the training data. (`pissa` and `olora` move a part too, but peft computes
# the same part again when it loads them.)
UNREPEATABLE = re.compile(r"pissa_niter.*|corda|loftq|lora_ga")


def merged(model: QwenVL, folder: str) -> QwenVL:
    """The model with the adapters of a folder added to its weights. Raises as `attached`."""
    # `safe_merge` raises where the sum is not finite.
    return attached(model, folder).merge_and_unload(safe_merge=True)


def attached(model: QwenVL, folder: str) -> PeftModel:
    """The model with the adapters of a folder beside its weights, in place.

    Quantized weights keep their adapters so: a sum would have to be quantized again, which loses most of
    what the adapters change.

    Names of transformers < 4.52 and names of a raw state dict are translated. The vocabulary is enlarged to
    that of embeddings among the adapters. Tied embeddings are untied if the adapters change only one end, or
    both differently. Raises UserError where an adapter weight is missing or has no place in the model, or
    where the base weights were changed before training, and the exceptions of peft.
    """
    # 1. Read the weights, and translate their names to those that peft and transformers use now.
    found = load_file(Path(folder) / ADAPTER_WEIGHTS)
    weights = {_plain_name(name): weight for name, weight in found.items()}
    config: LoraConfig = LoraConfig.from_pretrained(folder)
    config.inference_mode = True
    _check_initialization(folder, config)
    renamed = {_present_name(name): weight for name, weight in weights.items()}
    if renamed.keys() != weights.keys():
        config.target_modules = _targets(model, config, renamed)
    # 2. Prepare the embeddings: as many rows as in training, and separate ends if they were trained apart.
    _resize_embeddings(model, renamed)
    if model.config.tie_word_embeddings and _changes_embeddings(config, renamed):
        _untie_embeddings(model)
    # 3. Create empty adapters, and check that the names agree with those of the file.
    # Tied weights have two names, and trainers may save both.
    named = model.named_parameters(remove_duplicate=False)
    shapes = {f"{PREFIX}{name}": weight.shape for name, weight in named}
    adapted = PeftModel(model, config)
    # By default peft may look up the base weights on the hub, to see whether their vocabulary was changed.
    expected = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    _check_names(folder, expected.keys(), renamed, shapes)
    # 4. Fill the adapters.
    set_peft_model_state_dict(adapted, renamed)
    return adapted


def named_base(adapters: PeftModel, checkpoint: str) -> None:
    """Record the checkpoint of the base weights in adapters, as an absolute path if it is a folder.

    A relative path would be looked up from the current folder of whoever loads the adapters.
    """
    here = Path(checkpoint)
    adapters.peft_config["default"].base_model_name_or_path = (
        str(real_path(here)) if here.is_dir() else checkpoint
    )


def _check_initialization(folder: str, config: LoraConfig) -> None:
    """Raise UserError for adapters that fit only base weights which were changed before the training."""
    if UNREPEATABLE.fullmatch(str(config.init_lora_weights)):
        raise UserError(
            f"{GROUNDER_KEY}={folder}: its init_lora_weights={config.init_lora_weights} changed the base "
            "weights before the training, which cannot be repeated; merge them where they were trained"
        )


def _resize_embeddings(model: QwenVL, weights: Mapping[str, torch.Tensor]) -> None:
    """Enlarge the embeddings to the rows of embeddings among the adapters, in place.

    Trainers save both where they have enlarged the vocabulary, for example to a multiple of 64.
    """
    ends = tuple(f"{name}.weight" for name in EMBEDDINGS)
    rows = max(
        (len(weight) for name, weight in weights.items() if _model_name(name).endswith(ends)), default=0
    )
    embeddings: Any = model.get_input_embeddings()
    if rows > len(embeddings.weight):
        model.resize_token_embeddings(rows, mean_resizing=False)  # the adapters overwrite all of them


def _changes_embeddings(config: LoraConfig, weights: Collection[str]) -> bool:
    """Whether adapters change input or output embeddings separately, given the names of their weights."""
    # Here peft trained both ends as one.
    if getattr(config, "ensure_weight_tying", False):
        return False
    saved = [name.split(".")[-1] for name in config.modules_to_save or ()]
    has_lora = any(f"{end}.lora_" in name for end in EMBEDDINGS for name in weights)
    return has_lora or any(end in saved for end in EMBEDDINGS)


def _untie_embeddings(model: QwenVL) -> None:
    """Give the output embeddings weights of their own, with the same values, in place."""
    head: Any = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    # Both are read: by the class of the model, and by that of the language model.
    config: Any = model.config
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = False


def _plain_name(name: str) -> str:
    """The name of an adapter weight as peft saves it: with the prefix, without the name of the adapter."""
    name = ADAPTER_NAME.sub(r".\1", name)
    return name if name.startswith(PREFIX) else PREFIX + name


def _present_name(name: str) -> str:
    """The present name of a weight, whose name may be that of an earlier version of transformers."""
    inner = name.removeprefix(PREFIX)
    for pattern, new in OLD_NAMES:
        if pattern.match(inner):
            return PREFIX + pattern.sub(new, inner, count=1)
    return name


def _model_name(name: str) -> str:
    """The name of a weight in the model without adapters; peft saves the embeddings that LoRA adapts too."""
    return name.replace(".base_layer.", ".")


def _old_name(name: str) -> str:
    """The name that a module had before transformers 4.52."""
    return name.replace("model.language_model.", "model.", 1).replace("model.visual.", "visual.", 1)


def _targets(model: QwenVL, config: LoraConfig, weights: Collection[str]) -> list[str]:
    """The modules that the settings of old adapters refer to, given the weights by their present names.

    A pattern that was written for the old names may match other modules by their present names. Some patterns
    fit both. So a module is a target if its old name matches, and only if adapter weights are left over, also
    if its present name does.
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
    """Raise UserError where adapter weights are missing, or have no place in the model.

    Weights of the model itself are accepted if they have its `shapes`: some trainers save the embeddings too.
    """
    # Both directions are checked: adapters that the file lacks, and weights that the model has no place for.
    missing = sorted(set(expected) - found.keys())
    foreign = sorted(
        name
        for name, weight in found.items()
        if name not in expected and weight.shape != shapes.get(_model_name(name))
    )
    if not found or not expected or missing or foreign:
        kind, first = ("missing", missing) if missing or not foreign else ("unknown", foreign)
        raise UserError(
            f"{GROUNDER_KEY}={folder}: {len(missing)} of {len(expected)} adapter weights are missing and "
            f"{len(foreign)} are unknown, the first that is {kind} is {(first or ['any'])[0]}; restore "
            f"{ADAPTER_WEIGHTS}, or merge where they were trained"
        )
