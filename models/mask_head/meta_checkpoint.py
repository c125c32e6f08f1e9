"""Meta's checkpoints of SAM 2 (`sam2.1_hiera_tiny.pt`, …), converted to transformers' folders and back.

A checkpoint of Meta is a pickle of `{"model": weights}`. It is read with `weights_only=True`, which creates
tensors and containers and runs no code. It says nothing about its size, which is recognised from the shapes
of its weights. Both conversions change names alone and keep every number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import Sam2VideoConfig, Sam2VideoModel, Sam2VideoProcessor, Sam2VideoVideoProcessor

from configs.errors import UserError
from data_prep.files import whole_file
from models.checkpoint_files import check_checkpoint
from models.mask_head.checkpoint_checks import SAM2_TYPES
from models.mask_head.meta_names import (
    IMAGE_CODE,
    NAMES_OF_POINTS,
    POINT_CODE,
    POINTS,
    TO_META,
    TO_TRANSFORMERS,
    renamed,
)
from models.mask_head.sam2_model import PUBLISHED, build_processor, image_side, published_config

Weights = dict[str, torch.Tensor]
WEIGHTS = "model.safetensors"
KEY = "checkpoint"  # of `python -m models task=convert`
PATCH_EMBEDDING = "image_encoder.trunk.patch_embed.proj.weight"
# Weights that SAM 2.1 added to SAM 2.
OCCLUSION, POINTER_TIME = "no_obj_embed_spatial", "obj_ptr_tpos_proj.weight"


@dataclass(frozen=True)
class MetaModel:
    """A published size in Meta's repository: the key in `PUBLISHED`, and the names of Meta's two files."""

    size: str
    checkpoint: str
    yaml: str


def meta_model(size: str, version: str) -> MetaModel:
    """The names of a published size (a key of `PUBLISHED`) in Meta's version `2` or `2.1`."""
    name = size.removeprefix("sam2_1_")
    short = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}[name]
    return MetaModel(
        size,
        f"sam{version}_hiera_{name}.pt",
        f"configs/sam{version}/sam{version}_hiera_{short}.yaml",
    )


# ---- Meta's files ---------------------------------------------------------------------------------


def read_meta_weights(path: Path, key: str = KEY) -> Weights:
    """The weights in a checkpoint of Meta, on the CPU. Runs no code of the file.

    `key` is the configuration key for messages. Raises UserError where the file cannot be read in this way,
    and where the weights are not those of SAM 2.
    """
    named = f"{key}={path}"
    try:
        # mmap: only the weights are read, and not the state of an optimizer that training adds to the file.
        content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as fault:  # damaged files raise nearly any exception
        reason = " ".join(str(fault).split())[:200]
        raise UserError(
            f"{named}: cannot be read as a file of weights alone ({type(fault).__name__}: {reason}); "
            "download it again"
        ) from None
    weights = content.get("model") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(each, torch.Tensor) for each in weights.values()):
        raise UserError(f"{named}: has no weights under the key 'model', as Meta's checkpoints do")
    if any(str(name).startswith("spatial_perceiver.") for name in weights):
        raise UserError(
            f"{named}: holds EdgeTAM, which is read in transformers' layout only; take mask_head=edgetam"
        )
    if PATCH_EMBEDDING not in weights:
        raise UserError(f"{named}: does not hold the weights of SAM 2 ({PATCH_EMBEDDING} is missing)")
    return weights


def recognise_size(path: Path, weights: Mapping[str, torch.Tensor], key: str = KEY) -> MetaModel:
    """The published size with as many channels and blocks as these weights of Meta's.

    `key` is the configuration key for messages. Raises UserError for weights of another size.
    """
    # The weights of the patch embedding are (channels, 3, 7, 7).
    width = len(weights[PATCH_EMBEDDING])
    prefix = "image_encoder.trunk.blocks."
    blocks = {name.removeprefix(prefix).split(".")[0] for name in weights if name.startswith(prefix)}
    for size, published in PUBLISHED.items():
        if (published.hiera.widths[0], sum(published.hiera.blocks)) == (width, len(blocks)):
            return meta_model(size, "2.1" if OCCLUSION in weights else "2")
    raise UserError(
        f"{key}={path}: its image encoder has {width} channels and {len(blocks)} blocks, and no published "
        "size of SAM 2 has these numbers"
    )


# ---- weights --------------------------------------------------------------------------------------


def to_transformers(path: Path, weights: Mapping[str, torch.Tensor]) -> Weights:
    """Weights of Meta's by transformers' names. Raises UserError for a weight that SAM 2 does not have."""
    found: Weights = {}
    for name, weight in weights.items():
        if name not in NAMES_OF_POINTS:
            found[_renamed(path, name, TO_TRANSFORMERS)] = weight
    missing = [name for name in NAMES_OF_POINTS if name not in weights]
    if missing or POINT_CODE not in found:
        raise UserError(f"{KEY}={path}: {[*missing, POINT_CODE][0]} is missing; download it again")
    found[POINTS] = torch.cat([weights[name] for name in NAMES_OF_POINTS])
    found[IMAGE_CODE] = found[POINT_CODE].clone()
    return found


def to_meta(path: Path, weights: Mapping[str, torch.Tensor]) -> Weights:
    """Weights of transformers' by Meta's names. Raises UserError for a weight that SAM 2 does not have."""
    found: Weights = {}
    for name, weight in weights.items():
        if name == POINTS:
            # (4, C) -> four of (1, C)
            found.update(zip(NAMES_OF_POINTS, weight.split(1), strict=True))
        elif name == IMAGE_CODE:
            # Meta has one matrix for points and image. Folders of transformers 4.57 hold this one alone.
            found.setdefault(_renamed(path, POINT_CODE, TO_META), weight)
        else:
            found[_renamed(path, name, TO_META)] = weight
    return found


def _renamed(path: Path, name: str, rules: Any) -> str:
    new = renamed(name, rules)
    if new is None:
        raise UserError(f"{KEY}={path}: holds {name}, which is not a weight of SAM 2")
    return new


# ---- conversions ----------------------------------------------------------------------------------


def write_transformers_folder(path: Path, folder: Path) -> MetaModel:
    """Convert a checkpoint of Meta to a folder that `mask_head.checkpoint=` and transformers read.

    Raises UserError where it is not a checkpoint of a published size.
    """
    weights = read_meta_weights(path)
    model, config = _published(path, weights)
    converted = {name: each.contiguous() for name, each in to_transformers(path, weights).items()}
    _check_complete(path, converted, config)
    config.architectures = ["Sam2VideoModel"]
    config.dtype = converted[POINTS].dtype
    save_file(converted, folder / WEIGHTS, metadata={"format": "pt"})
    config.save_pretrained(folder)
    side = image_side(config)
    video_processor = Sam2VideoVideoProcessor(size={"height": side, "width": side})
    Sam2VideoProcessor(build_processor(config), video_processor).save_pretrained(folder)
    return model


def write_meta_file(source: Path, folder: Path) -> MetaModel:
    """Convert a folder of transformers to a checkpoint of Meta in `folder`, named as Meta names that size.

    Raises UserError where the folder holds no SAM 2 of a published size.
    """
    check_checkpoint(KEY, str(source), SAM2_TYPES)
    weights: Weights = {}
    for path in sorted(source.glob("*.safetensors")):
        weights.update(load_file(path))
    found = to_meta(source, weights)
    if PATCH_EMBEDDING not in found:
        raise UserError(f"{KEY}={source}: does not hold the weights of SAM 2 ({PATCH_EMBEDDING} is missing)")
    model, config = _published(source, found)
    _check_complete(source, to_transformers(source, found), config)
    with whole_file(folder / model.checkpoint) as temporary:
        torch.save({"model": found}, temporary)
    return model


def _published(path: Path, weights: Mapping[str, torch.Tensor]) -> tuple[MetaModel, Sam2VideoConfig]:
    """The published size with these weights of Meta's, and its configuration in SAM 2 or SAM 2.1."""
    model = recognise_size(path, weights)
    config = published_config(model.size)
    config.enable_occlusion_spatial_embedding = OCCLUSION in weights
    config.enable_temporal_pos_encoding_for_object_pointers = POINTER_TIME in weights
    return model, config


def _check_complete(path: Path, weights: Mapping[str, torch.Tensor], config: Sam2VideoConfig) -> None:
    """Raise UserError where weights are missing, too many, or of other shapes than the published ones."""
    with torch.device("meta"):  # shapes alone
        wanted = {name: each.shape for name, each in Sam2VideoModel(config).state_dict().items()}
    found = {name: each.shape for name, each in weights.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise UserError(
                f"{KEY}={path}: the shape of {name} is {_shape(found.get(name))} instead of "
                f"{_shape(wanted.get(name))}; take a complete checkpoint of a published size"
            )


def _shape(size: torch.Size | None) -> str:
    return "missing" if size is None else "x".join(map(str, size)) or "scalar"
