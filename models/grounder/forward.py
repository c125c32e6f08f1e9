"""The forward pass of the grounder over encoded questions.

The vision tower encodes every image of a batch once, also where several questions are about it.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from models.families import family_of
from models.grounder.model import QwenVL
from models.grounder.questions import Encoded


@dataclass(frozen=True, eq=False)
class VisionFeatures:
    """The vision tower's features of one image, (tokens, width) each, row-major.

    `tokens` stand at the image's placeholders. `deepstack` are added to the hidden states there, one behind
    each of the first layers of the language model (DeepStack, arXiv 2406.04334). Qwen3-VL has three of them,
    Qwen2.5-VL none.
    """

    tokens: torch.Tensor
    deepstack: tuple[torch.Tensor, ...] = ()


def encode_images(
    model: QwenVL,
    pixel_values: torch.Tensor,
    grids: torch.Tensor,
    at_once: bool = False,
    alone: Collection[int] = (),
) -> list[VisionFeatures]:
    """The features of each image.

    `pixel_values` (patches, values of a patch) and `grids` (images, 3: frames, rows and columns of patches)
    come from the image processor. Images whose index is in `alone` are encoded one by one, so that their
    features do not depend on the others. With `at_once`, and always on a GPU, all others are encoded in one
    call of the vision tower. Otherwise images of one size share a call, which is faster on a CPU. Processes
    that hold shards of the tower's weights need `at_once`: they must call it equally often, whatever the
    sizes of their images are.
    """
    # 1. The patches of each image: (patches of the image, values of a patch). `tolist` synchronises with the
    #    GPU, so it is called once.
    sizes: list[list[int]] = grids.tolist()
    patches = [math.prod(size) for size in sizes]
    pixels = pixel_values.split(patches)
    # 2. Group the images that share a call of the vision tower.
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, size in enumerate(sizes):
        together = () if at_once or pixel_values.is_cuda else tuple(size)
        groups.setdefault((index,) if index in alone else together, []).append(index)
    # 3. Encode each group, and put the features back into the order of the images.
    features: dict[int, VisionFeatures] = {}
    for group in groups.values():
        has_all = len(group) == len(sizes)  # then the tensors are used without a copy
        output = model.model.get_image_features(
            pixel_values if has_all else torch.cat([pixels[index] for index in group]),
            grids if has_all else grids[group],
            # Blocks that attend to whole images need it, and would otherwise synchronise with the GPU.
            max_seqlen=max(patches[index] for index in group),
        )
        layers = getattr(output, "deepstack_features", ())
        for place, index in enumerate(group):
            deepstack = tuple(layer[place] for layer in layers)
            features[index] = VisionFeatures(output.pooler_output[place], deepstack)
    return [features[index] for index in range(len(sizes))]


def encode_some(
    model: QwenVL, encoded: Encoded, images: Collection[int], alone: Collection[int] = ()
) -> dict[int, VisionFeatures]:
    """The features of those images of a batch whose indices are in `images`; see `encode_images`."""
    chosen = sorted(images)
    if not chosen:
        return {}
    pixels, grids = encoded.inputs["pixel_values"], encoded.inputs["image_grid_thw"]
    if len(chosen) < len(grids):
        patches = pixels.split(grids.prod(-1).tolist())
        pixels, grids = torch.cat([patches[index] for index in chosen]), grids[chosen]
    places = [place for place, index in enumerate(chosen) if index in alone]
    return dict(zip(chosen, encode_images(model, pixels, grids, alone=places), strict=True))


def forward(
    model: QwenVL,
    encoded: Encoded,
    features: Sequence[VisionFeatures] | Mapping[int, VisionFeatures] | None = None,
    **kwargs: Any,
) -> Any:
    """The model's output for a left-padded batch.

    `features` are those that `encode_images` returned for the images of the batch; None: they are computed
    here. Takes the keyword arguments of the model's own `forward`, and returns what that returns.
    """
    inputs = encoded.inputs
    grids = inputs["image_grid_thw"]
    if features is None:
        features = encode_images(model, inputs["pixel_values"], grids)
    image_indices = [index for row in encoded.image_indices for index in row]
    if image_indices:  # there are none behind a prefix with all images of the question
        output = _encoder_output([features[index] for index in image_indices])
        kwargs = {**kwargs, "image_grid_thw": grids[image_indices], "mm_encoder_outputs": {"image": output}}
    return model(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        mm_token_type_ids=inputs["mm_token_type_ids"],
        **kwargs,
    )


def forward_packed(model: QwenVL, encoded: Encoded, features: list[VisionFeatures], **kwargs: Any) -> Any:
    """As `forward`, with the questions of a batch one after the other in one row, without padding.

    Logits are (1, tokens, vocabulary) then. The language model must attend as
    `models.kernels.attention.use_packed_attention` sets it.
    """
    inputs = encoded.inputs
    # 1. Positions are computed for the padded batch, where each row is one question: (3, batch, length), with
    #    time, height and width of each token.
    kept = inputs["attention_mask"].bool()
    lengths = kept.sum(1)
    image_indices = [index for row in encoded.image_indices for index in row]
    grids = inputs["image_grid_thw"][image_indices]
    positions, _ = model.model.get_rope_index(
        inputs["input_ids"],
        mm_token_type_ids=inputs["mm_token_type_ids"],
        image_grid_thw=grids,
        attention_mask=inputs["attention_mask"],
    )
    # 2. Selecting by the mask removes the padding: (batch, length) becomes (1, tokens).
    return model(
        input_ids=inputs["input_ids"][kept][None],
        attention_mask=family_of(model).unmasked,  # attention goes by `cu_seq_lens_q` instead
        # (3, batch, length) -> (3, tokens) -> (3, 1, tokens).
        position_ids=positions[:, kept][:, None],
        mm_token_type_ids=inputs["mm_token_type_ids"][kept][None],
        image_grid_thw=grids,
        mm_encoder_outputs={"image": _encoder_output([features[index] for index in image_indices])},
        # (batch + 1,): 0, and the end of each question.
        cu_seq_lens_q=F.pad(lengths.cumsum(0), (1, 0)).int(),
        max_length_q=int(lengths.max()),
        use_cache=False,
        **kwargs,
    )


def _encoder_output(images: list[VisionFeatures]) -> BaseModelOutputWithDeepstackFeatures:
    """Features in the form of `get_image_features`; models without DeepStack ignore `deepstack_features`."""
    tokens: Any = [image.tokens for image in images]
    # (images, layers) -> (layers, images): the model adds one layer after the other.
    deepstack: Any = [list(layer) for layer in zip(*(image.deepstack for image in images), strict=True)]
    return BaseModelOutputWithDeepstackFeatures(pooler_output=tokens, deepstack_features=deepstack)
