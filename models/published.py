"""The published sizes without their weights: for checks, memory estimates and LoRA.

The figures are those of `config.json` in https://huggingface.co/Qwen/Qwen2.5-VL-3B-Instruct (7B, 32B, 72B)
and https://huggingface.co/Qwen/Qwen3-VL-2B-Instruct (4B, 8B), written in the words of transformers'
configurations; parameters are counted as the hub counts them. The names are those of `model=`. A checkpoint
carries its own configuration: the table serves where there is none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Qwen2_5_VLConfig, Qwen3VLConfig

from models.families import FAMILIES, QwenVL


@dataclass(frozen=True)
class PublishedSize:
    """What tells the published sizes apart, and how many parameters each has."""

    family: str  # a key of FAMILIES
    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    inner: int
    vocabulary: int
    tied: bool  # whether output and input embeddings are one
    tower: dict[str, Any]  # of the vision tower: what its sizes differ in
    parameters: int


# The inner width of Qwen2.5-VL's tower differs; Qwen3-VL has two towers.
NARROW: dict[str, Any] = {"intermediate_size": 3420}
WIDE: dict[str, Any] = {"intermediate_size": 3456}
SMALL: dict[str, Any] = {
    "depth": 24,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "deepstack_visual_indexes": [5, 11, 17],
}
LARGE: dict[str, Any] = {
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "deepstack_visual_indexes": [8, 16, 24],
}

OLD, NEW = "qwen2_5_vl", "qwen3_vl"
PUBLISHED: dict[str, PublishedSize] = {
    "qwen2_5_vl_3b": PublishedSize(OLD, 2048, 36, 16, 2, 11008, 151_936, True, NARROW, 3_754_622_976),
    "qwen2_5_vl_7b": PublishedSize(OLD, 3584, 28, 28, 4, 18944, 152_064, False, NARROW, 8_292_166_656),
    "qwen2_5_vl_32b": PublishedSize(OLD, 5120, 64, 40, 8, 27648, 152_064, False, WIDE, 33_452_718_336),
    "qwen2_5_vl_72b": PublishedSize(OLD, 8192, 80, 64, 8, 29568, 152_064, False, WIDE, 73_410_777_344),
    "qwen3_vl_2b": PublishedSize(NEW, 2048, 28, 16, 8, 6144, 151_936, True, SMALL, 2_127_532_032),
    "qwen3_vl_4b": PublishedSize(NEW, 2560, 36, 32, 8, 9728, 151_936, True, SMALL, 4_437_815_808),
    "qwen3_vl_8b": PublishedSize(NEW, 4096, 36, 32, 8, 12288, 151_936, False, LARGE, 8_767_123_696),
}

TOKENS: dict[str, Any] = {
    "vision_start_token_id": 151_652,
    "vision_end_token_id": 151_653,
    "image_token_id": 151_655,
    "video_token_id": 151_656,
}


def published_config(name: str) -> Qwen2_5_VLConfig | Qwen3VLConfig:
    """The configuration of a published size, a key of `PUBLISHED`."""
    size = PUBLISHED[name]
    return CONFIGS[size.family](size)


def build_empty(name: str) -> QwenVL:
    """A published size on the meta device: every module and shape, and no memory."""
    with torch.device("meta"):
        return FAMILIES[PUBLISHED[name].family].model(published_config(name))


def _text(size: PublishedSize) -> dict[str, int | float]:
    return {
        "vocab_size": size.vocabulary,
        "hidden_size": size.hidden,
        "intermediate_size": size.inner,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.key_value_heads,
        "rms_norm_eps": 1e-6,
        "bos_token_id": 151_643,
        "eos_token_id": 151_645,
        "tie_word_embeddings": size.tied,
    }


def _qwen2_5(size: PublishedSize) -> Qwen2_5_VLConfig:
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    return Qwen2_5_VLConfig(
        text_config={**_text(size), "max_position_embeddings": 128_000, "rope_parameters": rope},
        vision_config={
            "depth": 32,
            "hidden_size": 1280,
            "num_heads": 16,
            "out_hidden_size": size.hidden,
            "window_size": 112,
            "fullatt_block_indexes": [7, 15, 23, 31],
            "tokens_per_second": 2,
            **size.tower,
        },
        tie_word_embeddings=size.tied,
        **TOKENS,
    )


def _qwen3(size: PublishedSize) -> Qwen3VLConfig:
    rope = {
        "rope_type": "default",
        "rope_theta": 5e6,
        "mrope_section": [24, 20, 20],
        "mrope_interleaved": True,
    }
    return Qwen3VLConfig(
        text_config={
            **_text(size),
            "head_dim": 128,
            "max_position_embeddings": 262_144,
            "rope_parameters": rope,
        },
        vision_config={
            "num_heads": 16,
            "out_hidden_size": size.hidden,
            "num_position_embeddings": 2304,
            **size.tower,
        },
        tie_word_embeddings=size.tied,
        **TOKENS,
    )


CONFIGS: dict[str, Callable[[PublishedSize], Qwen2_5_VLConfig | Qwen3VLConfig]] = {OLD: _qwen2_5, NEW: _qwen3}
