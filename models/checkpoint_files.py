"""Checks of a checkpoint's folder before any weight is loaded. Imports no torch.

They raise an error of one line for what is certainly wrong: a missing folder, another type of model, settings
that ask for code of their own, truncated weights, and a missing contract.
"""

import json
from pathlib import Path
from typing import Any

from configs.errors import UserError
from data_prep.contract.contract import BUILT_IN, Contract, read_contract
from data_prep.contract.wordings import VPTRACKER_TOKENS
from data_prep.files import real_path
from models.config import GrounderConfig
from models.config_checks import sized_contract
from models.families import FAMILIES
from models.file_checks import (
    ADAPTER_CONFIG,
    CONFIG,
    GROUNDER_KEY,
    check_adapter_files,
    check_no_code,
    check_weight_files,
    read_settings,
    weights_within,
)

PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")  # the newer and the older layout
BASE = "base_model_name_or_path"
# Bytes at the start of tokenizer.json that are searched for added tokens, which stand before the vocabulary.
TOKENIZER_HEAD = 1 << 18

OTHER_OPTIONS = {"sam3_video": "sam3", "sam3": "sam3"}
"""Options of `model=` that read types of checkpoints which are no multimodal LLM."""
CONTRACTS_BY_TOKENS: dict[str, frozenset[str]] = {
    "vptracker": frozenset(VPTRACKER_TOKENS),
}
"""Built-in contracts of published checkpoints that are recognised by tokens added to their vocabulary."""


# ---- checkpoints of a grounder --------------------------------------------------------------------


def check_grounder_checkpoint(config: GrounderConfig, needs_weights: bool = True) -> None:
    """Check the folder of a grounder, and for adapters also the folder of their base weights.

    Without `needs_weights` the folder may lack the weights, which a server has. Nothing is downloaded. Of a
    hub id that is not in the cache only the form is checked, and the contract if it is named or that of a
    published checkpoint. Raises UserError.
    """
    base = base_of(GROUNDER_KEY, config.checkpoint)
    if base is not None:
        check_no_code(GROUNDER_KEY, config.checkpoint)
        if needs_weights:
            check_adapter_files(config.checkpoint)
    weights = base or config.checkpoint
    check_checkpoint(key_of(config.checkpoint, base), weights, tuple(FAMILIES), needs_weights)
    is_downloaded = local_folder(weights) is not None
    if is_downloaded or config.contract != "auto" or published_contract(weights) is not None:
        sized_contract(config, find_contract(config))


def check_checkpoint(
    key: str, checkpoint: str, model_types: tuple[str, ...], needs_weights: bool = True
) -> None:
    """Check that a folder has a checkpoint of one of these types.

    `key` is the configuration key for messages. A name `owner/name` that is not a folder is left to the hub.
    Raises UserError for an empty name, and for a folder that does not exist, has no readable config.json, has
    a model of another type, settings that ask for code, or incomplete weights.
    """
    if not checkpoint:  # an empty path is the current folder, which is not meant
        raise UserError(f"{key}=: is empty; name a folder, or a hub id of the form owner/name")
    folder = Path(checkpoint)
    # A name that could be a hub id is left to the hub; anything else must be a folder.
    if not folder.exists():
        if checkpoint.startswith((".", "/", "~")) or checkpoint.count("/") != 1:
            raise UserError(f"{key}={checkpoint}: no such folder, nor a hub id of the form owner/name")
        return
    # Users often name the folder of a training run instead of the weights in it.
    if not (folder / CONFIG).is_file():
        found = weights_within(folder)
        remedy = "name the folder with the weights" if found is None else f"its weights are {key}={found}"
        raise UserError(f"{key}={checkpoint}: the folder has no config.json; {remedy}")
    settings = read_settings(key, folder / CONFIG)
    check_model_type(key, checkpoint, settings.get("model_type"), model_types)
    check_no_code(key, checkpoint)
    if needs_weights:
        check_weight_files(key, folder, is_quantized="quantization_config" in settings)


def check_model_type(key: str, checkpoint: str, found: Any, model_types: tuple[str, ...]) -> None:
    """Raise UserError for a model of another type than `model_types`."""
    if found not in model_types:
        needed = model_types[0] if len(model_types) == 1 else f"one of {', '.join(model_types)}"
        # A checkpoint of a grounder that is registered by another class of settings.
        is_other = key == GROUNDER_KEY and found in OTHER_OPTIONS
        remedy = f"; take model={OTHER_OPTIONS[found]} for it" if is_other else ""
        raise UserError(f"{key}={checkpoint}: holds a {found!r} model; {needed} is needed{remedy}")


# ---- adapters -------------------------------------------------------------------------------------


def base_of(key: str, checkpoint: str) -> str | None:
    """The checkpoint of the base weights of adapters; None for a checkpoint that is not a folder of adapters.

    A relative path is looked up from the folder of the adapters, then from the current folder. `key` is the
    configuration key for messages. Raises UserError where the folder does not name its base, or names a
    folder that does not exist or that contains adapters again.
    """
    path = Path(checkpoint) / ADAPTER_CONFIG
    if not path.is_file():
        return None
    base = read_settings(key, path).get(BASE)
    if not isinstance(base, str) or not base:
        raise UserError(f"{key}={checkpoint}: its {ADAPTER_CONFIG} names no {BASE}; restore it")
    # Adapters record where their base was in training, which may be another machine.
    if Path(base).is_absolute() and not Path(base).is_dir():
        raise UserError(f"{path}: its weights were in {base}, which is gone; write where they are now")
    beside = Path(checkpoint) / base
    found = str(real_path(beside)) if beside.is_dir() else base
    if (Path(found) / ADAPTER_CONFIG).is_file():
        raise UserError(
            f"{path}: {BASE}={base} is a folder of adapters; merge those first "
            f"(bash train.sh task=merge {key}={base}) and name the merged folder"
        )
    return found


def key_of(checkpoint: str, base: str | None) -> str:
    """The key for messages about weights.

    It is the configuration key, or the line of adapter_config.json that names the base of adapters.
    """
    return GROUNDER_KEY if base is None else f"{Path(checkpoint) / ADAPTER_CONFIG}: {BASE}"


def processor_folder(checkpoint: str, base: str | None) -> str:
    """The folder of a checkpoint's processor. Adapters without a processor use that of their base."""
    own = any((Path(checkpoint) / name).is_file() for name in PROCESSOR_FILES)
    return checkpoint if own or base is None else base


# ---- contracts ------------------------------------------------------------------------------------


def published_contract(checkpoint: str) -> str | None:
    """The name of the built-in contract of published weights, by their hub id; None for other names."""
    found = (family.contract for family in FAMILIES.values() if checkpoint.startswith(family.hub_prefix))
    return next(found, None)


def find_contract(config: GrounderConfig, opens_thought: bool = False) -> Contract:
    """The contract that a checkpoint is asked by: the one that `model.contract` names, or `known_contract`.

    Raises UserError where there is neither, where the name is unknown, or where the named one differs from
    contract.json. `opens_thought` is that of `known_contract`.
    """
    if config.contract == "auto":
        if (known := known_contract(config.checkpoint, opens_thought)) is not None:
            return known
        raise UserError(
            f"{GROUNDER_KEY}={config.checkpoint}: has no contract.json and is not a known published "
            f"model; say how it was trained with model.contract={'|'.join(BUILT_IN)}"
        )
    if config.contract not in BUILT_IN:
        raise UserError(f"model.contract={config.contract}: choose one of auto, {', '.join(BUILT_IN)}")
    # A contract in the folder is how the weights were trained, so a named one must not contradict it.
    named, carried = BUILT_IN[config.contract], read_contract(Path(config.checkpoint))
    if carried is not None and carried != named:
        differing = [name for name in vars(named) if getattr(named, name) != getattr(carried, name)]
        raise UserError(
            f"model.contract={config.contract}: differs from {config.checkpoint}/contract.json in "
            f"{', '.join(differing)}; leave model.contract out"
        )
    return named


def known_contract(checkpoint: str, opens_thought: bool = False) -> Contract | None:
    """The contract of a checkpoint, as far as its files show it; None where they do not.

    A hub id is looked up in the cache of the hub; nothing is downloaded. `opens_thought`: its chat template
    opens a thought before the answer, so a contract for thinking models is taken if there is one.
    Raises UserError where a file of the checkpoint is damaged.
    """
    base = base_of(GROUNDER_KEY, checkpoint)
    # 1. A contract.json, then added tokens: first of the adapters, then of the weights under them.
    weights = base or checkpoint
    for folder in filter(None, map(local_folder, dict.fromkeys((checkpoint, weights)))):
        if (carried := read_contract(folder)) is not None:
            return carried
        if (by_tokens := contract_by_tokens(added_tokens(folder))) is not None:
            return BUILT_IN[by_tokens]
    # 2. The family of the weights, by config.json, or by the name on the hub before they are downloaded.
    source = local_folder(weights)
    if source is not None and (source / CONFIG).is_file():
        family = FAMILIES.get(str(read_settings(GROUNDER_KEY, source / CONFIG).get("model_type")))
        name = None if family is None else family.contract
    else:
        name = published_contract(weights)
    if opens_thought and f"{name}_thinking" in BUILT_IN:
        name = f"{name}_thinking"
    return None if name is None else BUILT_IN.get(name)


def contract_by_tokens(tokens: set[str]) -> str | None:
    """The built-in contract of a checkpoint whose vocabulary has these added tokens; None for any other."""
    found = (name for name, needed in CONTRACTS_BY_TOKENS.items() if needed <= tokens and name in BUILT_IN)
    return next(found, None)


def added_tokens(folder: Path) -> set[str]:
    """The tokens that were added to the vocabulary of a tokenizer, by the files in its folder.

    Each file may list all of them or a part, depending on the version of transformers that wrote it.
    """
    settings: dict[str, Any] = {}
    for name in ("tokenizer_config.json", "added_tokens.json"):
        if (folder / name).is_file():
            settings[name] = read_settings(GROUNDER_KEY, folder / name)
    config = settings.get("tokenizer_config.json", {})
    listed: list[Any] = [*settings.get("added_tokens.json", {}), *_tokenizer_head(folder)]
    for key in ("additional_special_tokens", "extra_special_tokens", "added_tokens_decoder"):
        values = config.get(key) or []
        listed += values.values() if isinstance(values, dict) else values
    # A token is a string, or a dictionary with the string and how it is matched.
    contents = (token.get("content") if isinstance(token, dict) else token for token in listed)
    return {token for token in contents if isinstance(token, str)}


def _tokenizer_head(folder: Path) -> list[Any]:
    """The added tokens in tokenizer.json. The file has some megabytes, and they stand at its start."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", errors="replace") as stream:
        _, found, tokens = stream.read(TOKENIZER_HEAD).partition('"added_tokens":')
    try:
        values, _ = json.JSONDecoder().raw_decode(tokens.lstrip()) if found else ([], 0)
    except ValueError:  # damaged or longer; loading the tokenizer will tell
        return []
    return values if isinstance(values, list) else []


def local_folder(checkpoint: str) -> Path | None:
    """The folder of a checkpoint; for a hub id that in the cache of the hub, None if it is not there."""
    if Path(checkpoint).is_dir():
        return Path(checkpoint)
    # Imported here, because it takes a tenth of a second that local folders do not need.
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(checkpoint, CONFIG)
    except ValueError:  # no hub id
        return None
    return Path(found).parent if isinstance(found, str) else None
