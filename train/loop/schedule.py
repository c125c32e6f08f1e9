"""Learning-rate schedules, as factors of the peak learning rate."""

import math


def warmed_cosine(step: int, steps: int, warmup: int, floor: float = 0.1) -> float:
    """A linear warm-up over `warmup` steps, then half a cosine from 1 down to `floor`."""
    if step < warmup:
        return (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))


def warmup_stable_decay(step: int, steps: int, warmup: int, decay: float = 0.4, floor: float = 0.1) -> float:
    """A linear warm-up over `warmup` steps, then a constant 1, then half a cosine down to `floor`.

    `decay` is the share of the steps in which it falls (0: none). The constant part is long because a small
    model learns to tell things apart suddenly, and only at a high learning rate.
    """
    if step < warmup:
        return (step + 1) / warmup
    if decay == 0:
        return 1.0
    share = (step / steps - (1 - decay)) / decay
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * max(0.0, share)))
