"""Finding weights: a local folder, or a hub id that transformers fetches once and keeps."""

import json
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError

from configs.errors import UserError

LOAD_FAULTS = (OSError, RuntimeError, ValueError, SafetensorError)  # what a spoilt checkpoint raises
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(name: str) -> torch.device:
    """`auto` is the first GPU where there is one, else the CPU. Raises UserError where there is no GPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"device={name}: this machine has no GPU that torch can use; take device=cpu")
    return torch.device(name)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number format of the weights: `auto` is bfloat16 on a GPU and float32 on a CPU."""
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if name not in DTYPES:
        raise UserError(f"dtype={name}: choose one of auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def check_checkpoint(key: str, checkpoint: str, model_types: tuple[str, ...]) -> None:
    """Refuse, in one line, what is surely not a checkpoint of the wanted kind.

    `key` is the configuration key to name. A name of the form `owner/name` with no such folder is
    left to the hub. Raises UserError for a folder that does not exist, has no config.json that can be
    read, or holds a model of another type.
    """
    folder = Path(checkpoint)
    if not folder.exists():
        if checkpoint.startswith((".", "/", "~")) or checkpoint.count("/") != 1:
            raise UserError(f"{key}={checkpoint}: no such folder, nor a hub id of the form owner/name")
        return
    config = folder / "config.json"
    if not config.is_file():
        raise UserError(
            f"{key}={checkpoint}: the folder has no config.json; name the folder with the weights"
        )
    try:
        found = dict(json.loads(config.read_text())).get("model_type")
    except (ValueError, TypeError) as fault:
        raise UserError(f"{key}={checkpoint}: its config.json is spoilt ({fault}); restore it") from None
    check_model_type(key, checkpoint, found, model_types)


def check_model_type(key: str, checkpoint: str, found: str | None, model_types: tuple[str, ...]) -> None:
    """Raise UserError for a model of another type than those wanted."""
    if found not in model_types:
        raise UserError(f"{key}={checkpoint}: holds a {found!r} model; {' or '.join(model_types)} is needed")


def check_weights(key: str, checkpoint: str, report: dict[str, set[str]]) -> None:
    """Refuse lacking weights: transformers gives them random values and goes on.

    `report` is what `from_pretrained` says with `output_loading_info`. Warns of weights without a use.
    """
    missing, unused = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    if missing:
        raise UserError(
            f"{key}={checkpoint}: {len(missing)} weights are missing, the first is {missing[0]}; "
            "take a checkpoint that was saved whole"
        )
    if unused:
        warnings.warn(f"{checkpoint}: {len(unused)} weights have no use, first {unused[0]}", stacklevel=3)


def not_fetched(key: str, checkpoint: str, fault: Exception) -> UserError:
    """The one line for weights that could neither be read nor fetched."""
    first = str(fault).strip().splitlines()[0] if str(fault).strip() else type(fault).__name__
    return UserError(
        f"{key}={checkpoint}: the weights cannot be loaded ({first}); "
        "without a network, download them elsewhere and name the folder"
    )
