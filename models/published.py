"""The published Qwen2.5-VL sizes without their weights: for checks, memory estimates and LoRA.

The figures are those of `config.json` in https://huggingface.co/Qwen/Qwen2.5-VL-3B-Instruct and
`…-7B-Instruct`, written in the words of transformers' `Qwen2_5_VLConfig`. The names are those of
`model=`. A checkpoint carries its own configuration: the table serves where there is none.
"""

from dataclasses import dataclass

import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

LORA_TARGETS = r".*\blanguage_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
"""`target_modules` of peft's `LoraConfig`: the seven linear maps of each layer of the language model.

A pattern and not a list of names, since the vision tower has a `gate_proj` and an `up_proj` too.
"""


@dataclass(frozen=True)
class PublishedSize:
    """What tells the published sizes apart, and how many parameters each has."""

    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    inner: int
    vocabulary: int
    tied: bool  # whether output and input embeddings are one
    parameters: int


PUBLISHED: dict[str, PublishedSize] = {
    "qwen2_5_vl_3b": PublishedSize(2048, 36, 16, 2, 11008, 151_936, True, 3_754_622_976),
    "qwen2_5_vl_7b": PublishedSize(3584, 28, 28, 4, 18944, 152_064, False, 8_292_166_656),
}


def published_config(name: str) -> Qwen2_5_VLConfig:
    """The configuration of a published size, a key of `PUBLISHED`."""
    size = PUBLISHED[name]
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": size.vocabulary,
            "hidden_size": size.hidden,
            "intermediate_size": size.inner,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.key_value_heads,
            "max_position_embeddings": 128_000,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
            "bos_token_id": 151_643,
            "eos_token_id": 151_645,
            "tie_word_embeddings": size.tied,
        },
        vision_config={
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "out_hidden_size": size.hidden,
            "window_size": 112,
            "fullatt_block_indexes": [7, 15, 23, 31],
            "tokens_per_second": 2,
        },
        vision_start_token_id=151_652,
        vision_end_token_id=151_653,
        image_token_id=151_655,
        video_token_id=151_656,
        tie_word_embeddings=size.tied,
    )


def build_empty(name: str) -> Qwen2_5_VLForConditionalGeneration:
    """A published size on the meta device: every module and shape, and no memory."""
    with torch.device("meta"):
        return Qwen2_5_VLForConditionalGeneration(published_config(name))
