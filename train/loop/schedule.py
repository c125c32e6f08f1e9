"""Learning-rate schedules, as factors of the peak learning rate.

A factor follows from the step alone, so that a resumed run needs no state of a scheduler.
"""

import math


def warmed_cosine(step: int, steps: int, warmup: int, floor: float = 0.1) -> float:
    """A linear warm-up over `warmup` steps, then half a cosine from 1 down to `floor`.

    `step` is counted from 0, and the schedule has `steps` steps.
    """
    # 1. Warm-up. The first step already has a learning rate above 0.
    if step < warmup:
        return (step + 1) / warmup
    # 2. Decay.
    share = (step - warmup) / max(1, steps - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))


def warmup_stable_decay(step: int, steps: int, warmup: int, decay: float = 0.4, floor: float = 0.1) -> float:
    """A linear warm-up over `warmup` steps, then a constant 1, then half a cosine down to `floor`.

    `decay` is the share of the steps in which it falls (0: none). The constant part is long because binding
    (which object an expression refers to) is learned suddenly, and only at a high learning rate.
    """
    # 1. Warm-up.
    if step < warmup:
        return (step + 1) / warmup
    # 2. Constant, and in the last part of the steps the decay; `share` is negative before it.
    if decay == 0:
        return 1.0
    share = (step / steps - (1 - decay)) / decay
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * max(0.0, share)))
