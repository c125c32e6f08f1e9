"""LoRA in fewer passes over memory: the adapter's product is added by the matrix product that makes it.

peft (https://github.com/huggingface/peft) multiplies it by the scale and adds it to the output of the frozen
map, and goes over tensors of the output's size twice more, forward and backward. Weights and names stay as
they are, results to rounding; what is not the plain case is left to peft.
"""

from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import nn


class FastLinear(Linear):
    """A linear map with one adapter: `x Wᵀ + s (x Aᵀ) Bᵀ` (arXiv 2106.09685)."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """`x` (…, inputs) to (…, outputs)."""
        (adapter,) = self.active_adapters[:1] or [None]
        plain = adapter in self.lora_A and len(self.active_adapters) == 1 and adapter not in self.lora_variant
        if (
            not plain
            or self.disable_adapters
            or self.merged
            or args
            or kwargs
            or _spread(self.lora_B[adapter])
        ):
            return super().forward(x, *args, **kwargs)
        base: torch.Tensor = self.base_layer(x)
        low: Any = self.lora_A[adapter]
        dropout: Any = self.lora_dropout[adapter]
        high: Any = self.lora_B[adapter].weight
        # Autocast casts by itself; to float32 and back would make a copy of `x`, kept for the backward pass.
        cast = x if torch.is_autocast_enabled(x.device.type) else self._cast_input_dtype(x, low.weight.dtype)
        inner = low(dropout(cast))
        rows, inner = base.flatten(0, -2), inner.flatten(0, -2)
        # Under autocast all three become one type; without it they are cast here.
        added = torch.addmm(rows, inner.to(rows.dtype), high.t().to(rows.dtype), alpha=self.scaling[adapter])
        return added.view(base.shape)


def _spread(high: nn.Module) -> bool:
    """Whether ZeRO-3 holds the weight in pieces, which it gathers only when the module is called."""
    return hasattr(high.weight, "ds_id")


def quicken_adapters(model: nn.Module) -> None:
    """Let the adapters of a model work so, in place; those that hold biases or convolutions stay."""
    for module in model.modules():
        if type(module) is Linear and all(layer.bias is None for layer in module.lora_B.values()):
            module.__class__ = FastLinear
