"""What a look at a checkpoint's folder shows before any weight is loaded. Imports no torch."""

import json
from pathlib import Path

from configs.errors import UserError

ADAPTER_CONFIG = "adapter_config.json"


def base_of(key: str, checkpoint: str) -> str | None:
    """The checkpoint that adapters belong to; None for a checkpoint that is no folder of adapters.

    A relative path is looked up from the folder of the adapters, then from the current folder. `key` is
    the configuration key to name. Raises UserError where the folder does not say it, or names a folder
    that is gone, or adapters again.
    """
    path = Path(checkpoint) / ADAPTER_CONFIG
    if not path.is_file():
        return None
    try:
        base = json.loads(path.read_text("utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError, RecursionError):
        base = None
    if not isinstance(base, str) or not base:
        raise UserError(
            f"{key}={checkpoint}: its {ADAPTER_CONFIG} names no base_model_name_or_path; restore it"
        )
    if Path(base).is_absolute() and not Path(base).is_dir():
        raise UserError(f"{path}: its weights were in {base}, which is gone; write where they are now")
    beside = Path(checkpoint) / base
    found = str(beside.resolve()) if beside.is_dir() else base
    if (Path(found) / ADAPTER_CONFIG).is_file():
        raise UserError(
            f"{path}: base_model_name_or_path={base} is a folder of adapters; merge those first "
            f"(bash train.sh task=merge model.checkpoint={base}) and name the merged folder"
        )
    return found
