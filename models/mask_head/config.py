"""Settings of mask heads, and the options of `mask_head=`. Imports nothing heavy.

Modules that import torch are imported inside the functions.
"""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from configs.errors import UserError
from configs.schema import key
from models.base_config import DTYPE, DTYPES, SHIPPED
from models.interfaces import Masking
from models.mask_head.memory_policies.registry import MEMORY_POLICIES, PLAIN, memory_policy_of
from models.mask_head.registry import MASK_HEADS, register_mask_head

__all__ = ["MASK_HEADS", "EdgeTamConfig", "MaskHeadConfig", "Sam2MetaConfig", "Sam3TrackerConfig"]

MEMORY_POLICIES.load_package()
CROPS = ("none", "small", "all")


@dataclass(frozen=True)
class MaskHeadConfig:
    """The mask head, which makes masks from boxes and propagates them (`mask_head=…`).

    These are the settings of SAM 2. Those of other mask heads are subclasses (`models.mask_head.registry`).
    """

    checkpoint: str = key(
        MISSING, "local folder of the weights, or a hub id such as facebook/sam2.1-hiera-large"
    )
    dtype: str = key("auto", DTYPE, choices=DTYPES)
    crop: str = key(
        "none",
        "small: masks of small targets are made from a square that is cut out of the frame around them, "
        "where they are several times as large; all: those of all targets, which helps a mask head of "
        "small images; takes one more encoding for each such mask; targets are propagated as without it",
        choices=CROPS,
    )
    memory: str = key(
        PLAIN,
        "which frames the memory of a target keeps: plain, as in SAM 2; gated, those that show the target; "
        "distractor_aware, also those that tell it from a look-alike (DAM4SAM); samurai, those with high "
        "scores, and the mask where the target is expected",
        choices=lambda: MEMORY_POLICIES,
    )
    memory_settings: dict[str, float] = key(
        {}, "numbers of the memory policy in place of its defaults, as in {min_iou: 0.6} (docs/inference.md)"
    )


@dataclass(frozen=True)
class Sam2MetaConfig(MaskHeadConfig):
    """SAM 2 in Meta's own code, the package `sam2`, with Meta's own checkpoints (`mask_head=sam2_meta`)."""


@dataclass(frozen=True)
class EdgeTamConfig(MaskHeadConfig):
    """EdgeTAM, a small and fast relative of SAM 2 (`mask_head=edgetam`)."""


@dataclass(frozen=True)
class Sam3TrackerConfig(MaskHeadConfig):
    """The tracker of SAM 3 (`mask_head=sam3_tracker`)."""


def _check_sam2(config: MaskHeadConfig) -> None:
    from models.mask_head.checkpoint_checks import check_sam2_checkpoint

    check_sam2_checkpoint(config.checkpoint)


@register_mask_head(
    check=_check_sam2,
    nano=MaskHeadConfig(str(SHIPPED / "nano_mask_head"), crop="all"),
    sam2_1_tiny=MaskHeadConfig("facebook/sam2.1-hiera-tiny"),
    sam2_1_small=MaskHeadConfig("facebook/sam2.1-hiera-small"),
    sam2_1_base_plus=MaskHeadConfig("facebook/sam2.1-hiera-base-plus"),
    sam2_1_large=MaskHeadConfig("facebook/sam2.1-hiera-large"),
)
def _load_sam2(config: MaskHeadConfig, device: Any) -> Masking:
    from models.devices import choose_dtype
    from models.mask_head.sam2 import MaskHead

    return MaskHead.load(config.checkpoint, device, choose_dtype(config.dtype, device))


def _check_sam2_meta(config: Sam2MetaConfig) -> None:
    if memory_policy_of(config).chooses_masks:
        raise UserError(
            f"mask_head.memory={config.memory}: Meta's code chooses the mask of a target itself; convert the "
            "checkpoint (python -m models task=convert), and name its size as mask_head="
        )
    from models.mask_head.checkpoint_checks import check_sam2_meta_checkpoint

    check_sam2_meta_checkpoint(config.checkpoint)


@register_mask_head(check=_check_sam2_meta, sam2_meta=Sam2MetaConfig("facebook/sam2.1-hiera-large"))
def _load_sam2_meta(config: Sam2MetaConfig, device: Any) -> Masking:
    from models.devices import choose_dtype
    from models.mask_head.sam2_meta import Sam2Meta

    return Sam2Meta.load(config.checkpoint, device, choose_dtype(config.dtype, device))


def _check_edgetam(config: EdgeTamConfig) -> None:
    from models.mask_head.checkpoint_checks import check_edgetam_checkpoint

    check_edgetam_checkpoint(config.checkpoint)


@register_mask_head(check=_check_edgetam, edgetam=EdgeTamConfig("yonigozlan/EdgeTAM-hf"))
def _load_edgetam(config: EdgeTamConfig, device: Any) -> Masking:
    from models.devices import choose_dtype
    from models.mask_head.edgetam import EdgeTam

    return EdgeTam.load(config.checkpoint, device, choose_dtype(config.dtype, device))


def _check_sam3_tracker(config: Sam3TrackerConfig) -> None:
    from models.mask_head.checkpoint_checks import check_sam3_tracker_checkpoint

    check_sam3_tracker_checkpoint(config.checkpoint)


@register_mask_head(check=_check_sam3_tracker, sam3_tracker=Sam3TrackerConfig("facebook/sam3"))
def _load_sam3_tracker(config: Sam3TrackerConfig, device: Any) -> Masking:
    from models.devices import choose_dtype
    from models.mask_head.sam3_tracker import Sam3Tracker

    return Sam3Tracker.load(config.checkpoint, device, choose_dtype(config.dtype, device))
