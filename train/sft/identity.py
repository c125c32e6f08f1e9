"""What a fine-tuning follows from; see `train.identity`. Imports no torch."""

from dataclasses import asdict
from pathlib import Path

from models.config import GrounderConfig
from models.identity import checkpoint_identity
from train.identity import Identity, data_identity, identity_of
from train.sft.config import SftRecipe
from train.sft.sources import index_paths

MODULES = ("train.sft.engine", "train.sft.zero", "train.sft.shards", "data_prep.frames")
"""Those that make weights of settings, data and a checkpoint; what they import belongs to them."""


def identity_of_run(
    recipe: SftRecipe, model: GrounderConfig, worlds: Path, commit: str | None = None
) -> Identity:
    """What a fine-tuning follows from, as far as it is known: worlds may not be drawn yet.

    `commit` is that of weights from the hub, which is known once they are loaded. Raises UserError where an
    index or a checkpoint is broken.
    """
    sources = {"recipe.learn": recipe.learn}
    sources |= {f"recipe.judge.{number}": source for number, source in enumerate(recipe.judge)}
    indexes = {
        f"{path.stem if source.data else path.parent.name} ({key})": path
        for key, source in sources.items()
        for path in index_paths(source, worlds)
    }
    checkpoint = checkpoint_identity(model.checkpoint, commit)
    return identity_of(
        {"recipe": asdict(recipe), "model": asdict(model)},
        MODULES,
        data_identity(indexes),
        None if checkpoint.endswith("@unknown") else checkpoint,
    )
