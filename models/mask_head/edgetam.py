"""EdgeTAM as the mask head: SAM 2 with a RepViT image encoder and memory maps compressed to tokens.

Zhou et al. 2025, "EdgeTAM: On-Device Track Anything Model" (https://arxiv.org/abs/2501.07256). A memory map
of 64×64 positions becomes 512 tokens (a perceiver), and the memory attention has two layers instead of four.
The image encoder is a model of timm, which must be installed.
"""

from typing import Self

import torch
from transformers import (
    EdgeTamVideoConfig,
    EdgeTamVideoModel,
    EdgeTamVisionConfig,
    Sam2ImageProcessor,
    TimmWrapperConfig,
)

from models.mask_head.checkpoint_checks import EDGETAM_TYPES, check_timm
from models.mask_head.checkpoints import Architecture
from models.mask_head.sam2 import MaskHead

EDGETAM = Architecture(EDGETAM_TYPES, EdgeTamVideoModel, Sam2ImageProcessor, compresses_maps=True)
STRIDES = (4, 8, 16)  # of the feature levels that the mask decoder uses


class EdgeTam(MaskHead):
    """EdgeTAM with memories as values; it has the methods of `MaskHead`."""

    architecture = EDGETAM

    @classmethod
    def load(cls, checkpoint: str, device: torch.device, dtype: torch.dtype = torch.float32) -> Self:
        """Load a local folder or a hub id.

        Raises UserError where timm is not installed, and where the checkpoint is not EdgeTAM's.
        """
        check_timm()
        return super().load(checkpoint, device, dtype)


def published_edgetam_config(image_size: int = 1024) -> EdgeTamVideoConfig:
    """The configuration of the published EdgeTAM, which serves to build it without weights.

    `image_size` is the side in pixels of the square image, 1024 as published; weights do not depend on it.
    """
    # The four stages of RepViT have strides 4, 8, 16 and 32; the neck adds the last one to the third.
    backbone = TimmWrapperConfig(
        architecture="repvit_m1",
        model_args={"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
    )
    return EdgeTamVideoConfig(
        vision_config=EdgeTamVisionConfig(
            backbone_config=backbone,
            backbone_feature_sizes=[[image_size // stride] * 2 for stride in STRIDES],
        ),
        prompt_encoder_config={"image_size": image_size},
        image_size=image_size,
        memory_attention_rope_feat_sizes=[image_size // STRIDES[-1]] * 2,
        # Of SAM 2.1's additions to SAM 2, the published weights have neither of these two.
        enable_temporal_pos_encoding_for_object_pointers=False,
        enable_occlusion_spatial_embedding=False,
    )
