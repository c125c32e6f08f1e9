"""Which weights of a model learn: adapters on some of its parts, or the parts themselves."""

from collections.abc import Sequence

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from models.families import family_of, lora_targets, part_of
from models.grounder.classes import QwenVL
from train.sft.config import TuneSettings


def prepare(model: QwenVL, tune: TuneSettings, seed: int, tokens: Sequence[int] = ()) -> PeftModel | None:
    """Freeze all but what learns, in place; with adapters, the wrapper that saves and merges them.

    Of the embeddings, the rows of `tokens` learn beside adapters.
    """
    family = family_of(model)
    if tune.method == "full":
        for name, weight in model.named_parameters():
            weight.requires_grad_(part_of(family, name) in tune.parts)
        return None
    torch.manual_seed(seed)
    config = LoraConfig(
        r=tune.rank,
        lora_alpha=tune.alpha,
        lora_dropout=tune.dropout,
        target_modules=lora_targets(family, tune.parts),
        trainable_token_indices=list(tokens) or None,
    )
    return get_peft_model(model, config)


def sees(tune: TuneSettings) -> bool:
    """Whether anything learns that pictures go through before the language model."""
    return "vision_tower" in tune.parts or "projector" in tune.parts
