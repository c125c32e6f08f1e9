"""How far a side of `python -m benchmarks inference` is from what the machine can do at best.

Two lower bounds are compared with the time that a side took. One is the time that its floating-point
operations take at the rate of a large matrix product. The other is the time that it takes to read the
weights of the grounder from memory, once for each forward pass. Small models stay in the cache of the
processor, so the second bound does not hold for them.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

MATRIX = {"cpu": 1024, "cuda": 8192}  # rows and columns of the measured product
COPIED = {"cpu": 1 << 26, "cuda": 1 << 31}  # bytes
ROUNDS = 10
CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


@dataclass(frozen=True)
class Machine:
    """The measured rates of a device: FLOP/s of a matrix product, and bytes/s of reading and writing."""

    flops: float
    bandwidth: float


def measure_machine(device: torch.device, dtype: torch.dtype) -> Machine:
    """Measure the device with as many threads as torch uses."""
    side = MATRIX[device.type]
    first, second = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    source = torch.ones(COPIED[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    product = _shortest(device, lambda: first @ second)
    copied = _shortest(device, lambda: target.copy_(source))
    # A product takes a multiplication and an addition for each of the side³ terms. A copy reads and writes.
    return Machine(2 * side**3 / product, 2 * source.numel() / copied)


def _shortest(device: torch.device, work: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def _attention_flops(
    query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], *_: Any, **__: Any
) -> int:
    """The FLOPs of an attention, from the shapes (batch, heads, tokens, width); without regard to a mask."""
    batch, heads, tokens, width = query
    return 2 * batch * heads * tokens * key[2] * (width + value[3])


def counted_flops(work: Callable[[], None]) -> int:
    """The floating-point operations of matrix products, convolutions and attention while `work` runs."""
    # The counter of torch does not know the attention kernel of CPUs.
    counter = FlopCounterMode(display=False, custom_mapping={CPU_ATTENTION: _attention_flops})
    with counter:
        work()
    return int(counter.get_total_flops())


def weight_bytes(model: Any, passes: Mapping[str, int]) -> int:
    """The bytes of weights that forward passes of the grounder have read, by `PartClock.passes`."""
    tower = _bytes(model.model.visual)
    text = _bytes(model) - tower
    # Embeddings are looked up and not read, but the output layer, often tied to them, is.
    return int(passes["vision"] * tower + (passes["prefill"] + passes["decode"]) * text)


def _bytes(module: Any) -> int:
    return sum(weight.numel() * weight.element_size() for weight in module.parameters())
