"""The families of multimodal models that can be the grounder, one module each.

Every module of this package that defines `FAMILY` is found by listing the package. A new family is therefore
one new file. No module of this package imports torch or transformers before a model is asked for, since
settings and the checks of a checkpoint's folder are read from here too.
"""

import importlib
import pkgutil
from typing import Any

from models.families.family import PARTS, Family, ModelPart, PublishedSize, lora_targets, part_of

__all__ = [
    "FAMILIES",
    "PARTS",
    "PUBLISHED_SIZES",
    "Family",
    "ModelPart",
    "PublishedSize",
    "family_of",
    "lora_targets",
    "part_of",
]


def _discover() -> dict[str, Family]:
    """The families that the modules of this package define, in the order of the modules' names."""
    found: dict[str, Family] = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        family = getattr(importlib.import_module(module.name), "FAMILY", None)
        if isinstance(family, Family):
            found[family.model_type] = family
    return found


FAMILIES: dict[str, Family] = _discover()
"""Families by the `model_type` of a checkpoint's config.json."""

PUBLISHED_SIZES: dict[str, PublishedSize] = {
    name: size for family in FAMILIES.values() for name, size in family.sizes.items()
}
"""Published checkpoints by their option of `model=`."""


def family_of(model: Any) -> Family:
    """The family of a transformers model, by its `config.model_type`."""
    return FAMILIES[model.config.model_type]
