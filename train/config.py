"""Settings of training. Imports nothing heavy."""

from dataclasses import dataclass, replace
from typing import Any

from omegaconf import MISSING

from configs.app import register
from configs.schema import key
from train.mask_head_config import MaskHeadRecipe


@dataclass(frozen=True)
class Stage:
    """One step of a curriculum: a world, and how long to stay in it."""

    preset: str = key("train", "preset of the rendered world")
    steps: int = key(1000, "optimizer steps")
    batch: int = key(32, "questions a step")
    learning_rate: float = key(1e-3, "peak of the schedule: a warm-up, then a cosine down to a tenth")
    side_tokens: int = key(0, "tokens of the search image, as a square's side; 0: the contract's own budget")
    absent: float = key(0.3, "share of questions whose target is not in the picture")
    template: float = key(0.5, "share of questions with a template crop")
    marked: float = key(0.5, "share of questions with a drawn rectangle")
    plain: bool = key(False, "only the plainest words, always in the same places")


@dataclass(frozen=True)
class GrounderRecipe:
    """Training the small grounder from scratch in the rendered world."""

    name: str = key("nano_grounder", "name of the run, and so of its folder")
    contract: str = key("short", "prompt contract to train: qwen or short")
    width: int = key(128, "hidden size of language model and vision tower, a multiple of 32")
    layers: int = key(4, "layers of the language model, and of the vision tower")
    stages: list[Stage] = key([], "the curriculum, in order")
    seed: int = key(0, "of the weights and of the order of the data")
    warmup_steps: int = key(100, "steps of rising learning rate at the start of each stage")
    weight_decay: float = key(0.01, "of AdamW")
    clip: float = key(1.0, "largest norm of the gradient")
    decision_weight: float = key(3.0, "loss weight of the token that says visible or not")
    token_weight: float = key(1.0, "weight of the auxiliary loss on the image tokens")
    log_every: int = key(25, "steps between lines")
    evaluate_every: int = key(500, "steps between evaluations on held-out scenes")
    evaluate_samples: int = key(128, "questions of an evaluation")
    checkpoint_every: int = key(100, "steps between checkpoints")
    threads: int = key(1, "CPU threads; small models are slower with more; 0: torch's own choice")


@dataclass(frozen=True)
class TrainSettings:
    """Everything a run of `python -m train` is told."""

    recipe: Any = key(MISSING, "what is trained, and how")
    device: str = key("auto", "auto, cpu or cuda; auto takes a GPU where there is one")
    out: str = key("outputs/train/${recipe.name}", "folder of the run; one that stopped there goes on")


EASY = Stage(batch=64, side_tokens=4, template=0.0, marked=0.0)
NANO_GROUNDER = GrounderRecipe(
    stages=[
        replace(EASY, preset="plain", steps=700, plain=True),  # nothing shares a colour or a shape
        replace(EASY, preset="mono", steps=300),  # one colour: shapes decide
        replace(EASY, preset="flat", steps=800),  # look-alikes: both decide
        Stage(preset="simple", steps=1600, batch=64, template=0.4, marked=0.4),
    ]
)

register(
    "train", TrainSettings, {"recipe": {"nano_grounder": NANO_GROUNDER, "nano_mask_head": MaskHeadRecipe()}}
)
