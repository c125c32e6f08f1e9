"""Folders of LoRA adapters, as peft saves them: the weights they belong to, and putting the two together."""

import json
from pathlib import Path

from peft import PeftModel

from configs.errors import UserError
from models.families import QwenVL

CONFIG = "adapter_config.json"


def base_of(key: str, checkpoint: str) -> str | None:
    """The checkpoint that adapters belong to; None for a checkpoint that is no folder of adapters.

    `key` is the configuration key to name. Raises UserError where the folder does not say it.
    """
    path = Path(checkpoint) / CONFIG
    if not path.is_file():
        return None
    try:
        base = json.loads(path.read_text("utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError):
        base = None
    if not isinstance(base, str) or not base:
        raise UserError(f"{key}={checkpoint}: its {CONFIG} names no base_model_name_or_path; restore it")
    if Path(base).is_absolute() and not Path(base).is_dir():
        raise UserError(f"{path}: its weights were in {base}, which is gone; write where they are now")
    return base


def merged(model: QwenVL, folder: str) -> QwenVL:
    """The model with the adapters of a folder added to its weights; raises what peft raises."""
    return PeftModel.from_pretrained(model, folder).merge_and_unload()


def named_base(adapters: PeftModel, checkpoint: str) -> None:
    """Let saved adapters say which checkpoint they belong to, wherever they are read from."""
    here = Path(checkpoint)
    adapters.peft_config["default"].base_model_name_or_path = (
        str(here.resolve()) if here.is_dir() else checkpoint
    )
