"""Which weights of a model learn: adapters on some of its parts, or the parts themselves."""

import re

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from models.published import LORA_TARGETS
from train.sft.config import TuneSettings

ADAPTED = {
    "language": LORA_TARGETS,
    "projector": r".*\bvisual\.merger\.mlp\.[02]",
    "vision": r".*\bvisual\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(gate|up|down)_proj)",
}
"""The linear maps that get adapters, by part, as patterns of whole module names."""

PART_OF = (
    ("projector", re.compile(r"\bvisual\.merger\.")),
    ("vision", re.compile(r"\bvisual\.")),
    ("language", re.compile(r"")),  # everything else: layers, norms, embeddings, the output layer
)


def part_of(name: str) -> str:
    """The part that a parameter of this name belongs to."""
    return next(part for part, pattern in PART_OF if pattern.search(name))


def prepare(model: PreTrainedModel, tune: TuneSettings, seed: int) -> PeftModel | None:
    """Freeze all but what learns, in place; with adapters, the wrapper that saves and merges them."""
    if tune.method == "full":
        for name, weight in model.named_parameters():
            weight.requires_grad_(part_of(name) in tune.parts)
        return None
    torch.manual_seed(seed)
    config = LoraConfig(
        r=tune.rank,
        lora_alpha=tune.alpha,
        lora_dropout=tune.dropout,
        target_modules="|".join(f"(?:{ADAPTED[part]})" for part in tune.parts),
    )
    return get_peft_model(model, config)


def sees(tune: TuneSettings) -> bool:
    """Whether anything learns that pictures go through before the language model."""
    return "vision" in tune.parts or "projector" in tune.parts
