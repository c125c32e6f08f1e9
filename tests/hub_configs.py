"""config.json as the hub writes it for each family, and published configurations with two narrow layers."""

import copy
from collections.abc import Callable
from typing import Any

from models.families import FAMILIES, PUBLISHED_SIZES

TOKEN_IDS = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
TEXT = (
    *("bos_token_id", "eos_token_id", "hidden_act", "hidden_size", "intermediate_size"),
    *("max_position_embeddings", "num_attention_heads", "num_hidden_layers", "num_key_value_heads"),
    *("rms_norm_eps", "vocab_size"),
)
VISION = (
    *("depth", "hidden_act", "hidden_size", "intermediate_size", "num_heads", "out_hidden_size"),
    *("patch_size", "spatial_merge_size", "temporal_patch_size"),
)
LINEAR_ATTENTION = (
    *("layer_types", "linear_conv_kernel_dim", "linear_key_head_dim", "linear_num_key_heads"),
    *("linear_num_value_heads", "linear_value_head_dim"),
)


def _values(config: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: getattr(config, key) for key in keys}


def flat(config: Any) -> dict[str, Any]:
    """config.json of Qwen2.5-VL on the hub: the keys of the language model stand at the top."""
    text, vision = config.text_config, config.vision_config
    rope = text.rope_parameters
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "tie_word_embeddings": config.tie_word_embeddings,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.41.2",
        "use_sliding_window": False,
        "sliding_window": 32768,
        "rope_theta": rope["rope_theta"],
        "rope_scaling": {"type": "mrope", "mrope_section": rope["mrope_section"]},
        **_values(text, TEXT),
        **_values(config, TOKEN_IDS),
        "vision_config": {
            "in_chans": 3,
            **_values(vision, (*VISION, "window_size", "fullatt_block_indexes", "tokens_per_second")),
        },
    }


def nested(config: Any) -> dict[str, Any]:
    """config.json of Qwen3-VL on the hub."""
    text, vision = config.text_config, config.vision_config
    rope = text.rope_parameters
    tied = {"tie_word_embeddings": config.tie_word_embeddings}
    return {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "model_type": "qwen3_vl",
        "transformers_version": "4.57.0.dev0",
        **tied,
        **_values(config, TOKEN_IDS),
        "text_config": {
            **_values(text, (*TEXT, "attention_bias", "head_dim")),
            **tied,
            "model_type": "qwen3_vl_text",
            "dtype": "bfloat16",
            "rope_theta": rope["rope_theta"],
            "rope_scaling": {key: rope[key] for key in ("mrope_interleaved", "mrope_section", "rope_type")},
        },
        "vision_config": {
            "model_type": "qwen3_vl",
            "in_channels": 3,
            **_values(vision, (*VISION, "deepstack_visual_indexes", "num_position_embeddings")),
        },
    }


def hybrid(config: Any) -> dict[str, Any]:
    """config.json of Qwen3.5 on the hub, which has keys that transformers does not read."""
    text, vision = config.text_config, config.vision_config
    tied = {"tie_word_embeddings": config.tie_word_embeddings}
    return {
        "architectures": ["Qwen3_5ForConditionalGeneration"],
        "model_type": "qwen3_5",
        "transformers_version": "4.57.0.dev0",
        **tied,
        **_values(config, TOKEN_IDS),
        "text_config": {
            **_values(text, (*TEXT, *LINEAR_ATTENTION, "attention_bias", "head_dim", "rope_parameters")),
            **tied,
            "model_type": "qwen3_5_text",
            "dtype": "bfloat16",
            "attn_output_gate": True,
            "full_attention_interval": 4,
            "mamba_ssm_dtype": "float32",
            "mlp_only_layers": [],
            "mtp_num_hidden_layers": 1,
            "mtp_use_dedicated_embeddings": False,
        },
        "vision_config": {
            "model_type": "qwen3_5",
            "in_channels": 3,
            "deepstack_visual_indexes": [],
            **_values(vision, (*VISION, "num_position_embeddings")),
        },
    }


HUB_CONFIG: dict[str, Callable[[Any], dict[str, Any]]] = {
    "qwen2_5_vl": flat,
    "qwen3_vl": nested,
    "qwen3_5": hybrid,
}
"""A configuration as the hub's config.json writes it, by `model_type`."""


def cut_config(size: str) -> Any:
    """The configuration of a published size with two layers of width 64, and a vision tower of two blocks."""
    published = PUBLISHED_SIZES[size]
    config: Any = copy.deepcopy(dict(published.config))
    config["text_config"] |= {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "initializer_range": 0.06,
    }
    config["vision_config"] |= {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_heads": 2,
        "out_hidden_size": 64,
        "initializer_range": 0.06,
    }
    config["text_config"] |= CUT_TEXT.get(published.model_type, {})
    config["vision_config"] |= CUT_VISION.get(published.model_type, {})
    return FAMILIES[published.model_type].model_class().config_class(**config)


CUT_TEXT: dict[str, dict[str, Any]] = {
    # Heads of Qwen2.5-VL have no width of their own: 64 channels here and 128 in the published models, so the
    # pairs of channels for time, height and width are halved.
    "qwen2_5_vl": {
        "num_attention_heads": 1,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [8, 12, 12]},
    },
    "qwen3_5": {
        "layer_types": ["linear_attention", "full_attention"],
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
    },
}
CUT_VISION: dict[str, dict[str, Any]] = {
    "qwen2_5_vl": {"fullatt_block_indexes": [1]},
    "qwen3_vl": {"deepstack_visual_indexes": [0]},
}
