"""Writing trained weights: a checkpoint as other programs load it, with a record and a model card."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from configs.errors import UserError
from configs.record import versions
from data_prep.files import read_text, write_whole
from data_prep.folders import whole_folder
from models.config import GrounderConfig
from models.grounder.grounder import Grounder
from models.grounder.model import QwenVL
from models.grounder.saving import save_checkpoint
from train.loop.state_files import saving
from train.model_card import FILE, model_card
from train.sft.config import SftRecipe

ABOUT = "training.json"
"""Name of the file that records data, recipe and metrics of the weights in its folder."""
LARGEST_ABOUT = 64 << 20  # bytes


def training_record(
    recipe: SftRecipe,
    model: GrounderConfig,
    step: int,
    steps: int,
    evaluations: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The content of `training.json` for the weights after `step` of `steps` optimizer steps.

    `evaluations` are the latest metrics of each evaluation set.
    """
    return {
        "data": recipe.train_data.title,
        "model": model.checkpoint,
        "step": step,
        "steps": steps,
        "pairs": step * recipe.batch,
        "metrics": dict(evaluations),
        "recipe": dataclasses.asdict(recipe),
        "versions": versions(),
    }


def read_training_record(folder: Path) -> dict[str, Any] | None:
    """The content of `training.json`, None if there is no such file. NaN is read as None.

    Raises UserError if the file is damaged.
    """
    path, remedy = folder / ABOUT, "restore it, or remove it"
    if not path.is_file():
        return None
    try:
        record = dict(json.loads(read_text(path, remedy, LARGEST_ABOUT), parse_constant=lambda _: None))
    except (ValueError, TypeError, RecursionError) as fault:
        raise UserError(f"{path}: cannot be read ({fault}); {remedy}") from None
    if "figures" in record:  # the key of earlier versions
        record["metrics"] = record.pop("figures")
    return record


def save_weights(
    folder: Path,
    saved: PeftModel | QwenVL,
    of: Grounder,
    about: Mapping[str, Any],
    weights: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write adapters or a complete model, with contract, processor and `about`; replaces the folder.

    `weights` are the unsharded weights to write, by their names in the grounder's model; None: those in the
    model. Raises UserError if the folder cannot be written.
    """
    with saving(folder), whole_folder(folder) as part:
        save_checkpoint(part, saved, of.encoder.processor, of.contract, weights)
        write_whole(part / ABOUT, json.dumps(about, indent=1) + "\n")
        write_whole(part / FILE, model_card(about, of.contract, isinstance(saved, PeftModel)))
