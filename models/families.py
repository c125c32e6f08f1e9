"""What tells the families of Qwen-VL models apart: classes, contracts, and the names of a model's parts.

Qwen2.5-VL (arXiv 2502.13923): a language token shows 28 by 28 pixels, boxes are in pixels of the resized
image. Qwen3-VL (arXiv 2511.21631): 32 by 32, thousandths of the image's sides, and features of earlier
layers of the vision tower that are added behind the first layers of the language model (models/reading.py).
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from transformers import (
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)

from models.fast_vision import quicken

QwenVL = Qwen2_5_VLForConditionalGeneration | Qwen3VLForConditionalGeneration
QwenVLProcessor = Qwen2_5_VLProcessor | Qwen3VLProcessor


@dataclass(frozen=True)
class Part:
    """A part of a model by patterns that match full names, with whatever wrappers put before them.

    `weights` are all its parameters; `maps` the linear maps of its layers, for LoRA.
    """

    weights: str
    maps: str


@dataclass(frozen=True)
class Family:
    """One family of models; `parts` are language_model, vision_tower and projector."""

    model: type[QwenVL]
    processor: type[QwenVLProcessor]
    parts: Mapping[str, Part]
    quicken: Callable[[Any], None]  # its vision tower, in place


LANGUAGE_MODEL = Part(
    weights=r"(.*\.)?(language_model\..*|lm_head\.weight)",
    maps=r"(.*\.)?language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)",
)

FAMILIES: dict[str, Family] = {
    "qwen2_5_vl": Family(
        model=Qwen2_5_VLForConditionalGeneration,
        processor=Qwen2_5_VLProcessor,
        parts={
            "language_model": LANGUAGE_MODEL,
            "vision_tower": Part(
                weights=r"(.*\.)?visual\.(patch_embed|blocks)\..*",
                maps=r"(.*\.)?visual\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(gate|up|down)_proj)",
            ),
            "projector": Part(weights=r"(.*\.)?visual\.merger\..*", maps=r"(.*\.)?visual\.merger\.mlp\.[02]"),
        },
        quicken=quicken,
    ),
    "qwen3_vl": Family(
        model=Qwen3VLForConditionalGeneration,
        processor=Qwen3VLProcessor,
        parts={
            "language_model": LANGUAGE_MODEL,
            "vision_tower": Part(
                weights=r"(.*\.)?visual\.(patch_embed|pos_embed|blocks)\..*",
                maps=r"(.*\.)?visual\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.linear_fc[12])",
            ),
            "projector": Part(
                weights=r"(.*\.)?visual\.(merger|deepstack_merger_list)\..*",
                maps=r"(.*\.)?visual\.(merger|deepstack_merger_list\.\d+)\.linear_fc[12]",
            ),
        },
        quicken=lambda _visual: None,
    ),
}
"""Families by the `model_type` of a checkpoint's config.json."""

PARTS = ("language_model", "vision_tower", "projector")


def family_of(model: QwenVL) -> Family:
    """The family of a model."""
    return FAMILIES[model.config.model_type]


def lora_targets(family: Family, parts: Collection[str] = ("language_model",)) -> str:
    """`target_modules` of peft's `LoraConfig`: every linear map of the layers of these parts.

    A pattern and not a list of names, since the parts share names.
    """
    return "|".join(family.parts[part].maps for part in parts)


def part_of(family: Family, weight: str) -> str:
    """The part to which a parameter of this name belongs. Raises KeyError for one of no part."""
    for name, part in family.parts.items():
        if re.fullmatch(part.weights, weight):
            return name
    raise KeyError(weight)
