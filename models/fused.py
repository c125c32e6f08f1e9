"""Fused kernels in place of chains of small operations, where Liger-Kernel is installed.

https://github.com/linkedin/Liger-Kernel (arXiv 2410.10989) by transformers' own integration: norms, gates and
rotations. Its fused loss is left out, since logits are computed for answers alone (train/sft/learner.py).
"""

import torch
from transformers.integrations.liger import apply_liger_kernel
from transformers.utils import is_liger_kernel_available

from models.families import QwenVL

KERNELS = {
    "rope": True,
    "rms_norm": True,
    "swiglu": True,
    "cross_entropy": False,
    "fused_linear_cross_entropy": False,
}


def fuse(model: QwenVL, device: torch.device) -> bool:
    """Let a model work by fused kernels, in place, and models that are made after it; whether it does.

    On a CPU, and where the package is not installed, it stays as it is.
    """
    if device.type != "cuda" or not is_liger_kernel_available():
        return False
    apply_liger_kernel(model, KERNELS)
    return True
