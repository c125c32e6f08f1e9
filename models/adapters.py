"""Folders of LoRA adapters, as peft saves them: the weights they belong to, and putting the two together."""

from pathlib import Path

from peft import PeftModel

from models.families import QwenVL


def merged(model: QwenVL, folder: str) -> QwenVL:
    """The model with the adapters of a folder added to its weights; raises what peft raises."""
    return PeftModel.from_pretrained(model, folder).merge_and_unload()


def named_base(adapters: PeftModel, checkpoint: str) -> None:
    """Let saved adapters say which checkpoint they belong to, wherever they are read from."""
    here = Path(checkpoint)
    adapters.peft_config["default"].base_model_name_or_path = (
        str(here.resolve()) if here.is_dir() else checkpoint
    )
