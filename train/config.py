"""Settings of training. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from configs.app import register
from configs.schema import key
from data_prep.config import WORLDS
from models.config import DEVICES, GROUNDERS, GrounderConfig
from train.launch.config import LaunchSettings
from train.mask_head_config import MaskHeadRecipe
from train.sft.config import SftRecipe
from train.sft.recipes import NANO_LORA, REASONINGTRACK_SFT, VPTRACKER

TASKS = ("train", "merge", "info")


@dataclass(frozen=True)
class Stage:
    """One step of a curriculum: worlds, and how long to stay in them."""

    presets: list[str] = key(
        ["train"],
        "presets of the rendered world; steps take them in turn, evaluations the first",
        choices=WORLDS,
    )
    pictures: int = key(16_000, "pictures drawn of each preset; each is seen again and again", minimum=1)
    steps: int = key(1000, "optimizer steps")
    batch: int = key(16, "pictures a step")
    questions: int = key(4, "questions about each picture of a step")
    learning_rate: float = key(1e-3, "peak of the schedule: a warm-up, the peak, then half a cosine")
    decay: float = key(
        0.0, "share of the steps, at their end, over which the rate falls", minimum=0.0, maximum=1.0
    )
    language: bool = key(True, "ask questions; without, the vision tower alone learns what tokens show")
    absent: float = key(0.4, "share of questions whose target is not in the picture")
    template: float = key(0.4, "share of questions with a template crop")
    marked: float = key(0.35, "share of pictures with a drawn rectangle")
    plain: bool = key(False, "only the plainest words, always in the same places")


@dataclass(frozen=True)
class GrounderRecipe:
    """Training the small grounder from scratch in the rendered world."""

    name: str = key("nano_grounder", "name of the run, and so of its folder")
    contract: str = key("short", "prompt contract to train", choices=("qwen", "short"))
    width: int = key(128, "hidden size of language model and vision tower, a multiple of 32")
    layers: int = key(5, "layers of the language model")
    vision_layers: int = key(4, "layers of the vision tower")
    stages: list[Stage] = key([], "the curriculum, in order")
    initial: str = key("", "folder of weights to start from; empty: from scratch")
    seed: int = key(0, "of the weights and of the order of the data")
    warmup_steps: int = key(50, "steps of rising learning rate at the start of each stage")
    weight_decay: float = key(0.01, "of AdamW")
    clip: float = key(1.0, "largest norm of the gradient")
    decision_weight: float = key(3.0, "loss weight of the token that says visible or not")
    look_weight: float = key(1.0, "weight of the auxiliary loss on what vision tokens show")
    match_weight: float = key(1.0, "weight of the auxiliary loss on what of it the words mean")
    named_weight: float = key(0.5, "weight of the auxiliary loss on what image tokens know of the words")
    named_layer: int = key(1, "layer of the language model after which image tokens are asked that")
    match_layer: int = key(3, "layer of the language model after which image tokens are asked that")
    workers: int = key(0, "processes that draw pictures; 0: one a core", minimum=0)
    log_every: int = key(25, "steps between lines")
    evaluate_every: int = key(500, "steps between evaluations on held-out scenes")
    evaluate_samples: int = key(256, "questions of an evaluation")
    checkpoint_every: int = key(100, "steps between checkpoints")
    threads: int = key(2, "CPU threads; 0: torch's own choice")


@dataclass(frozen=True)
class TrainSettings:
    """Everything a run of `python -m train` is told."""

    task: str = key(
        "train",
        "train: the recipe; merge: add the adapters of model.checkpoint to their weights; info: say what "
        "model.checkpoint is",
        choices=TASKS,
    )
    recipe: Any = key(MISSING, "what is trained, and how")
    model: GrounderConfig = key(
        GROUNDERS["nano"],
        "the grounder that is fine-tuned; task=merge, info: what they are about",
    )
    device: str = key(
        "auto",
        "where the models compute; auto: CUDA GPUs where there are any, else the CPU; cuda:N: GPU number N",
        choices=DEVICES,
    )
    launch: LaunchSettings = key(LaunchSettings(), "fine-tuning: the processes that train")
    accept_code: bool = key(
        False,
        "go on with a run that other code began; settings.json then holds the identities of both codes",
    )
    out: str = key(
        "outputs/${task}/${recipe.name}",
        "folder of the run, where one that stopped goes on; task=merge: of the whole weights",
    )


NANO_GROUNDER = GrounderRecipe(
    stages=[
        Stage(steps=1200, learning_rate=2e-3, language=False),  # what every token shows
        Stage(steps=300, batch=8, plain=True),  # which of it the words mean, in the plainest words
        Stage(steps=3200, batch=8, decay=0.45),  # and in all words
    ]
)

register(
    "train",
    TrainSettings,
    {
        "recipe": {
            "nano_grounder": NANO_GROUNDER,
            "nano_mask_head": MaskHeadRecipe(),
            "nano_lora": NANO_LORA,
            "sft": SftRecipe(),
            "vptracker": VPTRACKER,
            "reasoningtrack_sft": REASONINGTRACK_SFT,
        },
        "model": GROUNDERS,
    },
)
