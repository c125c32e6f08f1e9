"""The FLOPs of a training step, by formula, and the peak of a device; their ratio is the MFU.

They are counted as in PaLM (arXiv 2204.02311, appendix B): the FLOPs of the model itself, without those of
recomputed activations. A matrix with N weights takes, for each token, 2 N FLOPs in the forward pass, 2 N in
the backward pass where gradients pass through it, and 2 N where it is trainable. So it is 6 N for trainable
weights, 4 N for the frozen weights around adapters, and 2 N for a frozen vision tower. The output map counts
for answer tokens only, and the input embeddings do not count. Attention over L tokens of width w takes
4 L² w in the forward pass (half of it if causal), and twice as much in the backward pass. Linear attention
takes the same for each token, whatever L is.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

import torch

from models.families import family_of, part_of
from models.grounder.model import QwenVL
from train.sft.config import TuneSettings

PEAK_FLOPS = {
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
"""FLOP/s in bfloat16 without sparsity, by words of the device's name (NVIDIA's data sheets)."""


def peak_flops(device: torch.device) -> float | None:
    """The peak FLOP/s of a device; None for a CPU and for devices that are not in the table."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    # Whole words only, since `L4` is also the beginning of `L40S`. The first match counts, so `H100 NVL`
    # stands before `H100` in the table.
    return next((peak for part, peak in PEAK_FLOPS.items() if re.search(rf"\b{part}\b", name)), None)


@dataclass(frozen=True)
class FlopsFormula:
    """FLOPs of forward and backward pass, per token of each kind.

    `text` is per token of the language model, `patch` per image patch, `image_token` per token that the
    projector makes of `merge` patches, `answer` per answer token (output map). `causal_attention` is per
    squared number of tokens of a sample, `full_attention` per squared number of patches of an image, and
    `window_attention` per patch.
    """

    text: float
    patch: float
    image_token: float
    answer: float
    causal_attention: float
    full_attention: float
    window_attention: float
    merge: int

    def count(self, lengths: torch.Tensor, grids: torch.Tensor, answer_tokens: int) -> int:
        """FLOPs of samples with `lengths` (samples,) tokens and images with `grids` (images, 3) of patches.

        A row of `grids` is (frames, rows, columns).
        """
        # float64, since the squares of many tokens exceed the range in which float32 counts exactly.
        patches = grids.prod(1).double()
        tokens = lengths.double()
        total = self.text * tokens.sum() + self.causal_attention * tokens.square().sum()
        total += self.answer * answer_tokens
        total += (self.patch + self.window_attention + self.image_token / self.merge) * patches.sum()
        return int(total + self.full_attention * patches.square().sum())


def flops_formula(model: QwenVL, tune: TuneSettings) -> FlopsFormula:
    """The formula of a model with its adapters in place; `tune` says which of its parts are trained."""
    sizes = _sizes(model)
    config: Any = model.config
    text, tower = config.text_config, config.vision_config
    # 1. Matrices. Gradients pass through a part where it, or a part before it, has trainable parameters.
    trains_tower = "vision_tower" in tune.parts
    gradients = {
        "language_model": True,
        "vision_tower": trains_tower,
        "projector": trains_tower or "projector" in tune.parts,
    }
    # Adapters are counted with their part, and are always trainable.
    per_token = {
        part: _factor(gradients[part], tune.method == "full" and part in tune.parts) * sizes[part]
        + 6 * sizes["adapters of " + part]
        for part in gradients
    }
    output_map = text.vocab_size * text.hidden_size
    trains_output_map = tune.method == "full" and "language_model" in tune.parts
    # 2. Attention. Some layers of Qwen2.5-VL's vision tower attend within windows, the others over the image.
    heads_width = text.num_attention_heads * _head_width(text)
    num_linear = (getattr(text, "layer_types", None) or []).count("linear_attention")
    full_layers = getattr(tower, "fullatt_block_indexes", None)
    num_full = tower.depth if full_layers is None else len(full_layers)
    # Patches of a window. Each patch attends to so many, whatever the size of the image is.
    window = 0 if full_layers is None else (tower.window_size // tower.patch_size) ** 2
    passes = 3 if trains_tower else 1  # a backward pass is twice a forward pass
    return FlopsFormula(
        text=per_token["language_model"] + 3 * num_linear * _linear_attention(text),
        patch=per_token["vision_tower"],
        image_token=per_token["projector"],
        answer=_factor(True, trains_output_map) * output_map,
        # 3: forward pass and backward pass (twice as much). 2 instead of 4: half of the pairs are masked.
        causal_attention=3 * 2 * (text.num_hidden_layers - num_linear) * heads_width,
        full_attention=passes * 4 * num_full * tower.hidden_size,
        window_attention=passes * 4 * (tower.depth - num_full) * tower.hidden_size * window,
        merge=tower.spatial_merge_size**2,
    )


def _factor(has_gradients: bool, is_trainable: bool) -> int:
    """FLOPs per weight and token."""
    return 2 + 2 * has_gradients + 2 * is_trainable


def _head_width(text: Any) -> int:
    # Qwen3-VL configures the width of a head by itself; in Qwen2.5-VL it follows from their number.
    width: int = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return width


def _linear_attention(text: Any) -> float:
    """FLOPs of a layer of linear attention per token, in the forward pass; 0 for models that have none.

    A head keeps a matrix of key width times value width. For each token it is read by the key, updated, and
    read by the query: 2 FLOPs an element each time.
    """
    if not hasattr(text, "linear_num_value_heads"):
        return 0
    elements: int = text.linear_key_head_dim * text.linear_value_head_dim
    return 6 * text.linear_num_value_heads * elements


def _sizes(model: QwenVL) -> dict[str, int]:
    """Weights in matrices by part, and those of adapters; without embeddings and the output map."""
    sizes: dict[str, int] = dict.fromkeys(
        (prefix + part for part in family_of(model).parts for prefix in ("", "adapters of ")), 0
    )
    for name, weight in model.named_parameters():
        # Vectors (norms, biases) are not matrices, and embeddings are looked up, not multiplied. Under ZeRO-3
        # the local shard has one dimension; `ds_shape` is the complete shape.
        if (
            len(getattr(weight, "ds_shape", weight.shape)) < 2
            or "embed_tokens" in name
            or "lm_head" in name
            or "pos_embed" in name
        ):
            continue
        # peft renames an adapted matrix to `….base_layer.weight`, and its adapters to
        # `….lora_A.default.weight`.
        plain = name.replace(".base_layer", "").split(".lora_")[0]
        part = part_of(family_of(model), plain if plain.endswith(".weight") else plain + ".weight")
        sizes["adapters of " + part if ".lora_" in name else part] += _numel(weight)
    return sizes


def _numel(weight: torch.Tensor) -> int:
    """Elements of the complete weight, also where it is sharded (ZeRO-3) or packed in four bits."""
    if hasattr(weight, "ds_numel"):
        return int(weight.ds_numel)
    # bitsandbytes packs two weights into a byte, and keeps the original shape in `quant_state`.
    quantized = getattr(weight, "quant_state", None)
    return weight.numel() if quantized is None else math.prod(quantized.shape)
