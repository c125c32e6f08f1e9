"""Checks of a run, each reported in one line: unusual settings, unreadable pairs, lack of GPU memory."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import ImageColor

from configs.errors import UserError
from data_prep.contract.contract import Contract
from data_prep.index.store import Index
from data_prep.sampling.lines import PairPlan
from models.config import NANO
from train.sft.batch_sampler import MicroBatchSampler
from train.sft.batches import MicroBatch
from train.sft.config import PairSource, SftRecipe
from train.sft.recipes import NANO_LORA

GIB = 2**30
log = logging.getLogger(__name__)


# ---- settings that are allowed, but probably a mistake -------------------------------------------


def validate(
    recipe: SftRecipe,
    checkpoint: str,
    contract: Contract,
    training_set: tuple[PairSource, PairPlan],
    evaluation_sets: Sequence[tuple[PairSource, PairPlan]],
) -> Iterator[str]:
    """Yield a warning for each setting that is probably a mistake.

    Those are a recipe for another model, pairs that do not match the contract, and videos that are both in
    the training set and in an evaluation set.
    """
    if recipe.name == NANO_LORA.name and checkpoint != NANO.checkpoint:
        yield f"recipe={recipe.name}: its settings are for the small model; take recipe=sft"
    source, plan = training_set
    yield from _warn_if_visual_prompts_differ(contract, source)
    training_videos = _videos(plan)
    for source, plan in evaluation_sets:
        videos = _videos(plan)
        if shared := len(videos & training_videos):
            yield (
                f"evaluation set {source.title}: {shared} of its {len(videos)} videos are in the training "
                "set too; its metrics will be too high; take another split"
            )


def _videos(plan: PairPlan) -> set[Path]:
    """The folders of a plan's videos."""
    indexes = [Index(path) for path in plan.indexes]
    return {Path(index.about.root) / folder for index in indexes for folder in index.folders.to_pylist()}


def _warn_if_visual_prompts_differ(contract: Contract, source: PairSource) -> Iterator[str]:
    """Inference draws visual prompts as the contract says, so the training pairs should show the same."""
    pairs = source.pairs
    if not pairs.marked:
        return
    if not pairs.prompt_scale_from <= contract.prompt_scale <= pairs.prompt_scale_to:
        yield (
            f"inference draws rectangles of {contract.prompt_scale:g} sides of the target, and pairs show "
            f"{pairs.prompt_scale_from:g} to {pairs.prompt_scale_to:g}; set recipe.contract.prompt_scale"
        )
    if not pairs.prompt_width_from <= 1 <= pairs.prompt_width_to:
        yield "no rectangle of the pairs has the line width of the contract; set recipe.contract.prompt_width"
    colours = [ImageColor.getrgb(name)[:3] for name in pairs.prompt_colours]
    if colours and contract.prompt_colour not in colours:
        yield "no rectangle of the pairs has the colour of the contract; set recipe.contract.prompt_colour"


# ---- pairs that cannot be read -------------------------------------------------------------------


class UnreadablePairs:
    """Counts the pairs of all processes that were left out; too many of them end the run."""

    def __init__(self, max_share: float, batch: int) -> None:
        self.max_share, self.batch, self.count = max_share, batch, 0

    def add(self, batches: Sequence[MicroBatch], step: int, pairs: int, unreadable: int) -> None:
        """Count the pairs of a step, and log those of this process with their reasons.

        `pairs` and `unreadable` are the numbers of all processes. Raises UserError if more than
        `recipe.max_unreadable_share` of the pairs so far cannot be read.
        """
        for batch in batches:
            for pair in batch.unreadable:
                log.warning("pair %d left out: %s", pair.number, pair.reason)
        self.count += unreadable
        total = step * self.batch + pairs + unreadable
        # One unreadable pair is always allowed: early in a run it would be a large share.
        if unreadable and self.count > max(1.0, self.max_share * max(total, self.batch)):
            raise UserError(
                f"{self.count} of {total} pairs cannot be read, more than "
                f"recipe.max_unreadable_share={self.max_share}; find the files with task=check, "
                "and leave them out"
            )


# ---- lack of GPU memory --------------------------------------------------------------------------


@contextmanager
def out_of_memory_explained(sampler: MicroBatchSampler) -> Iterator[None]:
    """Turn an out-of-memory error into a UserError that says what was used and which keys to change."""
    try:
        yield
    except torch.OutOfMemoryError:
        # `free` is that of the device, without the memory of other processes; `peak` counts only the tensors
        # of this process.
        free, total = torch.cuda.mem_get_info()
        peak = torch.cuda.max_memory_allocated()
        keys = f"recipe.micro_batch={sampler.micro_batch}"
        if sampler.micro_tokens is not None:
            keys += f", recipe.micro_tokens={sampler.micro_tokens}"
        remedy = "halve these values, or take" if sampler.micro_batch > 1 else "take"
        raise UserError(
            f"{keys}: out of GPU memory: {peak / GIB:.1f} GiB were in use, the GPU has {total / GIB:.1f} and "
            f"{free / GIB:.1f} are free; {remedy} recipe.gradient_checkpointing=true, or fewer "
            "recipe.contract.search_tokens"
        ) from None
