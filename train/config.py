"""Settings of training. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from configs.app import register
from configs.plugins import DOC as PLUGINS
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
    """A stage of a curriculum: rendered worlds, and the number of steps on them."""

    presets: list[str] = key(
        ["train"],
        "presets of the rendered world; steps take them in turn, evaluations take the first",
        choices=WORLDS,
    )
    pictures: int = key(16_000, "images rendered of each preset; they are used repeatedly", minimum=1)
    steps: int = key(1000, "optimizer steps")
    batch: int = key(16, "images per step")
    questions: int = key(4, "questions about each image of a step")
    learning_rate: float = key(1e-3, "peak learning rate; it rises in a warm-up and falls by half a cosine")
    decay: float = key(
        0.0, "share of the steps, at the end, over which the learning rate falls", minimum=0.0, maximum=1.0
    )
    language: bool = key(True, "ask questions; false: train only the vision tower, to classify image tokens")
    absent: float = key(0.4, "share of questions whose target is not in the image")
    template: float = key(0.4, "share of questions with a template crop")
    marked: float = key(0.35, "share of images with a drawn rectangle")
    plain: bool = key(False, "only the simplest expressions, with words in fixed places")


@dataclass(frozen=True)
class GrounderRecipe:
    """Training the small grounder from scratch in the rendered world."""

    name: str = key("nano_grounder", "name of the run and of its folder")
    contract: str = key("short", "prompt contract to train", choices=("qwen", "short"))
    width: int = key(128, "hidden size of language model and vision tower, a multiple of 32")
    layers: int = key(5, "layers of the language model")
    vision_layers: int = key(4, "layers of the vision tower")
    stages: list[Stage] = key([], "the curriculum, in order")
    initial: str = key("", "folder of weights to start from; empty: from scratch")
    seed: int = key(0, "seed of the weights and of the order of the data")
    warmup_steps: int = key(50, "warm-up steps at the start of each stage")
    weight_decay: float = key(0.01, "weight decay of AdamW")
    clip: float = key(1.0, "largest norm of the gradient")
    decision_weight: float = key(3.0, "loss weight of the token for visible or absent")
    look_weight: float = key(1.0, "weight of the auxiliary loss: what image tokens show (vision tower)")
    match_weight: float = key(1.0, "weight of the auxiliary loss: which image tokens match the expression")
    named_weight: float = key(
        0.5, "weight of the auxiliary loss: which colour and shape the expression names"
    )
    named_layer: int = key(1, "layer of the language model at which the loss of named_weight is computed")
    match_layer: int = key(3, "layer of the language model at which the loss of match_weight is computed")
    workers: int = key(0, "processes that render images; 0: one for each core", minimum=0)
    log_every: int = key(25, "steps between log lines")
    evaluate_every: int = key(500, "steps between evaluations on held-out scenes")
    evaluate_samples: int = key(256, "questions in an evaluation")
    checkpoint_every: int = key(100, "steps between checkpoints")
    threads: int = key(2, "CPU threads; 0: torch's default")


@dataclass(frozen=True)
class TrainSettings:
    """The settings of `python -m train`."""

    task: str = key(
        "train",
        "train: train the recipe; merge: merge the adapters of model.checkpoint into their base model; info: "
        "describe model.checkpoint",
        choices=TASKS,
    )
    recipe: Any = key(MISSING, "the recipe: what is trained, on which data, with which optimizer")
    model: GrounderConfig = key(
        GROUNDERS["nano"],
        "the grounder that is fine-tuned; task=merge, info: the checkpoint to merge or describe",
    )
    device: str = key(
        "auto",
        "device of the models; auto: CUDA GPUs if there are any, else the CPU; cuda:N: GPU number N",
        choices=DEVICES,
    )
    launch: LaunchSettings = key(LaunchSettings(), "fine-tuning only: the training processes")
    accept_code: bool = key(
        False,
        "resume a run although the code has changed; settings.json then holds the hashes of both versions",
    )
    plugins: list[str] = key([], PLUGINS)
    out: str = key(
        "outputs/${task}/${recipe.name}",
        "folder of the run, which is resumed if it exists; task=merge: of the merged weights",
    )


NANO_GROUNDER = GrounderRecipe(
    stages=[
        Stage(steps=1200, learning_rate=2e-3, language=False),  # classify image tokens
        Stage(steps=300, batch=8, plain=True),  # the simplest expressions
        Stage(steps=3200, batch=8, decay=0.45),  # all expressions
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
