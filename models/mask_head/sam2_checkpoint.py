"""Reading and writing SAM 2 checkpoints: transformers' layout, safetensors only, no remote code."""

from pathlib import Path
from typing import Any

import torch
from transformers import Sam2ImageProcessor, Sam2VideoModel
from transformers.utils import logging as transformers_logging

from configs.errors import UserError
from models.checkpoint import SAFE, check_weights, loading, model_type_of
from models.checkpoint_files import MASK_HEAD_KEY, MASK_HEAD_MODEL_TYPE, check_checkpoint
from models.mask_head.sam2_config import config_of, image_side

KEY = MASK_HEAD_KEY


def load_sam2(checkpoint: str, dtype: torch.dtype) -> tuple[Sam2VideoModel, Sam2ImageProcessor]:
    """Load a model, in evaluation mode on the CPU, and its image processor.

    `checkpoint` is a local folder, read without any network, or a hub id such as
    `facebook/sam2.1-hiera-tiny`. Raises UserError where there is none, where it is no SAM 2 video
    model or where its weights do not fit its configuration.
    """
    types = (MASK_HEAD_MODEL_TYPE,)
    check_checkpoint(KEY, checkpoint, types)
    local = Path(checkpoint).is_dir()
    with loading(KEY, checkpoint):
        model_type_of(KEY, checkpoint, types)
        processor = Sam2ImageProcessor.from_pretrained(
            checkpoint, trust_remote_code=False, local_files_only=local
        )
        loaded: Any = Sam2VideoModel.from_pretrained(
            checkpoint, dtype=dtype, output_loading_info=True, local_files_only=local, **SAFE
        )
    model, report = loaded
    check_weights(KEY, checkpoint, report)
    _check_size(checkpoint, model, processor)
    return model.eval(), processor


def save_sam2(folder: Path, model: Sam2VideoModel, processor: Sam2ImageProcessor) -> None:
    """Write a checkpoint that `load_sam2` reads; weights in the model's dtype."""
    transformers_logging.disable_progress_bar()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _check_size(checkpoint: str, model: Sam2VideoModel, processor: Sam2ImageProcessor) -> None:
    height, width = processor.size["height"], processor.size["width"]
    side = image_side(config_of(model))
    if (height, width) != (side, side):
        raise UserError(
            f"{KEY}={checkpoint}: the processor makes images of {width}x{height}, the model takes "
            f"{side}x{side}; make the two equal in the folder's json files"
        )
