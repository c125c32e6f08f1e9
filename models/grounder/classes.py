"""The grounder's model classes: their types, and models and configurations of published sizes."""

import copy
from typing import Any

import torch
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)

from models.families import FAMILIES, PUBLISHED_SIZES, family_of

QwenVL = Qwen2_5_VLForConditionalGeneration | Qwen3VLForConditionalGeneration
"""What annotations call a grounder's model. Models of further families have the same methods."""
QwenVLProcessor = Qwen2_5_VLProcessor | Qwen3VLProcessor


def apply_fast_kernels(model: QwenVL) -> None:
    """Replace modules of a model's vision tower by faster ones of its family, in place.

    Weights and their names stay as they are, and results equal to rounding. Applying it twice changes
    nothing.
    """
    apply = family_of(model).apply_fast_kernels
    if apply is not None:
        apply(model.model.visual)


def published_config(name: str) -> Qwen2_5_VLConfig | Qwen3VLConfig:
    """The configuration of a published size, a key of `models.families.PUBLISHED_SIZES`."""
    size = PUBLISHED_SIZES[name]
    config_class: Any = FAMILIES[size.model_type].model_class().config_class
    config: Qwen2_5_VLConfig | Qwen3VLConfig = config_class(**copy.deepcopy(size.config))
    return config


def build_empty(name: str) -> QwenVL:
    """A model of a published size on the meta device: it has every module and shape, and takes no memory."""
    with torch.device("meta"):
        model: QwenVL = FAMILIES[PUBLISHED_SIZES[name].model_type].model_class()(published_config(name))
    return model
