"""Real models of the two families, far too small to be any good, saved as checkpoints."""

from pathlib import Path

import torch

from data_prep.prompts import BUILT_IN, write_contract
from models.nano import build_grounder, build_processor
from models.sam2 import build_model, nano_config
from models.sam2 import build_processor as build_sam2_processor
from models.sam2_checkpoint import save_sam2


def save_grounder(folder: Path, with_contract: bool = True) -> Path:
    """A Qwen2.5-VL of one layer with random weights, processor and contract."""
    processor = build_processor()
    build_grounder(processor, width=32, layers=1, vision_layers=2).save_pretrained(folder)
    processor.save_pretrained(folder)
    if with_contract:
        write_contract(folder, BUILT_IN["short"])
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
