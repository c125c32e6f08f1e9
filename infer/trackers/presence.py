"""A Bayes filter over the answers of a grounder: is the target present or absent?

It has two hidden states, present and absent, and keeps the log-odds of presence, the belief. Each answer of
the grounder is one step. Between two answers the target may appear or disappear (prediction). Then the
visible probability of the answer counts as evidence (update).

The visible probability is not calibrated, and the errors of consecutive answers are correlated: a grounder
that errs about one frame probably errs about the next. The log-odds of an answer are therefore shifted by
`logit_bias`, scaled by `logit_scale` and clipped before they are added.
"""

import math
from dataclasses import dataclass

# The log-odds that one answer may add or subtract. A few other answers can then outweigh a single wrong one
# that the grounder is certain of.
MAX_EVIDENCE = 3.0
# Probabilities are clipped to this value and its complement, so that their log-odds are finite.
MIN_PROBABILITY = 1e-6


@dataclass(frozen=True)
class PresenceFilter:
    """The parameters of the filter; the belief itself is a number that the caller keeps.

    `stay_probability` is the probability that the state does not change between two answers.
    """

    stay_probability: float
    logit_scale: float
    logit_bias: float

    def evidence(self, visible: float) -> float:
        """The log-odds that an answer adds to the belief. For the first answer it is the belief itself.

        Raises ValueError if `visible` is not a probability.
        """
        # The bias corrects a grounder that is systematically too sure of absence or presence. The scale
        # accounts for answers that are not independent.
        added = self.logit_scale * (_log_odds(visible) + self.logit_bias)
        return min(max(added, -MAX_EVIDENCE), MAX_EVIDENCE)

    def update(self, belief: float, visible: float) -> float:
        """The belief after one more answer, whose visible probability is `visible`. Raises as `evidence`."""
        # Prediction: since the last answer the target may have appeared or disappeared.
        present = 1 / (1 + math.exp(-belief))
        present = present * self.stay_probability + (1 - present) * (1 - self.stay_probability)
        # Update: the answer is further evidence.
        return _log_odds(present) + self.evidence(visible)


def _log_odds(probability: float) -> float:
    # NaN would pass through min and max below, and the belief would stay NaN for the rest of the track.
    if not 0 <= probability <= 1:
        raise ValueError(f"{probability} is not a probability")
    probability = min(max(probability, MIN_PROBABILITY), 1 - MIN_PROBABILITY)
    return math.log(probability / (1 - probability))
