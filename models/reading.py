"""A forward pass of the grounder over encoded questions, each picture seen once."""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from models.families import QwenVL
from models.questions import Encoded


@dataclass(frozen=True, eq=False)
class Seen:
    """What the vision tower says of a picture, (tokens, width) each, row-major.

    `tokens` stand at the picture's placeholders. `deeper` are added to the hidden states there, one behind
    each of the first layers of the language model (DeepStack, arXiv 2406.04334): Qwen3-VL has three,
    Qwen2.5-VL none.
    """

    tokens: torch.Tensor
    deeper: tuple[torch.Tensor, ...] = ()


def see(model: QwenVL, pixel_values: torch.Tensor, grids: torch.Tensor, at_once: bool = False) -> list[Seen]:
    """Features of each picture; `at_once` all in one call of the vision tower, as on a GPU anyway.

    Without, pictures of one size are seen together, which is quicker on a CPU; but then processes that gather
    the tower's weights together, each for its own pictures, would call it unequally often.

    `pixel_values` (patches, values of a patch) and `grids` (pictures, 3) come from the image processor.
    """
    sizes: list[list[int]] = grids.tolist()  # once: a GPU is waited for
    patches = [math.prod(size) for size in sizes]
    alike: dict[tuple[int, ...], list[int]] = {}
    for index, size in enumerate(sizes):
        alike.setdefault(() if at_once or pixel_values.is_cuda else tuple(size), []).append(index)
    pixels = pixel_values.split(patches)
    features: dict[int, Seen] = {}
    for group in alike.values():
        together = len(group) == len(sizes)
        seen = model.model.get_image_features(
            pixel_values if together else torch.cat([pixels[index] for index in group]),
            grids if together else grids[group],
            max_seqlen=max(patches[index] for index in group),
        )
        layers = getattr(seen, "deepstack_features", ())
        for place, index in enumerate(group):
            features[index] = Seen(seen.pooler_output[place], tuple(layer[place] for layer in layers))
    return [features[index] for index in range(len(sizes))]


def read(model: QwenVL, encoded: Encoded, features: list[Seen] | None = None, **kwargs: Any) -> Any:
    """The language model over a batch; `features` are what `see` gave for its pictures, if it was called.

    Takes the arguments of the library's own forward pass and returns what that returns.
    """
    inputs = encoded.inputs
    grids = inputs["image_grid_thw"]
    if features is None:
        features = see(model, inputs["pixel_values"], grids)
    shown = [index for row in encoded.shown for index in row]
    return model(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        mm_token_type_ids=inputs["mm_token_type_ids"],
        image_grid_thw=grids[shown],
        mm_encoder_outputs={"image": _at_placeholders([features[index] for index in shown])},
        **kwargs,
    )


def read_packed(model: QwenVL, encoded: Encoded, features: list[Seen], **kwargs: Any) -> Any:
    """As `read`, with the questions of a batch one behind the other in one row and no padding between.

    The language model must attend as `models.packing.attend_packed` sets it.
    """
    inputs = encoded.inputs
    kept = inputs["attention_mask"].bool()
    lengths = kept.sum(1)
    shown = [index for row in encoded.shown for index in row]
    grids = inputs["image_grid_thw"][shown]
    positions, _ = model.model.get_rope_index(
        inputs["input_ids"],
        mm_token_type_ids=inputs["mm_token_type_ids"],
        image_grid_thw=grids,
        attention_mask=inputs["attention_mask"],
    )
    return model(
        input_ids=inputs["input_ids"][kept][None],
        attention_mask=_NO_MASK[model.config.model_type],  # there is none: attention goes by the bounds
        position_ids=positions[:, kept][:, None],
        mm_token_type_ids=inputs["mm_token_type_ids"][kept][None],
        image_grid_thw=grids,
        mm_encoder_outputs={"image": _at_placeholders([features[index] for index in shown])},
        cu_seq_lens_q=F.pad(lengths.cumsum(0), (1, 0)).int(),
        max_length_q=int(lengths.max()),
        use_cache=False,
        **kwargs,
    )


# Qwen2.5-VL takes masks by the kind of layer; where none is named it would make one.
_NO_MASK: dict[str, Any] = {"qwen2_5_vl": {"full_attention": None}, "qwen3_vl": None}


def _at_placeholders(pictures: list[Seen]) -> BaseModelOutputWithDeepstackFeatures:
    """Pictures as the library's models take them from themselves; Qwen2.5-VL leaves `deeper` alone."""
    tokens: Any = [seen.tokens for seen in pictures]  # lists of pictures, as `get_image_features` has them
    deeper: Any = [list(layer) for layer in zip(*(seen.deeper for seen in pictures), strict=True)]
    return BaseModelOutputWithDeepstackFeatures(pooler_output=tokens, deepstack_features=deeper)
