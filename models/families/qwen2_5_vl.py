"""Qwen2.5-VL (arXiv 2502.13923).

A language token shows 28 by 28 pixels, and boxes are in pixels of the resized image. The vision tower attends
inside windows in most of its blocks.

Sizes are those of `config.json` in https://huggingface.co/Qwen/Qwen2.5-VL-3B-Instruct (7B, 32B, 72B), by the
names of transformers' configurations.
"""

from typing import Any

from models.families.family import Family, ModelPart, PublishedSize, register_family

MODEL_TYPE = "qwen2_5_vl"

# Names may have a prefix, since peft and other wrappers put one before them.
LANGUAGE_MODEL = ModelPart(
    weights=r"(.*\.)?(language_model\..*|lm_head\.weight)",
    linear_layers=r"(.*\.)?language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)",
)
"""Qwen2.5-VL and Qwen3-VL name the layers of their language models alike."""

TOKEN_IDS: dict[str, int] = {
    "vision_start_token_id": 151_652,
    "vision_end_token_id": 151_653,
    "image_token_id": 151_655,
    "video_token_id": 151_656,
}
"""Of Qwen's tokenizer, which both families share."""


def text_config(
    hidden: int,
    layers: int,
    heads: int,
    key_value_heads: int,
    intermediate: int,
    vocabulary: int,
    tied: bool,
) -> dict[str, Any]:
    """What the configurations of Qwen's language models have in common; `tied`: one embedding in and out."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        "rms_norm_eps": 1e-6,
        "bos_token_id": 151_643,
        "eos_token_id": 151_645,
        "tie_word_embeddings": tied,
    }


def _size(name: str, parameters: int, vision_intermediate: int, text: dict[str, Any]) -> PublishedSize:
    # Pairs of channels for time, height and width: together half of the 128 channels of a head.
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    config = {
        "text_config": {**text, "max_position_embeddings": 128_000, "rope_parameters": rope},
        "vision_config": {
            "depth": 32,
            "hidden_size": 1280,
            "num_heads": 16,
            "out_hidden_size": text["hidden_size"],
            "window_size": 112,
            "fullatt_block_indexes": [7, 15, 23, 31],
            "tokens_per_second": 2,
            "intermediate_size": vision_intermediate,
        },
        "tie_word_embeddings": text["tie_word_embeddings"],
        **TOKEN_IDS,
    }
    return PublishedSize(MODEL_TYPE, f"Qwen/Qwen2.5-VL-{name}-Instruct", parameters, config)


SIZES = {
    "qwen2_5_vl_3b": _size("3B", 3_754_622_976, 3420, text_config(2048, 36, 16, 2, 11008, 151_936, True)),
    "qwen2_5_vl_7b": _size("7B", 8_292_166_656, 3420, text_config(3584, 28, 28, 4, 18944, 152_064, False)),
    "qwen2_5_vl_32b": _size("32B", 33_452_718_336, 3456, text_config(5120, 64, 40, 8, 27648, 152_064, False)),
    "qwen2_5_vl_72b": _size("72B", 73_410_777_344, 3456, text_config(8192, 80, 64, 8, 29568, 152_064, False)),
}


def _model_class() -> Any:
    from transformers import Qwen2_5_VLForConditionalGeneration

    return Qwen2_5_VLForConditionalGeneration


def _processor_class() -> Any:
    from transformers import Qwen2_5_VLProcessor

    return Qwen2_5_VLProcessor


def _apply_fast_kernels(visual: Any) -> None:
    from models.kernels.qwen2_5_vl import apply_fast_kernels

    apply_fast_kernels(visual)


FAMILY = register_family(
    Family(
        model_type=MODEL_TYPE,
        hub_prefix="Qwen/Qwen2.5-VL-",
        contract="qwen",
        sizes=SIZES,
        parts={
            "language_model": LANGUAGE_MODEL,
            "projector": ModelPart(
                weights=r"(.*\.)?visual\.merger\..*", linear_layers=r"(.*\.)?visual\.merger\.mlp\.[02]"
            ),
            "vision_tower": ModelPart(
                weights=r"(.*\.)?visual\.(patch_embed|blocks)\..*",
                linear_layers=r"(.*\.)?visual\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(gate|up|down)_proj)",
            ),
        },
        model_class=_model_class,
        processor_class=_processor_class,
        # Packed rows need no mask, because attention works within each sample (`models.kernels.attention`).
        # Its language model takes masks by the kind of layer. It would make one for a kind that is not named.
        unmasked={"full_attention": None},
        apply_fast_kernels=_apply_fast_kernels,
    )
)
