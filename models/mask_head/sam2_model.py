"""SAM 2 models: the four published sizes, a nano one that a single CPU core can train, and their checkpoints.

The published figures are those of Meta's own files (`sam2/configs/sam2.1/sam2.1_hiera_{t,s,b+,l}.yaml` of
https://github.com/facebookresearch/sam2), by the names of transformers' `Sam2VideoConfig`. A checkpoint has
its own configuration; the table serves to build a size without weights. Its names are the options of
`mask_head=`. Checkpoints are in transformers' layout: safetensors only, and no code of a checkpoint is
executed.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    Sam2HieraDetConfig,
    Sam2ImageProcessor,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam2VisionConfig,
)
from transformers.utils import logging as transformers_logging

from models.mask_head.checkpoint_checks import SAM2_TYPES
from models.mask_head.checkpoints import Architecture, image_side, load_model

NANO_HIDDEN = 128  # memory attention needs a multiple of its 64 memory channels that is above 64


@dataclass(frozen=True)
class Hiera:
    """One size of the image encoder Hiera; tuples have one value for each of its four stages.

    `windows` are the sides of attention windows in tokens. `global_blocks` are the numbers, over all stages
    and from 0, of the blocks that attend to the whole image. `background` is the side in tokens of the
    learned coarse map of position embeddings.
    """

    widths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    blocks: tuple[int, int, int, int]
    windows: tuple[int, int, int, int]
    global_blocks: tuple[int, ...]
    background: int


@dataclass(frozen=True)
class PublishedSize:
    """A published SAM 2.1: its parameters in millions, as Meta states them, and its image encoder."""

    millions: float
    hiera: Hiera


# Widths, heads, blocks and windows of the four stages, blocks with global attention, side of the background
# map.
PUBLISHED: dict[str, PublishedSize] = {
    "sam2_1_tiny": PublishedSize(
        38.9,
        Hiera((96, 192, 384, 768), (1, 2, 4, 8), (1, 2, 7, 2), (8, 4, 14, 7), (5, 7, 9), 7),
    ),
    "sam2_1_small": PublishedSize(
        46.0,
        Hiera((96, 192, 384, 768), (1, 2, 4, 8), (1, 2, 11, 2), (8, 4, 14, 7), (7, 10, 13), 7),
    ),
    "sam2_1_base_plus": PublishedSize(
        80.8,
        Hiera((112, 224, 448, 896), (2, 4, 8, 16), (2, 3, 16, 3), (8, 4, 14, 7), (12, 16, 20), 14),
    ),
    "sam2_1_large": PublishedSize(
        224.4,
        Hiera((144, 288, 576, 1152), (2, 4, 8, 16), (2, 6, 36, 4), (8, 4, 16, 8), (23, 33, 43), 7),
    ),
}

NANO_HIERA = Hiera((16, 32, 64, 128), (1, 1, 2, 4), (1, 1, 2, 1), (8, 4, 4, 4), (3,), 4)


def published_config(name: str, image_size: int = 1024) -> Sam2VideoConfig:
    """The configuration of a published size (a key of `PUBLISHED`).

    `image_size` is the side in pixels of the square image, 1024 as published; weights do not depend on it.
    """
    hiera = PUBLISHED[name].hiera
    return Sam2VideoConfig(
        vision_config=_vision_config(hiera, image_size, hidden=256),
        prompt_encoder_config={"image_size": image_size},
        image_size=image_size,
        # In tokens: the sides of the coarsest feature map, which has stride 16.
        memory_attention_rope_feat_sizes=[image_size // 16] * 2,
    )


def nano_config(image_size: int = 256) -> Sam2VideoConfig:
    """The nano size: 1.7 M parameters, all parts of SAM 2, but one mask for a prompt instead of three.

    `image_size` is the side in pixels of the square that a frame is resized to, a multiple of 32. Weights do
    not depend on it. There is no dropout, so the same computation is trained and used for tracking.
    """
    decoder = {
        "hidden_size": NANO_HIDDEN,
        "mlp_dim": 256,
        "num_attention_heads": 4,
        "iou_head_hidden_dim": NANO_HIDDEN,
        "num_multimask_outputs": 0,
        # It replaces an unstable mask by one of the other masks; here there is only one.
        "dynamic_multimask_via_stability": False,
    }
    return Sam2VideoConfig(
        vision_config=_vision_config(NANO_HIERA, image_size, NANO_HIDDEN),
        prompt_encoder_config={"hidden_size": NANO_HIDDEN, "image_size": image_size},
        mask_decoder_config=decoder,
        image_size=image_size,
        multimask_output_in_sam=False,
        memory_attention_hidden_size=NANO_HIDDEN,
        memory_attention_num_layers=2,
        memory_attention_feed_forward_hidden_size=256,
        # In tokens: the sides of the coarsest feature map, which has stride 16.
        memory_attention_rope_feat_sizes=[image_size // 16] * 2,
        memory_attention_dropout=0.0,
        memory_attention_rope_dropout=0.0,
        memory_encoder_hidden_size=NANO_HIDDEN,
        mask_downsampler_embed_dim=NANO_HIDDEN,
        memory_fuser_embed_dim=NANO_HIDDEN,
        memory_fuser_intermediate_dim=256,
    )


def _vision_config(hiera: Hiera, image_size: int, hidden: int) -> Sam2VisionConfig:
    backbone = Sam2HieraDetConfig(
        hidden_size=hiera.widths[0],
        num_attention_heads=hiera.heads[0],
        image_size=[image_size, image_size],
        embed_dim_per_stage=list(hiera.widths),
        num_attention_heads_per_stage=list(hiera.heads),
        blocks_per_stage=list(hiera.blocks),
        window_size_per_stage=list(hiera.windows),
        global_attention_blocks=list(hiera.global_blocks),
        window_positional_embedding_background_size=[hiera.background] * 2,
    )
    return Sam2VisionConfig(
        backbone_config=backbone,
        # The feature pyramid lists its levels from the coarsest to the finest.
        backbone_channel_list=list(reversed(hiera.widths)),
        # Strides of the three feature levels that the mask decoder uses.
        backbone_feature_sizes=[[image_size // stride] * 2 for stride in (4, 8, 16)],
        fpn_hidden_size=hidden,
    )


def build_model(config: Sam2VideoConfig) -> Sam2VideoModel:
    """A model with random weights (from torch's generator), in evaluation mode.

    Points and image tokens share one random position encoding, as in Meta's model. transformers initialises
    two different ones, with which a model that is trained from scratch could not learn where in the image a
    box is.
    """
    model = Sam2VideoModel(config).eval()
    with torch.no_grad():
        # The encoding is a random matrix that is not trained.
        code = model.prompt_encoder.shared_embedding.positional_embedding
        model.shared_image_embedding.positional_embedding.copy_(code)
    return model


def build_processor(config: Sam2VideoConfig) -> Sam2ImageProcessor:
    """SAM 2's image processor (resize to a square, normalise) for the image size of a configuration."""
    side = image_side(config)
    mask_side = side // 4
    return Sam2ImageProcessor(
        size={"height": side, "width": side}, mask_size={"height": mask_side, "width": mask_side}
    )


def config_of(model: Sam2VideoModel) -> Sam2VideoConfig:
    """The configuration of a model, with the type that transformers does not annotate."""
    assert isinstance(model.config, Sam2VideoConfig)
    return model.config


SAM2 = Architecture(SAM2_TYPES, Sam2VideoModel, Sam2ImageProcessor)


def load_sam2(checkpoint: str, dtype: torch.dtype) -> tuple[Sam2VideoModel, Sam2ImageProcessor]:
    """Load a SAM 2 model and its image processor; see `models.mask_head.checkpoints.load_model`."""
    return load_model(checkpoint, SAM2, dtype)


def save_sam2(folder: Path, model: Sam2VideoModel, processor: Sam2ImageProcessor) -> None:
    """Write a checkpoint that `load_sam2` reads; weights in the model's dtype."""
    transformers_logging.disable_progress_bar()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
