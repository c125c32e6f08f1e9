"""Mutations of safetensors files: tensors renamed, dropped, reshaped, converted, or with NaN and infinity."""

from collections.abc import Callable
from pathlib import Path
from random import Random

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

Tensors = dict[str, torch.Tensor]


def _changed(rng: Random, path: Path, change: Callable[[Random, Tensors, str], None]) -> None:
    """Read a file, change one tensor, and write it. An unreadable file is left unchanged."""
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError):
        return
    # Sorted, so that the choice does not depend on the order in the file.
    change(rng, tensors, rng.choice(sorted(tensors)))
    # transformers reads the framework of a file from this entry.
    save_file(tensors, path, metadata={"format": "pt"})


def _fill(rng: Random, tensors: Tensors, name: str) -> None:
    """Make one weight NaN or infinite."""
    flat = tensors[name].clone().reshape(-1)
    if flat.is_floating_point() and len(flat):
        flat[rng.randrange(len(flat))] = rng.choice((float("nan"), float("inf"), -float("inf")))
    tensors[name] = flat.reshape(tensors[name].shape)


def _drop(rng: Random, tensors: Tensors, name: str) -> None:  # noqa: ARG001
    del tensors[name]


def _drop_half(rng: Random, tensors: Tensors, name: str) -> None:  # noqa: ARG001
    for each in sorted(tensors)[::2]:
        del tensors[each]


def _rename(rng: Random, tensors: Tensors, name: str) -> None:
    tensors[rng.choice((f"{name}_", f"module.{name}", "\x1b[31m", name.upper()))] = tensors.pop(name)


def _prefix(rng: Random, tensors: Tensors, name: str) -> None:  # noqa: ARG001
    """Add the prefix of a wrapper (DDP, a model with a head, torch.compile) to all names."""
    prefix = rng.choice(("module.", "model.", "_orig_mod."))
    for each in list(tensors):
        tensors[f"{prefix}{each}"] = tensors.pop(each)


def _reshape(rng: Random, tensors: Tensors, name: str) -> None:
    tensor = tensors[name]
    # safetensors writes contiguous tensors only.
    tensors[name] = rng.choice((tensor.reshape(-1)[:-1], tensor[None], tensor.reshape(-1))).contiguous()


def _retype(rng: Random, tensors: Tensors, name: str) -> None:
    tensors[name] = tensors[name].to(rng.choice((torch.float64, torch.int32, torch.bool, torch.float32)))


def _more(rng: Random, tensors: Tensors, name: str) -> None:
    tensors[f"{name}.more{rng.randrange(9)}"] = torch.zeros(3)


def _operation(change: Callable[[Random, Tensors, str], None]) -> Callable[[Random, Path], None]:
    return lambda rng, path: _changed(rng, path, change)


TENSORS = {
    "no number in": _operation(_fill),
    "drop a tensor of": _operation(_drop),
    "drop half of": _operation(_drop_half),
    "rename a tensor of": _operation(_rename),
    "rename all tensors of": _operation(_prefix),
    "reshape a tensor of": _operation(_reshape),
    "retype a tensor of": _operation(_retype),
    "one more tensor in": _operation(_more),
}
"""Operations by name. Each takes the random generator and the file."""
