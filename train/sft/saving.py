"""Weights as `from_pretrained` reads them, with all that a user of them needs: whole or not at all."""

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
from data_prep.prompts import write_contract
from models.checkpoint import choose_dtype
from models.config import GrounderConfig
from models.grounder.classes import QwenVL
from models.grounder.grounder import Grounder
from train.model_card import FILE, model_card
from train.sft.config import SftRecipe
from train.sft.metrics import Metrics
from train.sft.spread import Copies
from train.state_files import saving

ABOUT = "training.json"
"""What weights were trained on, how, and how they were judged."""
LARGEST_ABOUT = 64 << 20  # bytes


@dataclasses.dataclass(frozen=True, eq=False)
class Results:
    """The weights of a run: its adapters, or all of them."""

    recipe: SftRecipe
    model: GrounderConfig
    grounder: Grounder
    adapters: PeftModel | None
    spread: Copies
    metrics: Metrics

    def save(self, folder: Path, step: int, steps: int) -> None:
        """Write them as `from_pretrained` reads them, whole. All processes call it."""
        inner = dict(self.grounder.model.named_parameters())
        if self.adapters is not None:
            inner = {name: weight for name, weight in inner.items() if weight.requires_grad}
        weights = self.spread.whole(inner)
        if self.adapters is None:  # what learned did so in float32
            dtype = choose_dtype(self.model.dtype, self.spread.accelerator.device)
            weights = {name: weight.to(dtype) for name, weight in weights.items()}
        if self.spread.accelerator.is_main_process:
            saved = self.adapters or self.grounder.model
            save_weights(folder, saved, self.grounder, self._about(step, steps), weights)

    def _about(self, step: int, steps: int) -> dict[str, Any]:
        """What is told beside saved weights of how they came to be."""
        return {
            "data": self.recipe.learn.title,
            "model": self.model.checkpoint,
            "step": step,
            "steps": steps,
            "pairs": step * self.recipe.batch,
            "figures": self.metrics.latest(),
            "recipe": dataclasses.asdict(self.recipe),
            "versions": versions(),
        }


def read_about(folder: Path) -> dict[str, Any] | None:
    """What is told beside weights of how they came to be; None where nothing is. NaN is read as None.

    Raises UserError where the file is damaged.
    """
    path, mend = folder / ABOUT, "restore it, or remove it"
    if not path.is_file():
        return None
    try:
        return dict(json.loads(read_text(path, mend, LARGEST_ABOUT), parse_constant=lambda _: None))
    except (ValueError, TypeError, RecursionError) as fault:
        raise UserError(f"{path}: cannot be read ({fault}); {mend}") from None


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
    with saving(folder), whole_folder(folder) as part:
        saved.save_pretrained(str(part), **told)
        if weights is not None and not isinstance(saved, PeftModel):
            saved.config.dtype = next(iter(weights.values())).dtype  # not that in which they learned
            saved.config.save_pretrained(part)
        of.encoder.processor.save_pretrained(part)
        write_contract(part, of.contract)
        write_whole(part / ABOUT, json.dumps(about, indent=1) + "\n")
        write_whole(part / FILE, model_card(about, of.contract, isinstance(saved, PeftModel)))
