"""Real models of every kind, far too small to be any good, saved as checkpoints."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import (
    Qwen2VLImageProcessor,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from data_prep.contract.contract import BUILT_IN, Contract, write_contract
from models.grounder.model import QwenVL, QwenVLProcessor
from models.grounder.nano import (
    CHAT_TEMPLATE,
    build_grounder,
    build_processor,
    build_tokenizer,
    small_settings,
)
from models.mask_head.sam2_model import build_model, nano_config, save_sam2
from models.mask_head.sam2_model import build_processor as build_sam2_processor

SHORT3 = replace(
    BUILT_IN["short"],
    coordinates="thousand",
    side_multiple=32,
    min_pixels=12 * 8 * 32 * 32,
    max_pixels=12 * 8 * 32 * 32,
    search_size=(12 * 32, 8 * 32),
    template_pixels=2 * 2 * 32 * 32,
)
"""The contract `short` for Qwen3-VL and Qwen3.5."""


def build_processor3() -> Qwen3VLProcessor:
    """The small grounder's tokenizer with Qwen3-VL's image processor."""
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(
            image_mean=[0.5] * 3, image_std=[0.5] * 3, patch_size=16, merge_size=2, temporal_patch_size=2
        ),
        tokenizer=build_tokenizer(),
        video_processor=Qwen3VLVideoProcessor(),
        chat_template=CHAT_TEMPLATE,
    )


def build_grounder3(
    processor: QwenVLProcessor, width: int = 128, layers: int = 5, vision_layers: int = 4, seed: int = 0
) -> Qwen3VLForConditionalGeneration:
    """A small Qwen3-VL; every layer of its vision tower but the last goes into the language model too."""
    torch.manual_seed(seed)
    config = Qwen3VLConfig(
        **small_settings(
            processor,
            *(width, layers, vision_layers),
            rope={"mrope_section": [6, 5, 5], "mrope_interleaved": True},
            text={"head_dim": 32},
            vision={
                "num_position_embeddings": 64,
                "deepstack_visual_indexes": list(range(vision_layers - 1)),
            },
        )
    )
    model = Qwen3VLForConditionalGeneration(config)
    model.generation_config.do_sample = False
    return model


def build_grounder3_5(
    processor: QwenVLProcessor, width: int = 128, layers: int = 5, vision_layers: int = 4, seed: int = 0
) -> Qwen3_5ForConditionalGeneration:
    """A small Qwen3.5: every second layer is linear attention, and the last one attends to all tokens."""
    torch.manual_seed(seed)
    kinds, heads = ("full_attention", "linear_attention"), width // 32
    config = Qwen3_5Config(
        **small_settings(
            processor,
            *(width, layers, vision_layers),
            # Half of the 16 pairs of channels are turned.
            rope={"partial_rotary_factor": 0.5, "mrope_section": [3, 3, 2], "mrope_interleaved": True},
            text={
                "head_dim": 32,
                "layer_types": [kinds[(layers - 1 - layer) % 2] for layer in range(layers)],
                "linear_key_head_dim": 16,
                "linear_value_head_dim": 16,
                "linear_num_key_heads": heads,
                "linear_num_value_heads": heads * 2,
            },
            vision={"num_position_embeddings": 64},
        )
    )
    model = Qwen3_5ForConditionalGeneration(config)
    model.generation_config.do_sample = False
    return model


@dataclass(frozen=True)
class Tiny:
    """What builds the small models of a family, and the contract that they are asked by."""

    contract: Contract
    build_processor: Callable[[], QwenVLProcessor]
    build_grounder: Callable[..., QwenVL]


TINY = {
    "qwen2_5_vl": Tiny(BUILT_IN["short"], build_processor, build_grounder),
    "qwen3_vl": Tiny(SHORT3, build_processor3, build_grounder3),
    "qwen3_5": Tiny(SHORT3, build_processor3, build_grounder3_5),
}
"""By `model_type`, as `models.families.FAMILIES`."""


def save_grounder(folder: Path, with_contract: bool = True, family: str = "qwen2_5_vl") -> Path:
    """A model of one layer with random weights, processor and contract."""
    tiny = TINY[family]
    processor = tiny.build_processor()
    tiny.build_grounder(processor, width=32, layers=1, vision_layers=2).save_pretrained(folder)
    processor.save_pretrained(folder)
    if with_contract:
        write_contract(folder, tiny.contract)
    return folder


def save_mask_head(folder: Path) -> Path:
    """A SAM 2 for images of 64 by 64 with random weights, which believes every target present."""
    torch.manual_seed(0)
    config = nano_config(64)
    model = build_model(config)
    with torch.no_grad():
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(3.0)
    save_sam2(folder, model, build_sam2_processor(config))
    return folder
