"""The work of both sides of `python -m benchmarks training`: a model, training pairs, and settings.

The pairs are those of a seeded plan (`data_prep/sampling`), beginning with number 0.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from data_prep.contract.contract import (
    BUILT_IN,
    Contract,
    read_contract,
    trained_contract,
    write_contract,
)
from data_prep.sampling.lines import PairPlan
from models.config import NANO
from models.families import FAMILIES, PUBLISHED_SIZES
from models.grounder.model import published_config
from models.grounder.nano import build_processor
from train.sft.config import PairSource, SftRecipe, TuneSettings
from train.sft.sources import pair_plan

WARM = 2  # first steps, which are not timed: threads start, memory is allocated, kernels are chosen
VIDEOS = 40  # videos of the rendered world


@dataclass(frozen=True)
class Work:
    """A model, its training pairs and settings. `root` is a folder for the files of both sides."""

    root: Path
    checkpoint: Path
    contract: Contract
    recipe: SftRecipe
    device: torch.device
    dtype: str

    @property
    def steps(self) -> int:
        """Optimizer steps of one run."""
        return self.recipe.pairs // self.recipe.batch

    @property
    def mixed(self) -> str:
        """The precision, as accelerate names it."""
        return "bf16" if self.dtype == "bfloat16" else "no"

    def plan(self) -> PairPlan:
        """The pairs of a run."""
        return pair_plan(self.recipe.train_data, self.recipe.seed, self.root / "worlds")

    def flags(self) -> dict[str, object]:
        """The settings that must be the same on both sides."""
        recipe = self.recipe
        return {
            "model": self.checkpoint.name,
            "precision": self.dtype,
            "batch": recipe.batch,
            "micro_batch": recipe.micro_batch,
            "workers": recipe.workers,
            "gradient_checkpointing": recipe.gradient_checkpointing,
            "lora_rank": recipe.tune.rank,
            "lora_parts": "+".join(recipe.tune.parts),
            "optimizer": "AdamW",
        }


@dataclass(frozen=True, eq=False)
class Run:
    """The measurements of one run: for each step the wall-clock time, processor time and loss; peak memory.

    `flops` of each step are counted on our side only. They are those of the model, so they are the same.
    """

    seconds: tuple[float, ...]
    processor: tuple[float, ...]
    losses: tuple[float, ...]
    peak_gib: float = 0.0
    flops: tuple[float, ...] = ()

    def timed(self, batch: int) -> tuple[float, float]:
        """Pairs per second of wall-clock time and of processor time, from the median step after warm-up."""
        return batch / median(self.seconds[WARM:]), batch / median(self.processor[WARM:])


def small_work(root: Path, steps: int, batch: int, workers: int) -> Work:
    """The shipped small grounder on a CPU in float32."""
    checkpoint = Path(NANO.checkpoint)
    contract = read_contract(checkpoint)
    assert contract is not None, "the shipped grounder carries its contract"
    recipe = _recipe(steps, batch, batch, workers, checkpointing=False)
    return Work(root, checkpoint, contract, recipe, torch.device("cpu"), "float32")


def published_work(
    root: Path, name: str, steps: int, batch: int, micro_batch: int, workers: int, checkpointing: bool
) -> Work:
    """A published size with random weights on a GPU in bfloat16, with images as large as the contract allows.

    The tokenizer is that of the small grounder. All of its tokens are within the published vocabulary.
    """
    checkpoint = root / name
    wide = trained_contract(BUILT_IN[FAMILIES[PUBLISHED_SIZES[name].model_type].contract])
    # The smallest size equals the largest, so all images are scaled to as many pixels.
    contract = dataclasses.replace(wide, min_pixels=wide.max_pixels)
    # The contract is written last, so the weights are complete where it exists.
    if not (checkpoint / "contract.json").is_file():
        save_random(name, checkpoint)
        write_contract(checkpoint, contract)
    recipe = _recipe(steps, batch, micro_batch, workers, checkpointing)
    return Work(root, checkpoint, contract, recipe, torch.device("cuda"), "bfloat16")


def save_random(name: str, folder: Path) -> None:
    """Write a published Qwen2.5-VL with random weights, as `from_pretrained` reads it."""
    processor = build_processor()
    config: Any = published_config(name)
    # The small tokenizer gives other numbers to special tokens than the published configuration.
    tokens = processor.tokenizer.convert_tokens_to_ids
    config.image_token_id, config.video_token_id = tokens("<|image_pad|>"), tokens("<|video_pad|>")
    config.vision_start_token_id = tokens("<|vision_start|>")
    # On the GPU where there is one: billions of random numbers take long on a CPU.
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model: Any = FAMILIES[PUBLISHED_SIZES[name].model_type].model_class()(config)
    model.to(dtype=torch.bfloat16).save_pretrained(folder)
    processor.save_pretrained(folder)


def _recipe(steps: int, batch: int, micro_batch: int, workers: int, checkpointing: bool) -> SftRecipe:
    return SftRecipe(
        name="benchmark",
        tune=TuneSettings(rank=16, alpha=32),
        train_data=PairSource(videos=VIDEOS),
        evaluate=[],
        pairs=steps * batch,
        batch=batch,
        micro_batch=micro_batch,
        gradient_checkpointing=checkpointing,
        workers=workers,
        # Micro-batches have a fixed number of pairs, as TRL's have.
        micro_tokens=None,
        soft_label_std=0.0,  # TRL's labels are tokens, without soft labels
        # Logs and checkpoints come at the last step alone.
        log_every=steps,
        checkpoint_every=steps,
    )
