"""Weights as `from_pretrained` reads them, with all that a user of them needs: whole or not at all."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft import PeftModel

from data_prep.files import write_whole, writing
from data_prep.prompts import write_contract
from models.families import QwenVL
from models.grounder import Grounder

ABOUT = "training.json"
"""What weights were trained on, how, and how they were judged."""


def save_weights(folder: Path, saved: PeftModel | QwenVL, of: Grounder, about: Mapping[str, Any]) -> None:
    """Write adapters, or all weights, with contract, processor and `about`; what was there is replaced.

    Raises UserError where the folder cannot be written.
    """
    part = folder.with_name(f".part-{folder.name}")
    with writing(folder):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        # Rows of new tokens are among the adapters: peft would look for a changed vocabulary on the hub.
        spared: dict[str, Any] = {"save_embedding_layers": False} if isinstance(saved, PeftModel) else {}
        saved.save_pretrained(str(part), **spared)
        of.encoder.processor.save_pretrained(part)
        write_contract(part, of.contract)
        write_whole(part / ABOUT, json.dumps(about, indent=1) + "\n")
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)
