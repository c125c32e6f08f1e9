"""Writing trained weights as `from_pretrained` reads them, with contract, processor and model card."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from configs.errors import UserError
from configs.record import versions
from data_prep.contract.contract import write_contract
from data_prep.files import read_text, write_whole
from data_prep.folders import whole_folder
from models.checkpoint import choose_dtype
from models.config import GrounderConfig
from models.grounder.grounder import Grounder
from models.grounder.model import QwenVL
from train.loop.metrics import Metrics
from train.loop.state_files import saving
from train.loop.strategies import Strategy
from train.model_card import FILE, model_card
from train.sft.config import SftRecipe

ABOUT = "training.json"
"""Training data, recipe and metrics of the weights beside it."""
LARGEST_ABOUT = 64 << 20  # bytes


@dataclasses.dataclass(frozen=True, eq=False)
class WeightsWriter:
    """Writes the weights of a run: its adapters, or the complete model."""

    recipe: SftRecipe
    model: GrounderConfig
    grounder: Grounder
    adapters: PeftModel | None
    strategy: Strategy
    metrics: Metrics

    def save(self, folder: Path, step: int, steps: int) -> None:
        """Write the weights of this step, completely or not at all. All processes call it."""
        inner = dict(self.grounder.model.named_parameters())
        if self.adapters is not None:
            inner = {name: weight for name, weight in inner.items() if weight.requires_grad}
        weights = self.strategy.gather_full_params(inner)
        if self.adapters is None:  # trainable parameters are in float32; the checkpoint has the model's dtype
            dtype = choose_dtype(self.model.dtype, self.strategy.accelerator.device)
            weights = {name: weight.to(dtype) for name, weight in weights.items()}
        if self.strategy.accelerator.is_main_process:
            saved = self.adapters or self.grounder.model
            save_weights(folder, saved, self.grounder, self._about(step, steps), weights)

    def _about(self, step: int, steps: int) -> dict[str, Any]:
        """The content of `training.json`."""
        return {
            "data": self.recipe.train_data.title,
            "model": self.model.checkpoint,
            "step": step,
            "steps": steps,
            "pairs": step * self.recipe.batch,
            "figures": self.metrics.latest_evaluations(),
            "recipe": dataclasses.asdict(self.recipe),
            "versions": versions(),
        }


def read_training_record(folder: Path) -> dict[str, Any] | None:
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
    """Write adapters or a complete model, with contract, processor and `about`; replaces the folder.

    `weights` are the unsharded weights to write, by their names in the grounder's model; None: those in the
    model. Raises UserError where the folder cannot be written.
    """
    options: dict[str, Any] = {}
    if weights is not None:
        prefix = "base_model.model." if isinstance(saved, PeftModel) else ""
        options["state_dict"] = {f"{prefix}{name}": weight for name, weight in weights.items()}
    if isinstance(saved, PeftModel):
        # The embeddings of new tokens are among the adapters. Without this, peft compares the size of the
        # vocabulary with that of the base model on the hub.
        options["save_embedding_layers"] = False
    with saving(folder), whole_folder(folder) as part:
        saved.save_pretrained(str(part), **options)
        if weights is not None and not isinstance(saved, PeftModel):
            saved.config.dtype = next(iter(weights.values())).dtype  # not float32, in which they were trained
            saved.config.save_pretrained(part)
        of.encoder.processor.save_pretrained(part)
        write_contract(part, of.contract)
        write_whole(part / ABOUT, json.dumps(about, indent=1) + "\n")
        write_whole(part / FILE, model_card(about, of.contract, isinstance(saved, PeftModel)))
