"""Loading the detector of SAM 3, without its mask decoder; no code of a checkpoint is executed."""

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, Sam3Config, Sam3Model, Sam3Processor
from transformers.models.sam3.modeling_sam3 import Sam3MaskDecoderOutput

from configs.errors import UserError
from models.checkpoint import SAFE, check_vocabulary, check_weights, loading, model_type_of
from models.checkpoint_files import GROUNDER_KEY as KEY
from models.grounder.sam3_checks import SAM3_DETECTOR_TYPES, check_sam3_detector_checkpoint
from models.mask_head.checkpoint_checks import check_parts


class _NoMasks(torch.nn.Module):
    """Takes the place of the mask decoder. Masks are the concern of the mask head."""

    def forward(self, **_: Any) -> Sam3MaskDecoderOutput:
        return Sam3MaskDecoderOutput()


class Sam3BoxModel(Sam3Model):
    """`Sam3Model` without its mask decoder.

    The mask decoder takes about a quarter of the time of a question (measured on a CPU), and needs feature
    maps of 288x288 and 144x144. Without it, the map of 72x72 that the DETR attends to is all that has to be
    kept of a frame: 5 MB instead of 110.
    """

    def __init__(self, config: Sam3Config) -> None:
        super().__init__(config)
        no_masks: Any = _NoMasks()
        self.mask_decoder = no_masks
        # Its weights in a checkpoint are not reported as unused. (A set from `post_init` on.)
        ignored: Any = {*self._keys_to_ignore_on_load_unexpected, r"mask_decoder\."}
        self._keys_to_ignore_on_load_unexpected = ignored


def load_model(checkpoint: str, device: torch.device) -> tuple[Sam3BoxModel, Sam3Processor]:
    """Load the detector in float32 and evaluation mode, and the processor of its images and expressions.

    Raises UserError where the checkpoint is missing or of another type, where its settings name parts that
    are not built, and where tokenizer or image size do not fit the weights.
    """
    check_sam3_detector_checkpoint(checkpoint)
    local = Path(checkpoint).is_dir()
    with loading(KEY, checkpoint):
        # 1. The settings alone, before any weight is fetched.
        settings, _ = PreTrainedConfig.get_config_dict(checkpoint)
        model_type_of(KEY, checkpoint, SAM3_DETECTOR_TYPES)
        check_parts(checkpoint, settings, KEY)
        # 2. Processor and weights. A local folder is read without any network.
        processor = Sam3Processor.from_pretrained(checkpoint, trust_remote_code=False, local_files_only=local)
        loaded: Any = Sam3BoxModel.from_pretrained(
            checkpoint,
            dtype=torch.float32,
            device_map={"": device},
            output_loading_info=True,
            local_files_only=local,
            **SAFE,
        )
    model, report = loaded
    # 3. Whether the parts fit each other.
    check_weights(KEY, checkpoint, report)
    check_vocabulary(KEY, checkpoint, len(processor.tokenizer), model.config.text_config.vocab_size)
    size, side = processor.image_processor.size, model.config.vision_config.image_size
    if (size["height"], size["width"]) != (side, side):
        raise UserError(
            f"{KEY}={checkpoint}: the processor makes images of {size['height']}x{size['width']}, the model "
            f"takes {side}x{side}; make the two equal in the folder's json files"
        )
    return model.eval(), processor
