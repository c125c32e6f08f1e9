"""Qwen3-VL (arXiv 2511.21631).

A language token shows 32 by 32 pixels, and boxes are in thousandths of the image's sides. Features of earlier
blocks of the vision tower are added behind the first layers of the language model (DeepStack).

Sizes are those of `config.json` in https://huggingface.co/Qwen/Qwen3-VL-2B-Instruct (4B, 8B), by the names of
transformers' configurations.
"""

from typing import Any

from models.families.family import Family, ModelPart, PublishedSize, register_family
from models.families.qwen2_5_vl import LANGUAGE_MODEL, TOKEN_IDS, text_config

MODEL_TYPE = "qwen3_vl"

# The vision towers of the 2B and 4B models (small) and of the 8B model (large).
SMALL_TOWER: dict[str, Any] = {
    "depth": 24,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "deepstack_visual_indexes": [5, 11, 17],
}
LARGE_TOWER: dict[str, Any] = {
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "deepstack_visual_indexes": [8, 16, 24],
}


def _size(name: str, parameters: int, tower: dict[str, Any], text: dict[str, Any]) -> PublishedSize:
    # Pairs of channels for time, height and width, as in Qwen2.5-VL, but interleaved.
    rope = {
        "rope_type": "default",
        "rope_theta": 5e6,
        "mrope_section": [24, 20, 20],
        "mrope_interleaved": True,
    }
    config = {
        "text_config": {
            **text,
            "head_dim": 128,
            "max_position_embeddings": 262_144,
            "rope_parameters": rope,
        },
        "vision_config": {
            "num_heads": 16,
            "out_hidden_size": text["hidden_size"],
            "num_position_embeddings": 2304,
            **tower,
        },
        "tie_word_embeddings": text["tie_word_embeddings"],
        **TOKEN_IDS,
    }
    return PublishedSize(MODEL_TYPE, f"Qwen/Qwen3-VL-{name}-Instruct", parameters, config)


SIZES = {
    "qwen3_vl_2b": _size("2B", 2_127_532_032, SMALL_TOWER, text_config(2048, 28, 16, 8, 6144, 151_936, True)),
    "qwen3_vl_4b": _size("4B", 4_437_815_808, SMALL_TOWER, text_config(2560, 36, 32, 8, 9728, 151_936, True)),
    "qwen3_vl_8b": _size(
        "8B", 8_767_123_696, LARGE_TOWER, text_config(4096, 36, 32, 8, 12288, 151_936, False)
    ),
}


def _model_class() -> Any:
    from transformers import Qwen3VLForConditionalGeneration

    return Qwen3VLForConditionalGeneration


def _processor_class() -> Any:
    from transformers import Qwen3VLProcessor

    return Qwen3VLProcessor


FAMILY = register_family(
    Family(
        model_type=MODEL_TYPE,
        hub_prefix="Qwen/Qwen3-VL-",
        contract="qwen3",
        sizes=SIZES,
        parts={
            "language_model": LANGUAGE_MODEL,
            "projector": ModelPart(
                weights=r"(.*\.)?visual\.(merger|deepstack_merger_list)\..*",
                linear_layers=r"(.*\.)?visual\.(merger|deepstack_merger_list\.\d+)\.linear_fc[12]",
            ),
            "vision_tower": ModelPart(
                weights=r"(.*\.)?visual\.(patch_embed|pos_embed|blocks)\..*",
                linear_layers=r"(.*\.)?visual\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.linear_fc[12])",
            ),
        },
        model_class=_model_class,
        processor_class=_processor_class,
    )
)
