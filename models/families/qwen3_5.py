"""Qwen3.5, the dense models.

A language token shows 32 by 32 pixels, and boxes are in thousandths of the image's sides, as in Qwen3-VL. The
vision tower is that of Qwen3-VL without DeepStack. Three of four layers of the language model are gated delta
nets (arXiv 2412.06464): linear attention that keeps a state of fixed size instead of keys and values. The
fourth attends to all tokens. Its rotary embedding turns a quarter of the channels of a head.

Sizes are those of `config.json` in https://huggingface.co/Qwen/Qwen3.5-0.8B (2B, 4B, 9B), by the names of
transformers' configurations. `parameters` counts what transformers loads. The hub's files also hold a layer
that predicts several tokens at once (`mtp.*`), which transformers leaves out.
"""

from typing import Any

from models.families.family import Family, ModelPart, PublishedSize, register_family

MODEL_TYPE = "qwen3_5"

TOKEN_IDS: dict[str, int] = {
    "vision_start_token_id": 248_053,
    "vision_end_token_id": 248_054,
    "image_token_id": 248_056,
    "video_token_id": 248_057,
}

# The vision towers of the 0.8B model, of the 2B and 4B models, and of the 9B model.
SMALL_TOWER: dict[str, Any] = {"depth": 12, "hidden_size": 768, "intermediate_size": 3072, "num_heads": 12}
MEDIUM_TOWER: dict[str, Any] = {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16}
LARGE_TOWER: dict[str, Any] = {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16}


def _text_config(
    hidden: int,
    layers: int,
    heads: int,
    key_value_heads: int,
    intermediate: int,
    linear_value_heads: int,
    tied: bool,
) -> dict[str, Any]:
    """The configuration of a language model; `tied`: one embedding in and out."""
    return {
        "vocab_size": 248_320,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        "head_dim": 256,
        "layer_types": [
            "full_attention" if layer % 4 == 3 else "linear_attention" for layer in range(layers)
        ],
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": linear_value_heads,
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 262_144,
        # Pairs of channels for time, height and width: together a quarter of the 128 pairs of a head.
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e7,
            "partial_rotary_factor": 0.25,
            "mrope_section": [11, 11, 10],
            "mrope_interleaved": True,
        },
        "eos_token_id": 248_044,
        "tie_word_embeddings": tied,
    }


def _size(name: str, parameters: int, tower: dict[str, Any], text: dict[str, Any]) -> PublishedSize:
    config = {
        "text_config": text,
        "vision_config": {"out_hidden_size": text["hidden_size"], "num_position_embeddings": 2304, **tower},
        "tie_word_embeddings": text["tie_word_embeddings"],
        **TOKEN_IDS,
    }
    return PublishedSize(MODEL_TYPE, f"Qwen/Qwen3.5-{name}", parameters, config)


SIZES = {
    "qwen3_5_0_8b": _size("0.8B", 852_985_920, SMALL_TOWER, _text_config(1024, 24, 8, 2, 3584, 16, True)),
    "qwen3_5_2b": _size("2B", 2_213_241_664, MEDIUM_TOWER, _text_config(2048, 24, 8, 2, 6144, 16, True)),
    "qwen3_5_4b": _size("4B", 4_539_265_536, MEDIUM_TOWER, _text_config(2560, 32, 16, 4, 9216, 32, True)),
    "qwen3_5_9b": _size("9B", 9_409_813_744, LARGE_TOWER, _text_config(4096, 32, 16, 4, 12288, 32, False)),
}


def _model_class() -> Any:
    from transformers import Qwen3_5ForConditionalGeneration

    return Qwen3_5ForConditionalGeneration


def _processor_class() -> Any:
    # The processor is that of Qwen3-VL, with a tokenizer of its own.
    from transformers import Qwen3VLProcessor

    return Qwen3VLProcessor


FAMILY = register_family(
    Family(
        model_type=MODEL_TYPE,
        hub_prefix="Qwen/Qwen3.5-",
        contract="qwen3",
        sizes=SIZES,
        parts={
            "language_model": ModelPart(
                weights=r"(.*\.)?(language_model\..*|lm_head\.weight)",
                linear_layers=r"(.*\.)?language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj"
                r"|linear_attn\.(in_proj_(qkv|z|b|a)|out_proj)|mlp\.(gate|up|down)_proj)",
            ),
            "projector": ModelPart(
                weights=r"(.*\.)?visual\.merger\..*", linear_layers=r"(.*\.)?visual\.merger\.linear_fc[12]"
            ),
            "vision_tower": ModelPart(
                weights=r"(.*\.)?visual\.(patch_embed|pos_embed|blocks)\..*",
                linear_layers=r"(.*\.)?visual\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.linear_fc[12])",
            ),
        },
        model_class=_model_class,
        processor_class=_processor_class,
        # In a packed row the state of a linear-attention layer would pass from one sample to the next.
        # transformers separates them only with the kernels of two further packages.
        supports_packing=False,
        # It cannot drop the tokens of a draft that were rejected either.
        supports_drafts=False,
    )
)
