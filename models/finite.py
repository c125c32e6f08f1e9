"""The check of every number that a model returns: what is not finite must not pass for an answer."""

import math
from collections.abc import Iterable

import torch

from configs.errors import UserError


class NotFiniteError(UserError):
    """A model returned NaN or infinity."""


def check_finite(key: str, checkpoint: str, dtype: torch.dtype, what: str, values: Iterable[float]) -> None:
    """Raise NotFiniteError, which names the checkpoint and its number format, for NaN and infinity.

    `values` are on the host already, so that the check waits for no GPU; `what` says what they are.
    """
    if all(map(math.isfinite, values)):
        return
    group, name = key.split(".")[0], str(dtype).removeprefix("torch.")
    remedy = (
        f"float16 overflows at 65504: take {group}.dtype=bfloat16 or {group}.dtype=float32"
        if dtype == torch.float16
        else "its weights are spoilt, or hold NaN: restore them"
    )
    named = f"{key}={checkpoint}" if checkpoint else key  # weights in training have no name
    raise NotFiniteError(f"{named}: in {name} its {what} is no finite number; {remedy}")
