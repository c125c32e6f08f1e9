"""Weights as `from_pretrained` reads them, with all that a user of them needs: whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from data_prep.files import write_whole, writing
from data_prep.folders import whole_folder
from data_prep.prompts import write_contract
from models.families import QwenVL
from models.grounder import Grounder

ABOUT = "training.json"
"""What weights were trained on, how, and how they were judged."""


def save_weights(
    folder: Path,
    saved: PeftModel | QwenVL,
    of: Grounder,
    about: Mapping[str, Any],
    weights: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write adapters, or all weights, with contract, processor and `about`; what was there is replaced.

    `weights` are those to write, whole, by the names of the grounder's model; without, the model's own.
    Raises UserError where the folder cannot be written.
    """
    told: dict[str, Any] = {}
    if weights is not None:
        prefix = "base_model.model." if isinstance(saved, PeftModel) else ""
        told["state_dict"] = {f"{prefix}{name}": weight for name, weight in weights.items()}
    if isinstance(saved, PeftModel):
        # Rows of new tokens are among the adapters: peft would look for a changed vocabulary on the hub.
        told["save_embedding_layers"] = False
    with writing(folder), whole_folder(folder) as part:
        saved.save_pretrained(str(part), **told)
        of.encoder.processor.save_pretrained(part)
        write_contract(part, of.contract)
        write_whole(part / ABOUT, json.dumps(about, indent=1) + "\n")
