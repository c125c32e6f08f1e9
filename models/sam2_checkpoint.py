"""Reading and writing SAM 2 checkpoints: transformers' layout, safetensors only, no remote code."""

import re
import warnings
from pathlib import Path

import torch
from transformers import PreTrainedConfig, Sam2ImageProcessor, Sam2VideoModel

from configs.errors import UserError

MODEL_TYPE = "sam2_video"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def load_sam2(checkpoint: str, dtype: torch.dtype) -> tuple[Sam2VideoModel, Sam2ImageProcessor]:
    """Load a model, in evaluation mode on the CPU, and its image processor.

    `checkpoint` is a local folder, read without any network, or a hub id such as
    `facebook/sam2.1-hiera-tiny`. Raises UserError where there is none, where it is no SAM 2 video
    model or where its weights do not fit its configuration.
    """
    local = Path(checkpoint).is_dir()
    if not local and not HUB_ID.fullmatch(checkpoint):
        raise UserError(f"{checkpoint}: no such folder; set mask_head.checkpoint to one or to a hub id")
    try:
        _check_type(checkpoint, local)
        processor = Sam2ImageProcessor.from_pretrained(checkpoint, local_files_only=local)
        model, report = Sam2VideoModel.from_pretrained(
            checkpoint,
            dtype=dtype,
            local_files_only=local,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, RuntimeError, ValueError) as fault:
        first_line = str(fault).strip().splitlines()[0]
        raise UserError(f"{checkpoint}: cannot load a SAM 2 mask head: {first_line}") from fault
    _check_weights(checkpoint, report)
    _check_size(checkpoint, model, processor)
    return model.eval(), processor


def save_sam2(folder: Path, model: Sam2VideoModel, processor: Sam2ImageProcessor) -> None:
    """Write a checkpoint that `load_sam2` reads; weights in the model's dtype."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _check_type(checkpoint: str, local: bool) -> None:
    """Transformers would build a SAM 2 from any model's configuration, with random weights."""
    settings, _ = PreTrainedConfig.get_config_dict(checkpoint, local_files_only=local)
    found = settings.get("model_type")
    if found != MODEL_TYPE:
        raise UserError(f"{checkpoint}: config.json says model_type {found!r}, a mask head is {MODEL_TYPE!r}")


def _check_weights(checkpoint: str, report: dict[str, set[str]]) -> None:
    missing, unexpected = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    if missing:
        raise UserError(f"{checkpoint}: {len(missing)} weights are missing, the first is {missing[0]}")
    if unexpected:
        warnings.warn(
            f"{checkpoint}: {len(unexpected)} weights are not used, first {unexpected[0]}", stacklevel=3
        )


def _check_size(checkpoint: str, model: Sam2VideoModel, processor: Sam2ImageProcessor) -> None:
    size = (processor.size["height"], processor.size["width"])
    if size != (model.image_size, model.image_size):
        raise UserError(
            f"{checkpoint}: its processor makes images of {size[0]}x{size[1]}, "
            f"its model takes {model.image_size}x{model.image_size}; make the two equal"
        )
