"""Loading mask heads in transformers' layout: safetensors only, and no code of a checkpoint is executed.

SAM 2, EdgeTAM and the tracker of SAM 3 differ in their classes and in the `model_type` of their checkpoints
(`Architecture`). Everything else about loading is the same, and is done here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig

from configs.errors import UserError
from models.checkpoint import SAFE, check_weights, loading, model_type_of
from models.mask_head.checkpoint_checks import KEY, check_mask_head_folder, check_mask_head_type, check_parts

SHARED_CODE = "prompt_encoder.shared_embedding.positional_embedding"

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Architecture:
    """The classes of transformers that load and run one kind of mask head.

    `model_types` are the values of `model_type` in config.json that are accepted. `compresses_maps`
    says that memory maps are compressed to tokens, as in EdgeTAM. They then have the shape (B, tokens, C)
    instead of (L, B, C), the memory attention takes the number of maps as an argument, and the memory encoder
    takes a single target.
    """

    model_types: tuple[str, ...]
    model_class: Any
    processor_class: Any
    compresses_maps: bool = False


def load_model(
    checkpoint: str, architecture: Architecture, dtype: torch.dtype, device: torch.device = CPU
) -> tuple[Any, Any]:
    """Load a model, in evaluation mode, and its image processor. Weights are read straight to the device.

    `checkpoint` is a local folder, read without any network, or a hub id such as
    `facebook/sam2.1-hiera-tiny`. Raises UserError where the checkpoint is missing or of another type, where
    its settings name parts that are not built (`check_parts`), and where its weights do not fit them.
    """
    check_mask_head_folder(checkpoint, architecture.model_types)
    local = Path(checkpoint).is_dir()
    with loading(KEY, checkpoint):
        # 1. The settings alone, before any weight is fetched.
        settings, _ = PreTrainedConfig.get_config_dict(checkpoint)
        check_mask_head_type(checkpoint, settings.get("model_type"), architecture.model_types)
        model_type_of(KEY, checkpoint, architecture.model_types)
        check_parts(checkpoint, settings)
        # 2. Processor and weights. A local folder is read without any network.
        processor = architecture.processor_class.from_pretrained(
            checkpoint, trust_remote_code=False, local_files_only=local
        )
        model, report = architecture.model_class.from_pretrained(
            checkpoint,
            dtype=dtype,
            device_map={"": device},
            output_loading_info=True,
            local_files_only=local,
            **SAFE,
        )
    _fill_shared_code(model, report)
    check_weights(KEY, checkpoint, report)
    _check_size(checkpoint, model, processor)
    # `from_pretrained` returns models in evaluation mode; it is stated here because training starts from the
    # same function.
    return model.eval(), processor


def image_side(config: Any) -> int:
    """The side in pixels of the square image that a model of this configuration takes."""
    side = config.image_size
    assert isinstance(side, int), (
        "mask heads take square images, and their configurations say so by one number"
    )
    return side


def _fill_shared_code(model: Any, report: dict[str, set[str]]) -> None:
    """Fill the position encoding of points where a checkpoint lacks it.

    It is the same random matrix as that of the image tokens. transformers 4.57 ties the two and saves one of
    them, as do the published checkpoints; from 5.0 on they are two weights, and the missing one would be
    initialised randomly.
    """
    if SHARED_CODE not in report["missing_keys"]:
        return
    with torch.no_grad():
        code = model.prompt_encoder.shared_embedding.positional_embedding
        code.copy_(model.shared_image_embedding.positional_embedding)
    report["missing_keys"] = set(report["missing_keys"]) - {SHARED_CODE}


def _check_size(checkpoint: str, model: Any, processor: Any) -> None:
    height, width = processor.size["height"], processor.size["width"]
    side = image_side(model.config)
    if (height, width) != (side, side):
        raise UserError(
            f"{KEY}={checkpoint}: the processor makes images of {width}x{height}, the model takes "
            f"{side}x{side}; make the two equal in the folder's json files"
        )
