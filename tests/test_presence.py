"""The Bayes filter over the answers of a grounder: is the target present?"""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infer.trackers.presence import MAX_EVIDENCE, PresenceFilter

FILTER = PresenceFilter(stay_probability=0.9, logit_scale=0.5, logit_bias=0.2)
PROBABILITY = st.floats(0, 1)
BELIEF = st.floats(-20, 20)


def test_a_step_is_bayes_rule() -> None:
    present = 0.8 * 0.9 + 0.2 * 0.1  # the target appeared or disappeared with probability 0.1
    odds = present / (1 - present) * math.exp(0.5 * (math.log(0.7 / 0.3) + 0.2))
    assert FILTER.update(math.log(0.8 / 0.2), 0.7) == pytest.approx(math.log(odds))


def test_evidence_is_biased_scaled_and_bounded() -> None:
    assert FILTER.evidence(0.5) == pytest.approx(0.5 * 0.2)
    assert FILTER.evidence(1 / (1 + math.exp(0.2))) == pytest.approx(0)
    assert FILTER.evidence(1.0) == MAX_EVIDENCE == -FILTER.evidence(0.0)


@given(BELIEF, BELIEF, PROBABILITY, PROBABILITY)
def test_more_belief_and_better_answers_give_more_belief(a: float, b: float, p: float, q: float) -> None:
    low, high = sorted((a, b))
    worse, better = sorted((p, q))
    assert FILTER.update(low, worse) <= FILTER.update(high, better) + 1e-12


@given(BELIEF, PROBABILITY)
def test_the_belief_is_bounded(belief: float, visible: float) -> None:
    most = math.log(FILTER.stay_probability / (1 - FILTER.stay_probability)) + MAX_EVIDENCE
    assert abs(FILTER.update(belief, visible)) <= most + 1e-9


@pytest.mark.parametrize("visible", [math.nan, math.inf, -0.1, 1.1])
def test_a_number_that_is_not_a_probability_is_refused(visible: float) -> None:
    """NaN would pass through the bounds, and the target would never be lost again."""
    with pytest.raises(ValueError, match="not a probability"):
        FILTER.evidence(visible)
    with pytest.raises(ValueError, match="not a probability"):
        FILTER.update(0.0, visible)
