"""Learning-rate schedules, as shares of their peak."""

import math


def warmed_cosine(step: int, steps: int, warmup: int, floor: float = 0.1) -> float:
    """A straight rise over `warmup` steps, then half a cosine from 1 down to `floor`."""
    if step < warmup:
        return (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))


def warmup_stable_decay(step: int, steps: int, warmup: int, decay: float = 0.4, floor: float = 0.1) -> float:
    """A straight rise over `warmup` steps, then the peak, then half a cosine down to `floor`.

    The last `decay` of the steps fall (0: none does). A small model learns which thing is meant all of a
    sudden and at a high rate, so the rate stays up for as long as it can.
    """
    if step < warmup:
        return (step + 1) / warmup
    if decay == 0:
        return 1.0
    share = (step / steps - (1 - decay)) / decay
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * max(0.0, share)))
