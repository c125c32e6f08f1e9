"""Fused operations of the language model: LoRA layers, and Liger-Kernel where it is installed."""

from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import nn
from transformers import PreTrainedModel
from transformers.integrations.liger import apply_liger_kernel
from transformers.utils import is_liger_kernel_available

LIGER_KERNELS = {
    "rope": True,
    "rms_norm": True,
    "swiglu": True,
    # The fused losses compute logits of all tokens; training computes those of the answers alone.
    "cross_entropy": False,
    "fused_linear_cross_entropy": False,
}


class FusedLoraLinear(Linear):
    """peft's linear layer with one adapter: `x Wᵀ + s (x Aᵀ) Bᵀ` (arXiv 2106.09685).

    peft multiplies the product of the adapter by the scale and adds it to the output of the frozen layer.
    These are two more passes over tensors of the size of the output, forward and backward. Here the matrix
    product (`addmm`) scales and adds in the same pass. Weights and their names do not change, and results are
    equal up to rounding. All other cases are left to peft.
    """

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """`x` (…, inputs) to (…, outputs)."""
        # 1. Leave to peft: several adapters, variants such as DoRA, merged or disabled adapters, sharded
        #    weights.
        (adapter,) = self.active_adapters[:1] or [None]
        is_standard = (
            adapter in self.lora_A and len(self.active_adapters) == 1 and adapter not in self.lora_variant
        )
        if (
            not is_standard
            or self.disable_adapters
            or self.merged
            or args
            or kwargs
            or _is_sharded(self.lora_B[adapter])
        ):
            return super().forward(x, *args, **kwargs)
        base: torch.Tensor = self.base_layer(x)
        lora_a: Any = self.lora_A[adapter]
        dropout: Any = self.lora_dropout[adapter]
        weight_b: Any = self.lora_B[adapter].weight
        # 2. The product with A: (…, rank). Autocast casts `x` itself; a cast to float32 here would keep a
        #    copy of `x` for the backward pass.
        cast = (
            x if torch.is_autocast_enabled(x.device.type) else self._cast_input_dtype(x, lora_a.weight.dtype)
        )
        low = lora_a(dropout(cast))
        # 3. The product with B, scaled and added to the output of the base layer.
        rows, low = base.flatten(0, -2), low.flatten(0, -2)  # (rows, outputs), (rows, rank)
        # `addmm` needs one dtype for all three: autocast sees to it, and without autocast they are cast here.
        output = torch.addmm(
            rows, low.to(rows.dtype), weight_b.t().to(rows.dtype), alpha=self.scaling[adapter]
        )
        return output.view(base.shape)


def apply_fused_lora(model: nn.Module) -> None:
    """Turn the LoRA layers of a model into `FusedLoraLinear`, in place.

    A layer gets another class and keeps its weights, its hooks and its name, so checkpoints and DeepSpeed see
    no difference. Layers with biases in their adapters, and convolutions, do not change.
    """
    for module in model.modules():
        # Not `isinstance`: a subclass may have a forward pass of its own. And `addmm` has no place for a bias
        # of B.
        if type(module) is Linear and all(layer.bias is None for layer in module.lora_B.values()):
            module.__class__ = FusedLoraLinear


def apply_liger(model: PreTrainedModel, device: torch.device) -> bool:
    """Put Liger-Kernel's norms, gates and rotary embeddings into a model, in place; returns whether it did.

    It is https://github.com/linkedin/Liger-Kernel (arXiv 2410.10989), by transformers' own integration, which
    also changes models that are made afterwards. On a CPU, and where the package is not installed, the model
    stays as it is.
    """
    if device.type != "cuda" or not is_liger_kernel_available():
        return False
    apply_liger_kernel(model, LIGER_KERNELS)
    return True


def _is_sharded(layer: nn.Module) -> bool:
    """Whether ZeRO-3 holds the layer's weight in shards, which it gathers only when the layer is called."""
    return hasattr(layer.weight, "ds_id")
