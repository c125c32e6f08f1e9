"""The identity of a fine-tuning run; see `train.loop.identity`. Imports no torch."""

from dataclasses import asdict
from pathlib import Path

from models.config import GrounderConfig
from models.identity import checkpoint_identity
from train.loop.identity import Identity, data_identity, identity_of
from train.sft.config import SftRecipe
from train.sft.sources import index_paths

MODULES = ("train.sft.engine", "train.loop.deepspeed", "train.loop.fsdp", "data_prep.frames")
"""The modules that trained weights depend on, together with all that they import."""


def identity_of_run(
    recipe: SftRecipe, model: GrounderConfig, worlds: Path, commit: str | None = None
) -> Identity:
    """The identity of a run, as far as it is known: rendered videos may not exist yet.

    `commit` is that of weights from the hub, which is known when they are loaded. Raises UserError where an
    index or a checkpoint is damaged.
    """
    sources = {"recipe.learn": recipe.learn}
    sources |= {f"recipe.evaluate.{number}": source for number, source in enumerate(recipe.evaluate)}
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
