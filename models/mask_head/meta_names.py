"""The names of SAM 2's weights in Meta's checkpoints and in transformers' ones, and how they correspond.

Facts about the two layouts: https://github.com/facebookresearch/sam2 (`sam2/modeling`) and
`Sam2VideoModel` of transformers. Imports no torch.
"""

import re
from collections.abc import Iterator

NAMES_OF_POINTS = tuple(f"sam_prompt_encoder.point_embeddings.{label}.weight" for label in range(4))
"""Meta's embeddings of the four labels of points, which transformers has as the rows of one matrix."""
POINTS = "prompt_encoder.point_embed.weight"
POINT_CODE = "prompt_encoder.shared_embedding.positional_embedding"
IMAGE_CODE = "shared_image_embedding.positional_embedding"
"""transformers holds the random matrix of the position encoding twice, for points and for the image."""


def _mlp(meta: str, transformers: str) -> Iterator[tuple[str, str]]:
    """The three layers of a multilayer perceptron."""
    yield f"{meta}.layers.0", f"{transformers}.proj_in"
    yield f"{meta}.layers.1", f"{transformers}.layers.0"
    yield f"{meta}.layers.2", f"{transformers}.proj_out"


# Meta's name, and that of transformers. `#` stands for a number and `*` for a part of a name without dots;
# both sides have the same ones in the same order. The first pair that matches a name counts, so the
# exceptions stand before the rules. `.weight` or `.bias` may follow.
NAMES: tuple[tuple[str, str], ...] = (
    # ---- image encoder
    ("image_encoder.trunk.patch_embed.proj", "vision_encoder.backbone.patch_embed.projection"),
    ("image_encoder.trunk.blocks.#.norm#", "vision_encoder.backbone.blocks.#.layer_norm#"),
    ("image_encoder.trunk.blocks.#.mlp.layers.0", "vision_encoder.backbone.blocks.#.mlp.proj_in"),
    ("image_encoder.trunk.blocks.#.mlp.layers.1", "vision_encoder.backbone.blocks.#.mlp.proj_out"),
    ("image_encoder.trunk.blocks.#.attn.*", "vision_encoder.backbone.blocks.#.attn.*"),
    ("image_encoder.trunk.blocks.#.*", "vision_encoder.backbone.blocks.#.*"),
    ("image_encoder.trunk.*", "vision_encoder.backbone.*"),
    ("image_encoder.neck.convs.#.conv", "vision_encoder.neck.convs.#"),
    # ---- memory attention
    ("memory_attention.layers.#.norm#", "memory_attention.layers.#.layer_norm#"),
    ("memory_attention.layers.#.linear#", "memory_attention.layers.#.linear#"),
    ("memory_attention.layers.#.*.out_proj", "memory_attention.layers.#.*.o_proj"),
    ("memory_attention.layers.#.*.*", "memory_attention.layers.#.*.*"),
    ("memory_attention.norm", "memory_attention.layer_norm"),
    # ---- memory encoder
    # The mask is downsampled by four times convolution, normalisation and activation, and a last convolution.
    *(
        (f"memory_encoder.mask_downsampler.encoder.{3 * layer + offset}",
         f"memory_encoder.mask_downsampler.layers.{layer}.{part}")
        for layer in range(4)
        for offset, part in enumerate(("conv", "layer_norm"))
    ),
    ("memory_encoder.mask_downsampler.encoder.12", "memory_encoder.mask_downsampler.final_conv"),
    ("memory_encoder.fuser.layers.#.gamma", "memory_encoder.memory_fuser.layers.#.scale"),
    ("memory_encoder.fuser.layers.#.dwconv", "memory_encoder.memory_fuser.layers.#.depthwise_conv"),
    ("memory_encoder.fuser.layers.#.norm", "memory_encoder.memory_fuser.layers.#.layer_norm"),
    ("memory_encoder.fuser.layers.#.pwconv#", "memory_encoder.memory_fuser.layers.#.pointwise_conv#"),
    ("memory_encoder.pix_feat_proj", "memory_encoder.feature_projection"),
    ("memory_encoder.out_proj", "memory_encoder.projection"),
    # ---- prompt encoder
    ("sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", POINT_CODE),
    ("sam_prompt_encoder.mask_downscaling.0", "prompt_encoder.mask_embed.conv1"),
    ("sam_prompt_encoder.mask_downscaling.1", "prompt_encoder.mask_embed.layer_norm1"),
    ("sam_prompt_encoder.mask_downscaling.3", "prompt_encoder.mask_embed.conv2"),
    ("sam_prompt_encoder.mask_downscaling.4", "prompt_encoder.mask_embed.layer_norm2"),
    ("sam_prompt_encoder.mask_downscaling.6", "prompt_encoder.mask_embed.conv3"),
    ("sam_prompt_encoder.*", "prompt_encoder.*"),
    # ---- mask decoder
    ("sam_mask_decoder.transformer.layers.#.mlp.layers.0", "mask_decoder.transformer.layers.#.mlp.proj_in"),
    ("sam_mask_decoder.transformer.layers.#.mlp.layers.1", "mask_decoder.transformer.layers.#.mlp.proj_out"),
    ("sam_mask_decoder.transformer.layers.#.norm#", "mask_decoder.transformer.layers.#.layer_norm#"),
    ("sam_mask_decoder.transformer.layers.#.*.out_proj", "mask_decoder.transformer.layers.#.*.o_proj"),
    ("sam_mask_decoder.transformer.layers.#.*.*", "mask_decoder.transformer.layers.#.*.*"),
    ("sam_mask_decoder.transformer.norm_final_attn", "mask_decoder.transformer.layer_norm_final_attn"),
    ("sam_mask_decoder.transformer.*.out_proj", "mask_decoder.transformer.*.o_proj"),
    ("sam_mask_decoder.transformer.*.*", "mask_decoder.transformer.*.*"),
    ("sam_mask_decoder.output_upscaling.0", "mask_decoder.upscale_conv1"),
    ("sam_mask_decoder.output_upscaling.1", "mask_decoder.upscale_layer_norm"),
    ("sam_mask_decoder.output_upscaling.3", "mask_decoder.upscale_conv2"),
    *_mlp("sam_mask_decoder.output_hypernetworks_mlps.#", "mask_decoder.output_hypernetworks_mlps.#"),
    *_mlp("sam_mask_decoder.iou_prediction_head", "mask_decoder.iou_prediction_head"),
    *_mlp("sam_mask_decoder.pred_obj_score_head", "mask_decoder.pred_obj_score_head"),
    ("sam_mask_decoder.*", "mask_decoder.*"),
    # ---- object pointers and learned values
    *_mlp("obj_ptr_proj", "object_pointer_proj"),
    ("obj_ptr_tpos_proj", "temporal_positional_encoding_projection_layer"),
    ("mask_downsample", "mask_downsample"),
    ("maskmem_tpos_enc", "memory_temporal_positional_encoding"),
    ("no_mem_embed", "no_memory_embedding"),
    ("no_mem_pos_enc", "no_memory_positional_encoding"),
    ("no_obj_ptr", "no_object_pointer"),
    ("no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"),
)  # fmt: skip


def _rules(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[re.Pattern[str], str], ...]:
    """The pairs as regular expressions of the first name, with replacements for `re.Match.expand`."""
    rules = []
    for first, second in pairs:
        pattern = re.escape(first).replace(r"\#", r"(\d+)").replace(r"\*", r"([a-z0-9_]+)")
        numbers = iter(range(1, 10))
        replacement = re.sub(r"[#*]", lambda _: rf"\g<{next(numbers)}>", second)  # noqa: B023
        rules.append((re.compile(rf"{pattern}((?:\.weight|\.bias)?)"), rf"{replacement}\g<{next(numbers)}>"))
    return tuple(rules)


TO_TRANSFORMERS = _rules(NAMES)
TO_META = _rules(tuple((transformers, meta) for meta, transformers in NAMES))


def renamed(name: str, rules: tuple[tuple[re.Pattern[str], str], ...]) -> str | None:
    """The name of a weight in the other layout; None where no rule matches it."""
    for pattern, replacement in rules:
        if match := pattern.fullmatch(name):
            return match.expand(replacement)
    return None
