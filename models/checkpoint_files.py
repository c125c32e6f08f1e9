"""Checks of a checkpoint's folder before any weight is loaded. Imports no torch.

They raise an error of one line for what is certainly wrong: a missing folder, another type of model, settings
that ask for code of their own, truncated weights, and a missing contract.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from configs.errors import UserError
from data_prep.contract.contract import BUILT_IN, Contract, read_contract
from data_prep.files import real_path
from models.config import GrounderConfig, MaskHeadConfig, sized_contract
from models.families import FAMILIES

GROUNDER_KEY, MASK_HEAD_KEY = "model.checkpoint", "mask_head.checkpoint"
MASK_HEAD_MODEL_TYPE = "sam2_video"
CONFIG, ADAPTER_CONFIG, ADAPTER_WEIGHTS = "config.json", "adapter_config.json", "adapter_model.safetensors"
INTEGERS = ("I", "U", "BOOL")  # prefixes of the safetensors types that are not floating-point
INTEGER_BUFFERS = ("_ids", "_index", "num_batches_tracked")
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")  # the newer and the older layout
BASE = "base_model_name_or_path"
LARGEST_CONFIG = 16 << 20  # bytes; published ones have some thousand
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
# Settings by which a library executes code beside the weights, or imports modules that they name.
CODE_SETTINGS = ("auto_map", "megatron_config", "use_kernels", "kernel_config")


# ---- checkpoints of a grounder and of a mask head -------------------------------------------------


def check_grounder_checkpoint(config: GrounderConfig) -> None:
    """Check the folder of a grounder, and for adapters also the folder of their base weights.

    Of a hub id only the form and the contract are checked; nothing is downloaded. Raises UserError.
    """
    base = base_of(GROUNDER_KEY, config.checkpoint)
    if base is not None:
        check_no_code(GROUNDER_KEY, config.checkpoint)
        check_adapter_files(config.checkpoint)
    check_checkpoint(key_of(config.checkpoint, base), base or config.checkpoint, tuple(FAMILIES))
    sized_contract(config, find_contract(config))


def check_mask_head_checkpoint(config: MaskHeadConfig) -> None:
    """Check the folder of a SAM 2 checkpoint. Raises UserError."""
    check_checkpoint(MASK_HEAD_KEY, config.checkpoint, (MASK_HEAD_MODEL_TYPE,))


def check_checkpoint(key: str, checkpoint: str, model_types: tuple[str, ...]) -> None:
    """Check that a folder has a checkpoint of one of these types.

    `key` is the configuration key for messages. A name `owner/name` that is not a folder is left to the hub.
    Raises UserError for a folder that does not exist, has no readable config.json, has a model of another
    type, settings that ask for code, or incomplete weights.
    """
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
    _check_weight_files(key, folder, is_quantized="quantization_config" in settings)


def check_model_type(key: str, checkpoint: str, found: Any, model_types: tuple[str, ...]) -> None:
    """Raise UserError for a model of another type than `model_types`."""
    if found not in model_types:
        raise UserError(f"{key}={checkpoint}: holds a {found!r} model; {' or '.join(model_types)} is needed")


# ---- settings -------------------------------------------------------------------------------------


def read_settings(key: str, path: Path) -> dict[str, Any]:
    """The JSON object in a file of a checkpoint. Raises UserError where there is none, or
    it is far too large.
    """
    try:
        if (size := path.stat().st_size) > LARGEST_CONFIG:
            raise ValueError(f"{size} bytes")
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as fault:
        raise UserError(f"{key}={path.parent}: its {path.name} is spoilt ({fault}); restore it") from None


def check_no_code(key: str, checkpoint: str) -> None:
    """Raise UserError where a setting of a local folder asks for code, which is never executed."""
    # config.json, generation_config.json, processor_config.json and the like.
    for path in sorted(Path(checkpoint).glob("*config*.json")):
        if setting := code_setting(read_settings(key, path)):
            raise UserError(
                f"{key}={checkpoint}: its {path.name} asks for code by {setting}, which is never run; "
                "take weights that need none, or remove that setting"
            )


def code_setting(settings: dict[str, Any]) -> str | None:
    """The first setting anywhere in nested settings that makes a library execute code; None: there is none.

    These are `CODE_SETTINGS`, and implementations of attention that are downloaded from the hub.
    """
    # A list of what is left to visit, because recursion would fail on settings that are nested deeply.
    to_visit: list[Any] = [settings]
    while to_visit:
        value = to_visit.pop()
        if isinstance(value, list):
            to_visit += value
        elif isinstance(value, dict):
            for name, found in value.items():
                if (name in CODE_SETTINGS and found) or (
                    name.endswith("_implementation") and "/" in json.dumps(found)
                ):
                    return str(name)
                to_visit.append(found)
    return None


# ---- weights --------------------------------------------------------------------------------------


def weights_within(folder: Path) -> Path | None:
    """The folder of the weights in the folder of a training run: `best`, else `final`, else
    `model`; or None.
    """
    for name in ("best", "final", "model"):
        if any((folder / name / config).is_file() for config in (CONFIG, ADAPTER_CONFIG)):
            return folder / name
    return None


def check_adapter_files(checkpoint: str) -> None:
    """Raise UserError for adapters that are not LoRA, or whose weights are incomplete."""
    folder = Path(checkpoint)
    kind = read_settings(GROUNDER_KEY, folder / ADAPTER_CONFIG).get("peft_type")
    if kind != "LORA":
        raise UserError(
            f"{GROUNDER_KEY}={checkpoint}: holds adapters of kind {kind!r}, and only LORA can be read; "
            "merge them where they were trained"
        )
    _check_weight_files(GROUNDER_KEY, folder)
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise UserError(f"{GROUNDER_KEY}={checkpoint}: the folder has no {ADAPTER_WEIGHTS}; restore it")


def _check_weight_files(key: str, folder: Path, is_quantized: bool = False) -> None:
    """Raise UserError where a folder's safetensors are missing or cut short, or hold integers as weights."""
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        if pickles:
            raise UserError(
                f"{key}={folder}: holds pickled weights only ({pickles[0]}), which may run code and "
                "are never read; where you trust them, load them in transformers or peft and write them "
                "with save_pretrained(folder, safe_serialization=True), as safetensors"
            )
        raise UserError(f"{key}={folder}: holds no weights (model.safetensors); restore them")
    # Opening a file reads its header, which is enough to notice truncation: the header states the length of
    # the data.
    for path in paths:
        if fault := _fault_of(path) or (None if is_quantized else _integer_weight(path)):
            raise UserError(f"{key}={folder}: {path.name} {fault}")
    # Large checkpoints have several files, listed in an index.
    for index in sorted(folder.glob("*.safetensors.index.json")):
        for name in _shards(key, index):
            if not (folder / name).is_file():
                raise UserError(f"{key}={folder}: {name} is missing, which {index.name} names; restore it")


def _shards(key: str, index: Path) -> Iterator[str]:
    """The names of files in an index of weights. Raises UserError for a name with a path."""
    found = read_settings(key, index).get("weight_map")
    names = set(found.values()) if isinstance(found, dict) else set()
    for name in sorted(map(str, names)):
        # A name with a path could lead to files outside the folder.
        if Path(name).name != name:
            raise UserError(f"{key}={index.parent}: {index.name} names {name!r}, which is no file beside it")
        yield name


def _fault_of(path: Path) -> str | None:
    """Why a file of weights cannot be read; None where its header is valid."""
    try:
        with safe_open(path, framework="numpy"):
            return None
    except (OSError, SafetensorError) as fault:
        with suppress(OSError), path.open("rb") as stream:  # a folder, or a link that leads nowhere
            if stream.read(48).startswith(b"version https://git-lfs"):
                return "is a pointer of Git LFS instead of the weights; fetch them with git lfs pull"
        return f"is cut short or no safetensors file ({fault}); copy it again"


def _integer_weight(path: Path) -> str | None:
    """The first weight of a file that is stored as integers or booleans; None where there is none.

    transformers converts it to the model's floats without a warning, so a model would run with truncated
    weights. Only quantized checkpoints, whose config says so, and a few buffers are integers for a reason.
    """
    with safe_open(path, framework="numpy") as weights:
        for name in weights.keys():  # noqa: SIM118  # no mapping
            stored = weights.get_slice(name).get_dtype()
            if stored.startswith(INTEGERS) and not name.endswith(INTEGER_BUFFERS):
                return f"holds {name} as {stored}, but weights are floating-point numbers; save it again"
    return None


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
    """The key for messages about weights: the configuration key, or the line that names the
    base of adapters.
    """
    return GROUNDER_KEY if base is None else f"{Path(checkpoint) / ADAPTER_CONFIG}: {BASE}"


def processor_folder(checkpoint: str, base: str | None) -> str:
    """The folder of a checkpoint's processor. Adapters without a processor use that of their base."""
    own = any((Path(checkpoint) / name).is_file() for name in PROCESSOR_FILES)
    return checkpoint if own or base is None else base


# ---- contracts ------------------------------------------------------------------------------------


def published_contract(checkpoint: str) -> str | None:
    """The name of the built-in contract of published weights on the hub; None for other checkpoints."""
    found = (family.contract for family in FAMILIES.values() if checkpoint.startswith(family.hub_prefix))
    return next(found, None)


def find_contract(config: GrounderConfig) -> Contract:
    """The contract in a checkpoint's folder, or the built-in one that `model.contract` names.

    Raises UserError where there is neither, where the name is unknown, or where the two differ.
    """
    # A contract in the folder is how the weights were trained, so a named one must not contradict it.
    carried = read_contract(Path(config.checkpoint))
    if config.contract == "auto":
        if carried is not None:
            return carried
        if name := published_contract(config.checkpoint):
            return BUILT_IN[name]
        raise UserError(
            f"{GROUNDER_KEY}={config.checkpoint}: carries no contract.json; say how it was trained "
            f"with model.contract={'|'.join(BUILT_IN)}"
        )
    if config.contract not in BUILT_IN:
        raise UserError(f"model.contract={config.contract}: choose one of auto, {', '.join(BUILT_IN)}")
    named = BUILT_IN[config.contract]
    if carried is not None and carried != named:
        differing = [name for name in vars(named) if getattr(named, name) != getattr(carried, name)]
        raise UserError(
            f"model.contract={config.contract}: differs from {config.checkpoint}/contract.json in "
            f"{', '.join(differing)}; leave model.contract out"
        )
    return named
