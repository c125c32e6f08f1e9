"""Where pairs come from: indexed data sets, or the rendered world, which is drawn and indexed first."""

import logging
from pathlib import Path

from configs.errors import UserError
from data_prep.index.build import build_index, index_path, indexes_of
from data_prep.readers.registry import reader_of
from data_prep.sampling.lines import PairPlan
from data_prep.world.presets import PRESETS, TRAINING_SEEDS
from data_prep.world.render import render_workspace
from train.sft.config import WORLD_SPLITS, PairsFrom

WORLD_LAYOUT = "tnl2k"
FRAMES = 24  # of a rendered video: many scenes teach more than long ones
PROMPTS = 1
log = logging.getLogger(__name__)


def plan_of(source: PairsFrom, seed: int, worlds: Path, key: str = "recipe.learn") -> PairPlan:
    """The plan of a source, which the settings hold as `key`.

    Raises UserError where an index is missing or shows no target, or settings do not go together.
    """
    if source.data:
        plan = PairPlan(index_paths(source, worlds), source.pairs, seed, tuple(source.weights))
    elif source.weights or source.splits:
        raise UserError(
            f"{key}.weights, {key}.splits: go with {key}.data=; leave them out: the rendered world is "
            "one source"
        )
    elif source.split not in WORLD_SPLITS:
        raise UserError(f"{key}.split={source.split}: the rendered world has {', '.join(WORLD_SPLITS)}")
    else:
        plan = PairPlan((world_index(source, worlds),), source.pairs, seed)
    plan.sampler()
    return plan


def worlds_of(out: Path) -> Path:
    """Where runs of which `out` is one keep the worlds that they draw, shared by all."""
    return out.parent / "worlds"


def index_paths(source: PairsFrom, worlds: Path) -> tuple[Path, ...]:
    """Where the indexes of a source lie, or will lie. Raises UserError as `indexes_of` does."""
    if source.data:
        return indexes_of(Path(source.indexes), source.data, source.splits or [source.split])
    return (index_path(world_folder(source, worlds), WORLD_LAYOUT, "train"),)


def world_folder(source: PairsFrom, worlds: Path) -> Path:
    """Where the rendered videos of a source lie, or will lie."""
    return worlds / f"{source.world}-{source.split}-{source.videos}"


def world_index(source: PairsFrom, worlds: Path) -> Path:
    """The index of rendered videos, drawn where they are not there yet.

    Those of `split=train` are among the scenes that training may see, all others beyond them.
    """
    first = 0 if source.split == "train" else TRAINING_SEEDS
    root = world_folder(source, worlds)
    if not (root / "drawn").is_file():
        log.info("drawing %d videos of %s in %s", source.videos, source.world, root)
        preset = PRESETS[source.world]
        render_workspace(root / "train", preset, source.videos, PROMPTS, FRAMES, 0, WORLD_LAYOUT, first=first)
        (root / "drawn").touch()
    about, _ = build_index(reader_of(WORLD_LAYOUT, "train"), root, "train", root, workers=1)
    for each in about.left_out:
        log.warning("%s: %s left out: %s", root, each.name, each.reason)
    return index_path(root, WORLD_LAYOUT, "train")
