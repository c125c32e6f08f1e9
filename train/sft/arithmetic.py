"""How much arithmetic a step is, by formula, and how much a device could do; the share used is MFU.

Counted as in PaLM (arXiv 2204.02311, appendix B): what the model itself takes, so nothing for activations
that are computed a second time. A matrix of N weights takes, a token, 2 N operations forward; 2 N more where
gradients pass it, and 2 N more where it learns: 6 N for what learns, 4 N for the frozen weights around
adapters, 2 N for a frozen vision tower. The output map counts for answer tokens alone, the input embeddings
not at all. Attention over L tokens of width w is 4 L² w forward, half of that where it is causal, and twice
as much again backward where gradients pass.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

import torch

from models.families import family_of, part_of
from models.grounder.classes import QwenVL
from train.sft.config import TuneSettings

PEAKS = {
    "B200": 2250e12,
    "H200": 989e12,
    "GH200": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "A40": 150e12,
    "A10": 125e12,
    "L4": 121e12,
    "RTX 4090": 165e12,
}
"""Operations a second in bfloat16 without sparsity, by words of the device's name (NVIDIA's data sheets)."""


def peak_of(device: torch.device) -> float | None:
    """Operations a second that a device could do at most; None for a CPU and for what the table lacks."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAKS.items() if re.search(rf"\b{part}\b", name)), None)


@dataclass(frozen=True)
class Arithmetic:
    """Operations by what they are for: `text`, `patch`, `merged` and `answer` a token of each kind.

    `causal` counts for the square of a sample's tokens, `whole` for that of a picture's patches, `windowed`
    for a patch and all others in its window; `merge` patches are one token.
    """

    text: float
    patch: float
    merged: float
    answer: float
    causal: float
    whole: float
    windowed: float
    merge: int

    def of(self, lengths: torch.Tensor, grids: torch.Tensor, answers: int) -> int:
        """Of samples of `lengths` (samples,) tokens with pictures of `grids` (pictures, 3) patches."""
        patches = grids.prod(1).double()
        tokens = lengths.double()
        total = self.text * tokens.sum() + self.causal * tokens.square().sum() + self.answer * answers
        total += (self.patch + self.windowed + self.merged / self.merge) * patches.sum()
        return int(total + self.whole * patches.square().sum())


def arithmetic_of(model: QwenVL, tune: TuneSettings) -> Arithmetic:
    """The formula of a model, adapters in place, of which `tune` says what learns."""
    sizes = _sizes(model)
    config: Any = model.config
    text, tower = config.text_config, config.vision_config
    seen = "vision_tower" in tune.parts
    passes = {"language_model": True, "vision_tower": seen, "projector": seen or "projector" in tune.parts}
    # Adapters stand among the weights of their part, and learn.
    each = {
        part: _factor(passes[part], tune.method == "full" and part in tune.parts) * sizes[part]
        + 6 * sizes["adapters of " + part]
        for part in passes
    }
    head = text.vocab_size * text.hidden_size
    learns = tune.method == "full" and "language_model" in tune.parts
    heads = text.num_attention_heads * _head_width(text)
    whole = getattr(tower, "fullatt_block_indexes", None)
    num_whole = tower.depth if whole is None else len(whole)
    window = 0 if whole is None else (tower.window_size // tower.patch_size) ** 2
    backward = 3 if seen else 1
    return Arithmetic(
        text=each["language_model"],
        patch=each["vision_tower"],
        merged=each["projector"],
        answer=_factor(True, learns) * head,
        causal=3 * 2 * text.num_hidden_layers * heads,
        whole=backward * 4 * num_whole * tower.hidden_size,
        windowed=backward * 4 * (tower.depth - num_whole) * tower.hidden_size * window,
        merge=tower.spatial_merge_size**2,
    )


def _factor(passed: bool, learns: bool) -> int:
    return 2 + 2 * passed + 2 * learns


def _head_width(text: Any) -> int:
    width: int = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return width


def _sizes(model: QwenVL) -> dict[str, int]:
    """Weights in matrices by part, and those of adapters; neither embeddings nor the output map."""
    sizes: dict[str, int] = dict.fromkeys(
        (prefix + part for part in family_of(model).parts for prefix in ("", "adapters of ")), 0
    )
    for name, weight in model.named_parameters():
        if (
            len(getattr(weight, "ds_shape", weight.shape)) < 2
            or "embed_tokens" in name
            or "lm_head" in name
            or "pos_embed" in name
        ):
            continue
        plain = name.replace(".base_layer", "").split(".lora_")[0]
        part = part_of(family_of(model), plain if plain.endswith(".weight") else plain + ".weight")
        sizes["adapters of " + part if ".lora_" in name else part] += _numbers(weight)
    return sizes


def _numbers(weight: torch.Tensor) -> int:
    """Numbers of a whole weight, also where it lies in shares (ZeRO-3) or, two in a byte, in four bits."""
    if hasattr(weight, "ds_numel"):
        return int(weight.ds_numel)
    held = getattr(weight, "quant_state", None)
    return weight.numel() if held is None else math.prod(held.shape)
