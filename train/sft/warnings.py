"""What may be meant and seldom is: told in one line each before the first step."""

from collections.abc import Iterator
from pathlib import Path

from PIL import ImageColor

from data_prep.index.store import Index
from data_prep.prompts import Contract
from data_prep.sampling.lines import PairPlan
from models.config import GROUNDERS
from train.sft.config import PairsFrom, SftRecipe
from train.sft.recipes import NANO_LORA


def doubtful(
    recipe: SftRecipe,
    checkpoint: str,
    contract: Contract,
    learn: tuple[PairsFrom, PairPlan],
    judge: list[tuple[PairsFrom, PairPlan]],
) -> Iterator[str]:
    """Lines on pairs not drawn as the contract says, and on videos both learned from and judged on."""
    if recipe.name == NANO_LORA.name and checkpoint != GROUNDERS["nano"].checkpoint:
        yield f"recipe={recipe.name}: its settings are for the small model; take recipe=sft"
    source, plan = learn
    yield from _off_contract(contract, source)
    learned = _videos(plan)
    for judged, other in judge:
        videos = _videos(other)
        if both := len(videos & learned):
            yield (
                f"judge {judged.title}: {both} of its {len(videos)} videos are learned from too; "
                "figures will flatter; take another split"
            )


def _videos(plan: PairPlan) -> set[Path]:
    """The folders of a plan's videos."""
    indexes = [Index(path) for path in plan.indexes]
    return {Path(index.about.root) / folder for index in indexes for folder in index.folders.to_pylist()}


def _off_contract(contract: Contract, source: PairsFrom) -> Iterator[str]:
    """Inference draws as the contract says; what it draws should be among what was learned."""
    pairs = source.pairs
    if not pairs.marked:
        return
    if not pairs.prompt_scale_from <= contract.prompt_scale <= pairs.prompt_scale_to:
        yield (
            f"inference draws rectangles of {contract.prompt_scale:g} sides of the target, and pairs show "
            f"{pairs.prompt_scale_from:g} to {pairs.prompt_scale_to:g}; set recipe.teach.prompt_scale"
        )
    if not pairs.prompt_width_from <= 1 <= pairs.prompt_width_to:
        yield "no rectangle of the pairs has the line of the contract; set recipe.teach.prompt_width"
    colours = [ImageColor.getrgb(name)[:3] for name in pairs.prompt_colours]
    if colours and contract.prompt_colour not in colours:
        yield "no rectangle of the pairs has the colour of the contract; set recipe.teach.prompt_colour"
