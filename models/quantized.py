"""Weights in four bits (QLoRA, arXiv 2305.14314), for training adapters on them."""

from importlib.util import find_spec

import torch
from transformers import BitsAndBytesConfig

from configs.errors import UserError

KEPT = ["model.visual", "lm_head"]  # pictures are seen, and tokens chosen, by weights as they are


def check_installed() -> None:
    """Raise UserError where bitsandbytes is not installed."""
    if find_spec("bitsandbytes") is None:
        raise UserError(
            "recipe.tune.method=qlora: needs bitsandbytes; pip install bitsandbytes, or take lora"
        )


def four_bit(dtype: torch.dtype) -> BitsAndBytesConfig:
    """NF4 with quantized constants; products are computed in `dtype`. Needs bitsandbytes."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=KEPT,
    )
