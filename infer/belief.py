"""How sure a tracker is that its target is there: a Bayes filter with two states, there and absent.

Each question to the grounder is one step. Between two the target may have come or gone; then the
grounder's visible probability counts as evidence. It is no calibrated probability, and its errors come in
rows, so its log-odds are leant and scaled before they are added up.
"""

import math

from infer.config import TrackerConfig

LARGEST = 3.0  # log-odds that one answer may add or take
FLOOR = 1e-6  # of a probability, so that its log-odds are finite


def evidence(visible: float, settings: TrackerConfig) -> float:
    """What an answer adds to the log-odds. Raises ValueError where `visible` is no probability."""
    added = settings.trust * (_log_odds(visible) + settings.lean)
    return min(max(added, -LARGEST), LARGEST)


def updated(belief: float, visible: float, settings: TrackerConfig) -> float:
    """Log-odds that the target is there, after a further answer."""
    there = 1 / (1 + math.exp(-belief))
    there = there * settings.stay + (1 - there) * (1 - settings.stay)
    return _log_odds(there) + evidence(visible, settings)


def _log_odds(probability: float) -> float:
    if not 0 <= probability <= 1:  # NaN would pass through min and max, and never leave the belief again
        raise ValueError(f"{probability} is no probability")
    probability = min(max(probability, FLOOR), 1 - FLOOR)
    return math.log(probability / (1 - probability))
