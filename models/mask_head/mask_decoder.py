"""The mask decoder of SAM 2 for all targets of one image with fewer operations, for CPUs.

It has the weights of the library's module, and results that differ by rounding only. Two things make it
faster.

An image has hundreds of tokens, and a target fewer than ten. In the attention between the two, the library
projects the tokens of the image to queries, keys and values. Here the projections are applied to the tokens
of the target instead: q_t · (W k_i) = (Wᵀ q_t) · k_i.

The masks are upscaled by transposed convolutions of 2×2 with stride 2. Such a convolution makes four pixels
of each one, and is a product of matrices. The four pixels stay neighbours in memory (block order), so no
tensor is transposed before the finished mask is.

Shapes: N targets, T tokens of a target, L tokens of the coarsest feature map, C channels, H heads, D channels
of a head, M masks.
"""

from functools import cached_property
from typing import Any

import torch

from models.mask_head.sam2_forward import (
    MaskDecoderOutput,
    VideoModel,
    VisionFeatures,
    box_points,
    uses_multimask,
)


class FrameMaskDecoder:
    """Decodes the masks of targets in one image, in evaluation mode and float32."""

    def __init__(self, model: VideoModel) -> None:
        self.model: Any = model

    @cached_property
    def positions(self) -> torch.Tensor:
        """The position encodings of the image's tokens, (L, C). They depend on no trained weight."""
        encodings: torch.Tensor = self.model.get_image_wide_positional_embeddings()
        return encodings[0].flatten(1).t().contiguous()

    def __call__(
        self, vision: VisionFeatures, coarse: torch.Tensor, boxes_resized: torch.Tensor | None
    ) -> MaskDecoderOutput:
        """As `decode_masks`, with the image of all targets in `vision`.

        `coarse` are the coarsest features, (N, L, C) of targets with a memory, or (1, L, C) of those with
        boxes (N, 4).
        """
        module = self.model.mask_decoder
        # 1. The tokens of the targets: those of the outputs, and those of the prompt.
        prompt, points = self._prompt(boxes_resized, len(coarse))
        outputs = torch.cat(
            [module.obj_score_token.weight, module.iou_token.weight, module.mask_tokens.weight]
        )
        tokens = torch.cat([outputs.expand(len(prompt), -1, -1), prompt], dim=1)  # (N, T, C)
        # 2. Attention between them and the tokens of the image.
        image = (coarse + self.model.prompt_encoder.no_mask_embed.weight).expand(len(tokens), -1, -1)
        tokens, image = self._transform(tokens, image)
        # 3. The masks, and the numbers about them.
        mask_tokens = tokens[:, 2 : 2 + module.num_mask_tokens]
        logits = self._masks(mask_tokens, image, vision)
        ious = module.iou_prediction_head(tokens[:, 1])
        score = module.pred_obj_score_head(tokens[:, 0])
        # 4. One mask of each target, or several.
        if uses_multimask(self.model, points):
            chosen = slice(1, None)
            return MaskDecoderOutput(logits[:, chosen], ious[:, chosen], score[:, 0], mask_tokens[:, chosen])
        if module.dynamic_multimask_via_stability:
            stable, stable_ious = module._dynamic_multimask_via_stability(logits[:, None], ious[:, None])
            return MaskDecoderOutput(stable[:, 0], stable_ious[:, 0], score[:, 0], mask_tokens[:, :1])
        return MaskDecoderOutput(logits[:, :1], ious[:, :1], score[:, 0], mask_tokens[:, :1])

    def _prompt(
        self, boxes_resized: torch.Tensor | None, num_targets: int
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The tokens of the prompt (N, tokens, C), and the labels of its points."""
        encoder = self.model.prompt_encoder
        if boxes_resized is None:
            # A single padding point, and the one that the library appends to all points.
            return encoder.not_a_point_embed.weight.expand(num_targets, 2, -1), None
        points, labels = box_points(boxes_resized[None])
        sparse, _ = encoder(points, labels, None, None)  # (1, N, tokens, C)
        return sparse[0], labels

    def _transform(self, tokens: torch.Tensor, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens of the targets (N, T, C) and of the image (N, L, C) after attention to each other."""
        transformer, places = self.model.mask_decoder.transformer, tokens
        for layer in transformer.layers:
            # 1. The tokens of a target among themselves.
            if layer.skip_first_layer_pe:
                tokens = _among(layer.self_attn, tokens, tokens)
            else:
                tokens = tokens + _among(layer.self_attn, tokens + places, tokens)
            tokens = layer.layer_norm1(tokens)
            # 2. From the target to the image.
            placed = image + self.positions
            attended = _to_image(layer.cross_attn_token_to_image, tokens + places, placed, image)
            tokens = layer.layer_norm2(tokens + attended)
            tokens = layer.layer_norm3(tokens + layer.mlp(tokens))
            # 3. From the image to the target.
            attended = _from_image(layer.cross_attn_image_to_token, placed, tokens + places, tokens)
            image = layer.layer_norm4(image + attended)
        attended = _to_image(
            transformer.final_attn_token_to_image, tokens + places, image + self.positions, image
        )
        return transformer.layer_norm_final_attn(tokens + attended), image

    def _masks(self, mask_tokens: torch.Tensor, image: torch.Tensor, vision: VisionFeatures) -> torch.Tensor:
        """The logits (N, M, 4·height, 4·width) of a coarsest map of height · width = L."""
        module, (height, width) = self.model.mask_decoder, self.model.backbone_feature_sizes[-1]
        fine, medium = (level[:, 0] for level in vision.levels[:2])
        # 1. Each place becomes 2×2 places: (N, L, C) -> (N, L, 4, C/4).
        medium = medium.view(height, 2, width, 2, -1).permute(0, 2, 1, 3, 4).reshape(height * width, 4, -1)
        upscaled = _upscaled(module.upscale_conv1, image, medium)
        norm = module.upscale_layer_norm  # the library's class is for another order of dimensions
        upscaled = torch.layer_norm(upscaled, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        upscaled = module.activation(upscaled)
        # 2. Again: (N, L, 4, C/4) -> (N, L, 4, 4, C/8).
        fine = fine.view(height, 2, 2, width, 2, 2, -1).permute(0, 3, 1, 4, 2, 5, 6)
        fine = fine.reshape(height * width, 4, 4, -1)
        upscaled = module.activation(_upscaled(module.upscale_conv2, upscaled, fine)).flatten(1, 3)
        # 3. The product of each pixel with a vector for each mask: (N, M, 16·L).
        vectors = torch.stack(
            [mlp(mask_tokens[:, index]) for index, mlp in enumerate(module.output_hypernetworks_mlps)], dim=1
        )
        logits = torch.bmm(vectors, upscaled.transpose(1, 2))
        # 4. From block order to rows and columns.
        blocks = logits.unflatten(-1, (height, width, 2, 2, 2, 2)).permute(0, 1, 2, 4, 6, 3, 5, 7)
        return blocks.reshape(*logits.shape[:2], 4 * height, 4 * width)


def _upscaled(module: Any, states: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    """A transposed convolution of 2×2 with stride 2, and finer features added to it.

    `states` (N, …, inputs), `added` (…, 4, outputs) -> (N, …, 4, outputs).
    """
    weights = module.weight.permute(0, 2, 3, 1).flatten(1)  # (inputs, 4 · outputs)
    return (states @ weights).unflatten(-1, (4, -1)).add_(added + module.bias)


def _among(module: Any, placed: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Attention among the tokens of each target, (N, T, C), by the library's module."""
    placed = placed[:, None]
    attended: torch.Tensor = module(query=placed, key=placed, value=tokens[:, None])[0][:, 0]
    return attended


def _to_image(
    module: Any, placed_tokens: torch.Tensor, placed_image: torch.Tensor, image: torch.Tensor
) -> torch.Tensor:
    """Attention of the tokens of the targets (N, T, C) to those of the image (N, L, C)."""
    heads = module.num_attention_heads
    # 1. The weights: (N, H·T, L). The bias of the keys adds the same to all scores of a query, so it cancels.
    queries = module.q_proj(placed_tokens) * module.scaling
    weights = torch.bmm(_folded(module.k_proj.weight, queries, heads), placed_image.transpose(1, 2)).softmax(
        -1
    )
    # 2. The sums of image tokens, (N, H·T, C), are projected to values, because the weights sum to 1.
    sums = torch.bmm(weights, image).unflatten(1, (heads, -1)).transpose(0, 1)  # (H, N, T, C)
    projected = torch.bmm(sums.flatten(1, 2), module.v_proj.weight.unflatten(0, (heads, -1)).transpose(1, 2))
    values = projected.unflatten(1, sums.shape[1:3]).permute(1, 2, 0, 3).flatten(2)  # (N, T, H·D)
    attended: torch.Tensor = module.o_proj(values + module.v_proj.bias)
    return attended


def _from_image(
    module: Any, placed_image: torch.Tensor, placed_tokens: torch.Tensor, tokens: torch.Tensor
) -> torch.Tensor:
    """Attention of the tokens of the image (N, L, C) to those of each target (N, T, C)."""
    heads = module.num_attention_heads
    # 1. The weights: (N, H, T, L), which sum to 1 over T.
    keys = module.k_proj(placed_tokens) * module.scaling
    bias = (keys * module.q_proj.bias).unflatten(-1, (heads, -1)).sum(-1).transpose(1, 2).flatten(1)
    folded = _folded(module.q_proj.weight, keys, heads)  # (N, H·T, C)
    scores = torch.baddbmm(bias[..., None], folded, placed_image.transpose(1, 2))
    weights = scores.unflatten(1, (heads, -1)).softmax(2).flatten(1, 2)
    # 2. The projection of the output is applied to the values of the few tokens.
    outputs = _folded(module.o_proj.weight.t(), module.v_proj(tokens), heads)
    return torch.baddbmm(module.o_proj.bias, weights.transpose(1, 2), outputs)


def _folded(weights: torch.Tensor, states: torch.Tensor, heads: int) -> torch.Tensor:
    """The products of each head of `states` (N, T, H·D) with that of `weights` (H·D, C): (N, H·T, C)."""
    split = states.unflatten(-1, (heads, -1)).permute(2, 0, 1, 3)  # (H, N, T, D)
    folded = torch.bmm(split.flatten(1, 2), weights.unflatten(0, (heads, -1)))
    return folded.unflatten(1, split.shape[1:3]).transpose(0, 1).flatten(1, 2)
