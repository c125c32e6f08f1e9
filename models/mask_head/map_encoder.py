"""The memory encoder of SAM 2 for targets of one image with fewer operations, for CPUs in float32.

It runs the submodules of the library's module, with results that differ by rounding only. The features of the
image are projected once for all targets, channels are the last dimension wherever a layer normalises or
projects them, and the position encoding, which is always the same, is not computed.

Shapes: B targets, L tokens of the coarsest feature map, C channels, S the side of the mask that the encoder
takes.
"""

from typing import Any

import torch
import torch.nn.functional as F

# Channels up to which the first dimension is normalised by sums of whole channels.
FEW_CHANNELS = 4


def encode_maps_on_cpu(
    model: Any, coarse: torch.Tensor, masks: torch.Tensor, score: torch.Tensor, had_box: torch.Tensor
) -> torch.Tensor:
    """The memory maps of B targets in bfloat16: (L, B, channels).

    `coarse` (L, 1 or B, C) are the coarsest features. `masks` (B, 1, S, S) are logits, `score` (B,) the
    logits of the object scores, and `had_box` (B,) says whose mask was decoded from a box.
    """
    config, encoder = model.config, model.memory_encoder
    # 1. Masks of boxes are binarised, others are probabilities.
    values = torch.sigmoid(masks)
    if had_box.any():
        values = torch.where(had_box[:, None, None, None], (masks > 0).to(values.dtype), values)
    values = values.mul_(config.sigmoid_scale_for_mem_enc).add_(config.sigmoid_bias_for_mem_enc)
    # 2. Downsample them to the coarsest feature map: (B, 1, S, S) -> (B, height, width, C).
    for layer in encoder.mask_downsampler.layers:
        values = layer.activation(_normalised(layer.layer_norm, layer.conv(values)))
    shown = _pointwise(encoder.mask_downsampler.final_conv, values.permute(0, 2, 3, 1))
    # 3. Fuse them with the features of the image.
    height, width = shown.shape[1:3]
    image = coarse.transpose(0, 1).unflatten(1, (height, width))
    fused = _pointwise(encoder.feature_projection, image) + shown
    for block in encoder.memory_fuser.layers:
        fused = _fused(block, fused)
    maps = _pointwise(encoder.projection, fused)
    # 4. The learned embedding of absence is added to the maps of absent targets.
    absence = model.occlusion_spatial_embedding_parameter
    if absence is not None:
        maps += (score <= 0).to(maps.dtype)[:, None, None, None] * absence
    return maps.to(torch.bfloat16).flatten(1, 2).transpose(0, 1)


def _normalised(norm: Any, states: torch.Tensor) -> torch.Tensor:
    """Layer normalisation of the channels of `states` (B, channels, height, width)."""
    if states.shape[1] > FEW_CHANNELS:
        normed: torch.Tensor = norm(states)
        return normed
    # The kernel of torch takes one row of channels at a time, which is slow where rows are very short.
    states = states - states.mean(1, keepdim=True)
    scale = torch.rsqrt(states.square().mean(1, keepdim=True).add_(norm.eps))
    return torch.addcmul(norm.bias[:, None, None], states.mul_(scale), norm.weight[:, None, None])


def _fused(block: Any, states: torch.Tensor) -> torch.Tensor:
    """A block of the fuser: `states` (B, height, width, C) to the same."""
    hidden = block.depthwise_conv(states.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    norm = block.layer_norm  # the library's class is for another order of dimensions
    hidden = torch.layer_norm(hidden, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    hidden = block.pointwise_conv2(block.activation(block.pointwise_conv1(hidden)))
    return torch.addcmul(states, hidden, block.scale)


def _pointwise(conv: Any, states: torch.Tensor) -> torch.Tensor:
    """A convolution of 1×1: `states` (…, inputs) to (…, outputs)."""
    return F.linear(states, conv.weight[:, :, 0, 0], conv.bias)
