"""A forward pass of the grounder over encoded questions, each picture seen once."""

from typing import Any

import torch
import torch.nn.functional as F
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutputWithPooling

from models.questions import Encoded


def see(
    model: Qwen2_5_VLForConditionalGeneration, pixel_values: torch.Tensor, grids: torch.Tensor
) -> list[torch.Tensor]:
    """Features (tokens, width) of each picture, row-major; pictures of one size are seen together.

    `pixel_values` (patches, values of a patch) and `grids` (pictures, 3) come from the image processor.
    """
    pixels = pixel_values.split(grids.prod(1).tolist())
    features: dict[int, torch.Tensor] = {}
    for grid in grids.unique(dim=0):
        alike = (grids == grid).all(1).nonzero()[:, 0].tolist()
        seen = model.model.get_image_features(torch.cat([pixels[index] for index in alike]), grids[alike])
        features |= dict(zip(alike, seen.pooler_output, strict=True))
    return [features[index] for index in range(len(grids))]


def read(
    model: Qwen2_5_VLForConditionalGeneration,
    encoded: Encoded,
    features: list[torch.Tensor] | None = None,
    **kwargs: Any,
) -> Any:
    """The language model over a batch; `features` are what `see` gave for its pictures, if it was called.

    Takes the arguments of the library's own forward pass and returns what that returns.
    """
    inputs = encoded.inputs
    grids = inputs["image_grid_thw"]
    if features is None:
        features = see(model, inputs["pixel_values"], grids)
    shown = [index for row in encoded.shown for index in row]
    at_placeholders: Any = [features[index] for index in shown]  # a list, as `get_image_features` has it
    return model(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        mm_token_type_ids=inputs["mm_token_type_ids"],
        image_grid_thw=grids[shown],
        mm_encoder_outputs={"image": BaseModelOutputWithPooling(pooler_output=at_placeholders)},
        **kwargs,
    )


def read_packed(
    model: Qwen2_5_VLForConditionalGeneration, encoded: Encoded, features: list[torch.Tensor], **kwargs: Any
) -> Any:
    """As `read`, with the questions of a batch one behind the other in one row and no padding between.

    The language model must attend as `models.packing.attend_packed` sets it.
    """
    inputs = encoded.inputs
    kept = inputs["attention_mask"].bool()
    shown = [index for row in encoded.shown for index in row]
    grids = inputs["image_grid_thw"][shown]
    positions, _ = model.model.get_rope_index(
        inputs["input_ids"],
        mm_token_type_ids=inputs["mm_token_type_ids"],
        image_grid_thw=grids,
        attention_mask=inputs["attention_mask"],
    )
    at_placeholders: Any = [features[index] for index in shown]
    return model(
        input_ids=inputs["input_ids"][kept][None],
        attention_mask={"full_attention": None},  # there is no mask: attention goes by the bounds
        position_ids=positions[:, kept][:, None],
        mm_token_type_ids=inputs["mm_token_type_ids"][kept][None],
        image_grid_thw=grids,
        mm_encoder_outputs={"image": BaseModelOutputWithPooling(pooler_output=at_placeholders)},
        cu_seq_lens_q=F.pad(kept.sum(1).cumsum(0), (1, 0)).int(),
        use_cache=False,
        **kwargs,
    )
