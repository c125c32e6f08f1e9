"""The description of a family of models, as one value. Imports neither torch nor transformers."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

PARTS = ("language_model", "projector", "vision_tower")
"""The parts of a model that can be trained or frozen separately."""


@dataclass(frozen=True)
class ModelPart:
    """A part of a model, given by regular expressions that match whole names.

    Names may have a prefix, since peft and other wrappers put one before them. `weights` matches the names of
    all parameters of the part, `linear_layers` those of the modules that LoRA adapts.
    """

    weights: str
    linear_layers: str


@dataclass(frozen=True)
class PublishedSize:
    """A published checkpoint.

    `config` holds the keyword arguments of the family's configuration class. A checkpoint has its own
    configuration; this one is for checks, memory estimates and benchmarks, which have no checkpoint.
    """

    model_type: str
    checkpoint: str  # hub id
    parameters: int  # of the model that transformers loads
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """A family of multimodal models, as a module of `models.families` defines it under the name `FAMILY`.

    Model and processor are loaded through functions, so that transformers is imported only when they are
    needed.
    """

    model_type: str
    """The `model_type` of a checkpoint's config.json."""
    hub_prefix: str
    """How the hub ids of the family's published checkpoints begin."""
    contract: str
    """The built-in contract of published checkpoints, which carry none of their own."""
    sizes: Mapping[str, PublishedSize]
    """Published checkpoints by their option of `model=`."""
    parts: Mapping[str, ModelPart]
    """The parts of the model, by the names of `PARTS`."""
    model_class: Callable[[], Any]
    """Imports and returns the model's class."""
    processor_class: Callable[[], Any]
    """Imports and returns the processor's class."""
    unmasked: Any = None
    """The `attention_mask` that makes the model build no mask, for packed rows."""
    supports_packing: bool = True
    """Whether a row may hold several samples one after the other in training. Layers that carry a state from
    token to token (linear attention) would mix the samples. Training then pads each sample to a row."""
    supports_drafts: bool = True
    """Whether the cache can drop tokens after a forward pass, which verifying drafts of answers needs. The
    state of linear attention cannot. Answers are then decoded without drafts."""
    apply_fast_kernels: Callable[[Any], None] | None = None
    """Replaces modules of a vision tower by faster ones, in place; None where there are none."""


def lora_targets(family: Family, parts: Collection[str] = ("language_model",)) -> str:
    """The `target_modules` of peft's `LoraConfig` that adapt every linear layer of these parts.

    It is a regular expression and not a list of names, because the same names occur in several parts.
    """
    # peft matches a string as a regular expression against whole names of modules.
    return "|".join(family.parts[part].linear_layers for part in parts)


def part_of(family: Family, weight: str) -> str:
    """The part to which the parameter named `weight` belongs. Raises KeyError where there is none."""
    for name, part in family.parts.items():
        if re.fullmatch(part.weights, weight):
            return name
    raise KeyError(weight)


FAMILIES: dict[str, Family] = {}
"""Registered families by the `model_type` of a checkpoint's config.json."""
PUBLISHED_SIZES: dict[str, PublishedSize] = {}
"""Published checkpoints of the registered families by their option of `model=`."""
RESERVED_OPTIONS: set[str] = set()
"""Options of `model=` that are no published size (`models.grounder.registry`)."""


def register_family(family: Family) -> Family:
    """Make a family known by its `model_type`, and its published sizes as options of `model=`; returns it.

    Raises ValueError where one of the sizes is an option of another family or of a registered grounder.
    """
    # Sizes of all families are options of one group, so their names must be distinct.
    for name in family.sizes:
        if name in RESERVED_OPTIONS:
            raise ValueError(f"model={name} is a registered grounder already; give the size another name")
        held = PUBLISHED_SIZES.get(name)
        if held is not None and held.model_type != family.model_type:
            raise ValueError(f"model={name} is a size of {held.model_type} already; give it another name")
    FAMILIES[family.model_type] = family
    PUBLISHED_SIZES.update(family.sizes)
    return family


def family_of(model: Any) -> Family:
    """The family of a transformers model, by its `config.model_type`."""
    return FAMILIES[model.config.model_type]
