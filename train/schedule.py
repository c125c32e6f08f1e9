"""Learning-rate schedules, as shares of their peak."""

import math


def warmed_cosine(step: int, steps: int, warmup: int, floor: float = 0.1) -> float:
    """A straight rise over `warmup` steps, then half a cosine from 1 down to `floor`."""
    if step < warmup:
        return (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))
