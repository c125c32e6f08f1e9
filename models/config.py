"""Settings of the grounder and of the mask head. Imports nothing heavy."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from configs.schema import key
from data_prep.contract.contract import BUILT_IN
from models.families import PUBLISHED_SIZES
from models.interfaces import Masking
from models.mask_head.registry import MASK_HEADS, register_mask_head

__all__ = [
    "DEVICES",
    "DTYPES",
    "GROUNDERS",
    "MASK_HEADS",
    "SHIPPED",
    "GrounderConfig",
    "MaskHeadConfig",
]

DTYPES = ("auto", "float32", "bfloat16", "float16")
DEVICES = ("auto", "cpu", "cuda", "cuda:N")


@dataclass(frozen=True)
class GrounderConfig:
    """The grounder: the multimodal LLM that finds the target (`model=…`)."""

    checkpoint: str = key(
        MISSING, "local folder of the weights, or a hub id such as Qwen/Qwen2.5-VL-7B-Instruct"
    )
    contract: str = key(
        "auto",
        "prompt contract: qwen (Qwen2.5-VL), qwen3 (Qwen3-VL) or short; auto: the checkpoint's own, or for "
        "Qwen's hub ids that of the family",
        choices=("auto", *BUILT_IN),
    )
    dtype: str = key(
        "auto", "dtype of the weights; auto: bfloat16 on a CUDA GPU, else float32", choices=DTYPES
    )
    batch: int = key(
        8, "number of questions that are answered in one batch; reduce it if memory runs out", minimum=1
    )
    box_threshold: float = key(
        0.05, "no box is decoded for answers whose visible probability is lower; this saves time"
    )


@dataclass(frozen=True)
class MaskHeadConfig:
    """The mask head: SAM 2, which makes masks from boxes and propagates them (`mask_head=…`).

    Settings of other mask heads are subclasses (`models.mask_head.registry`).
    """

    checkpoint: str = key(
        MISSING, "local folder of the weights, or a hub id such as facebook/sam2.1-hiera-large"
    )
    dtype: str = key(
        "auto", "dtype of the weights; auto: bfloat16 on a CUDA GPU, else float32", choices=DTYPES
    )


SHIPPED = Path(__file__).resolve().parent / "weights"
"""The folder of the small checkpoints that come with the repository."""


class _GrounderOptions(Mapping[str, GrounderConfig]):
    """The shipped checkpoint and the published sizes of all registered families.

    A live view: families that are registered later appear in it.
    """

    def __getitem__(self, name: str) -> GrounderConfig:
        if name == "nano":
            return GrounderConfig(str(SHIPPED / "nano_grounder"))
        return GrounderConfig(PUBLISHED_SIZES[name].checkpoint)

    def __iter__(self) -> Iterator[str]:
        yield "nano"
        yield from PUBLISHED_SIZES

    def __len__(self) -> int:
        return 1 + len(PUBLISHED_SIZES)


GROUNDERS: Mapping[str, GrounderConfig] = _GrounderOptions()
"""Options of `model=`."""


# SAM 2. Its modules are imported inside the functions, because they import torch.
def _check_sam2(config: MaskHeadConfig) -> None:
    from models.checkpoint_files import check_mask_head_checkpoint

    check_mask_head_checkpoint(config)


@register_mask_head(
    check=_check_sam2,
    nano=MaskHeadConfig(str(SHIPPED / "nano_mask_head")),
    sam2_1_tiny=MaskHeadConfig("facebook/sam2.1-hiera-tiny"),
    sam2_1_small=MaskHeadConfig("facebook/sam2.1-hiera-small"),
    sam2_1_base_plus=MaskHeadConfig("facebook/sam2.1-hiera-base-plus"),
    sam2_1_large=MaskHeadConfig("facebook/sam2.1-hiera-large"),
)
def _load_sam2(config: MaskHeadConfig, device: Any) -> Masking:
    from models.devices import choose_dtype
    from models.mask_head.sam2 import MaskHead

    return MaskHead.load(config.checkpoint, device, choose_dtype(config.dtype, device))
