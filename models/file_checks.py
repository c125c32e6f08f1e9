"""Checks of single files in a checkpoint's folder: settings and weights. Imports no torch.

Files come from elsewhere. Settings may ask for code, which is never executed, and a file of weights may be
cut short, or be a pickle, which is never read. Every fault is a `UserError` of one line that names the file.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from configs.errors import UserError

GROUNDER_KEY, MASK_HEAD_KEY = "model.checkpoint", "mask_head.checkpoint"
CONFIG, ADAPTER_CONFIG, ADAPTER_WEIGHTS = "config.json", "adapter_config.json", "adapter_model.safetensors"
INTEGERS = ("I", "U", "BOOL")  # prefixes of the safetensors types that are not floating-point
INTEGER_BUFFERS = ("_ids", "_index", "num_batches_tracked")
LARGEST_CONFIG = 16 << 20  # bytes; published ones have some thousand
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
# Settings by which a library executes code beside the weights, or imports modules that they name.
CODE_SETTINGS = ("auto_map", "megatron_config", "use_kernels", "kernel_config")


# ---- settings -------------------------------------------------------------------------------------


def read_settings(key: str, path: Path) -> dict[str, Any]:
    """The JSON object in a file of a checkpoint.

    Raises UserError where the file is missing, larger than `LARGEST_CONFIG` bytes, or not a JSON object.
    """
    try:
        if (size := path.stat().st_size) > LARGEST_CONFIG:
            raise ValueError(f"{size} bytes")
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as fault:
        raise UserError(f"{key}={path.parent}: its {path.name} is damaged ({fault}); restore it") from None


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
    """The first setting anywhere in nested settings that makes a library execute code, or None.

    These are `CODE_SETTINGS`, and implementations of attention that are downloaded from the hub.
    """
    for each in nested_settings(settings):
        for name, found in each.items():
            if (name in CODE_SETTINGS and found) or (
                name.endswith("_implementation") and "/" in json.dumps(found)
            ):
                return str(name)
    return None


def nested_settings(settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All dictionaries in nested settings, the outermost one first."""
    # A list of what is left to visit, because recursion would fail on settings that are nested deeply.
    to_visit: list[Any] = [settings]
    while to_visit:
        value = to_visit.pop()
        if isinstance(value, list):
            to_visit += value
        elif isinstance(value, dict):
            yield value
            to_visit += value.values()


# ---- weights --------------------------------------------------------------------------------------


def weights_within(folder: Path) -> Path | None:
    """The folder of the weights in the folder of a training run, or None.

    It is `best`, else `final`, else `model`.
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
    check_weight_files(GROUNDER_KEY, folder)
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise UserError(f"{GROUNDER_KEY}={checkpoint}: the folder has no {ADAPTER_WEIGHTS}; restore it")


def check_weight_files(key: str, folder: Path, is_quantized: bool = False) -> None:
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
            raise UserError(f"{key}={index.parent}: {index.name} names {name!r}, which is not a file name")
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
    """The first weight of a file that is stored as integers or booleans, or None.

    transformers converts it to the model's floats without a warning, so a model would run with truncated
    weights. Only quantized checkpoints, whose config says so, and a few buffers are integers for a reason.
    """
    with safe_open(path, framework="numpy") as weights:
        for name in weights.keys():  # noqa: SIM118  # no mapping
            stored = weights.get_slice(name).get_dtype()
            if stored.startswith(INTEGERS) and not name.endswith(INTEGER_BUFFERS):
                return f"holds {name} as {stored}, but weights are floating-point numbers; save it again"
    return None


def embedding_rows(folder: Path) -> int | None:
    """The number of rows of a model's token embeddings, from the headers of its weights; None: not found."""
    for path in sorted(folder.glob("*.safetensors")):
        with suppress(OSError, SafetensorError), safe_open(path, framework="numpy") as weights:
            for name in weights.keys():  # noqa: SIM118  # no mapping
                if name.endswith("embed_tokens.weight"):
                    return int(weights.get_slice(name).get_shape()[0])
    return None
