"""The data of a run: indexed data sets, or the rendered world, which is rendered and indexed first.

The identity of a run, which covers its data, is computed here too.
"""

import logging
from dataclasses import asdict
from pathlib import Path

from configs.errors import UserError
from data_prep.index.build import build_index, index_path, indexes_of
from data_prep.readers.reader import reader_of
from data_prep.sampling.lines import PairPlan
from data_prep.world.presets import PRESETS, TRAINING_SEEDS
from data_prep.world.render import render_workspace
from models.config import GrounderConfig
from models.identity import checkpoint_identity
from train.loop.identity import Identity, data_identity, identity_of
from train.sft.config import WORLD_SPLITS, PairSource, SftRecipe

WORLD_LAYOUT = "tnl2k"
FRAMES = 24  # frames of a rendered video: many short videos have more variety than few long ones
PROMPTS = 1  # expressions of a rendered video
MODULES = ("train.sft.objective", "train.loop.deepspeed", "train.loop.fsdp", "data_prep.video.frames")
"""The modules that trained weights depend on, together with all that they import."""
log = logging.getLogger(__name__)


def pair_plan(source: PairSource, seed: int, worlds: Path, key: str = "recipe.train_data") -> PairPlan:
    """The plan of a source; `key` is its configuration key, for messages.

    Raises UserError if an index is missing or has no visible target, or settings exclude each other.
    """
    if source.data:
        plan = PairPlan(index_paths(source, worlds), source.pairs, seed, tuple(source.weights))
    elif source.weights or source.splits:
        raise UserError(
            f"{key}.weights, {key}.splits: are for {key}.data=; leave them out: the rendered world is "
            "a single source"
        )
    elif source.split not in WORLD_SPLITS:
        raise UserError(f"{key}.split={source.split}: the rendered world has {', '.join(WORLD_SPLITS)}")
    else:
        plan = PairPlan((world_index(source, worlds),), source.pairs, seed)
    plan.sampler()  # reads the indexes, which raises the errors
    return plan


def worlds_folder(out: Path) -> Path:
    """The folder of rendered videos, which runs with folders beside `out` share."""
    return out.parent / "worlds"


def index_paths(source: PairSource, worlds: Path) -> tuple[Path, ...]:
    """The paths of the indexes of a source; they may not exist yet. Raises UserError as `indexes_of` does."""
    if source.data:
        return indexes_of(Path(source.indexes), source.data, source.splits or [source.split])
    return (index_path(world_folder(source, worlds), WORLD_LAYOUT, "train"),)


def world_folder(source: PairSource, worlds: Path) -> Path:
    """The folder of the rendered videos of a source, which may not exist yet."""
    return worlds / f"{source.world}-{source.split}-{source.videos}"


def world_index(source: PairSource, worlds: Path) -> Path:
    """The index of rendered videos, which are rendered if they do not exist yet.

    Scenes of `split=train` have seeds below TRAINING_SEEDS, all others above.
    """
    # Ranges of seeds that never overlap keep evaluation scenes out of the training set.
    first = 0 if source.split == "train" else TRAINING_SEEDS
    root = world_folder(source, worlds)
    # The mark file is written last, so that a rendering which was killed is started again.
    if not (root / "drawn").is_file():
        log.info("rendering %d videos of %s in %s", source.videos, source.world, root)
        preset = PRESETS[source.world]
        render_workspace(root / "train", preset, source.videos, PROMPTS, FRAMES, 0, WORLD_LAYOUT, first=first)
        (root / "drawn").touch()
    about, _ = build_index(reader_of(WORLD_LAYOUT, "train"), root, "train", root, workers=1)
    for each in about.left_out:
        log.warning("%s: %s left out: %s", root, each.name, each.reason)
    return index_path(root, WORLD_LAYOUT, "train")


# ---- identity ----


def identity_of_run(
    recipe: SftRecipe, model: GrounderConfig, worlds: Path, commit: str | None = None
) -> Identity:
    """The identity of a run, as far as it is known: rendered videos may not exist yet.

    `commit` is that of weights from the hub, which is known when they are loaded. Raises UserError if an
    index or a checkpoint is damaged.
    """
    # 1. The indexes of all data sets, named so that a message can point to the configuration key.
    sources = {"recipe.train_data": recipe.train_data}
    sources |= {f"recipe.evaluate.{number}": source for number, source in enumerate(recipe.evaluate)}
    indexes = {
        f"{path.stem if source.data else path.parent.name} ({key})": path
        for key, source in sources.items()
        for path in index_paths(source, worlds)
    }
    # 2. The initial weights; those of the hub are unknown until their commit is.
    checkpoint = checkpoint_identity(model.checkpoint, commit)
    return identity_of(
        {"recipe": asdict(recipe), "model": asdict(model)},
        MODULES,
        data_identity(indexes),
        None if checkpoint.endswith("@unknown") else checkpoint,
    )
