"""Settings of `python -m train`. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from configs.app import register
from configs.plugins import DOC as PLUGINS
from configs.schema import key
from models.config import DEVICES, GROUNDERS, NANO, GroundingConfig
from train.registry import RECIPES, add_recipes
from train.scratch.config import NANO_GROUNDER, NANO_GROUNDER_FURTHER, MaskHeadRecipe
from train.sft.config import CalibrateSettings, SftRecipe
from train.sft.recipes import NANO_LORA, REASONINGTRACK_SFT, VPTRACKER

TASKS = ("train", "calibrate", "merge", "info")


STRATEGIES = ("ddp", "zero2", "zero3", "fsdp")


@dataclass(frozen=True)
class LaunchSettings:
    """How many processes train on each node, and how the model is distributed over them."""

    processes: int = key(0, "processes on each node; 0: one for each GPU, or one on a CPU", minimum=0)
    strategy: str = key(
        "ddp",
        "ddp: each process holds everything; zero2: gradients and optimizer states are sharded; zero3 "
        "(DeepSpeed) and fsdp (PyTorch): parameters are sharded too",
        choices=STRATEGIES,
    )
    deepspeed: str = key(
        "", "strategy=zero2, zero3: path of a DeepSpeed JSON; empty: configs/deepspeed/<strategy>.json"
    )


@dataclass(frozen=True)
class TrainSettings:
    """The settings of `python -m train`."""

    task: str = key(
        "train",
        "train: train a model by the recipe; calibrate: fit the thresholds of trackers to model.checkpoint; "
        "merge: merge the adapters of model.checkpoint into their base "
        "model; info: describe model.checkpoint",
        choices=TASKS,
    )
    recipe: Any = key(MISSING, "what is trained, on which data, with which optimizer")
    model: GroundingConfig = key(
        NANO,
        "the grounder to fine-tune; task=merge, info: the checkpoint to merge or describe",
    )
    device: str = key(
        "auto",
        "device of the model; auto: CUDA GPUs if there are any, else the CPU; cuda:N: GPU number N",
        choices=DEVICES,
    )
    calibrate: CalibrateSettings = key(
        CalibrateSettings(), "task=calibrate: the pairs that thresholds are fitted on"
    )
    launch: LaunchSettings = key(LaunchSettings(), "fine-tuning only: processes and distribution strategy")
    accept_code: bool = key(
        False,
        "resume a run even if the code has changed; settings.json then holds the hashes of both versions",
    )
    plugins: list[str] = key([], PLUGINS)
    out: str = key(
        "outputs/${task}/${recipe.name}",
        "folder of the run, which is resumed if it exists; task=merge: folder of the merged weights",
    )


# By name: the modules that train import torch.
add_recipes(
    "train.sft.objective",
    "train_sft",
    sft=SftRecipe(),
    nano_lora=NANO_LORA,
    vptracker=VPTRACKER,
    reasoningtrack_sft=REASONINGTRACK_SFT,
)
add_recipes(
    "train.scratch.grounder",
    "train_grounder",
    nano_grounder=NANO_GROUNDER,
    nano_grounder_further=NANO_GROUNDER_FURTHER,
)
add_recipes("train.scratch.mask_head", "train_mask_head", nano_mask_head=MaskHeadRecipe())

register("train", TrainSettings, {"recipe": RECIPES, "model": GROUNDERS})
