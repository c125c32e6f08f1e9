"""What a tracker believes, answer by answer."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infer.trackers.presence import MAX_EVIDENCE, PresenceFilter

FILTER = PresenceFilter(stay_probability=0.9, logit_scale=0.5, logit_bias=0.2)
PROBABILITY = st.floats(0, 1)
BELIEF = st.floats(-20, 20)


def test_a_step_is_bayes_rule() -> None:
    there = 0.8 * 0.9 + 0.2 * 0.1  # came or went with probability 0.1
    odds = there / (1 - there) * math.exp(0.5 * (math.log(0.7 / 0.3) + 0.2))
    assert FILTER.update(math.log(0.8 / 0.2), 0.7) == pytest.approx(math.log(odds))


def test_evidence_leans_and_is_bounded() -> None:
    assert FILTER.evidence(0.5) == pytest.approx(0.5 * 0.2)
    assert FILTER.evidence(1 / (1 + math.exp(0.2))) == pytest.approx(0)
    assert FILTER.evidence(1.0) == MAX_EVIDENCE == -FILTER.evidence(0.0)


@given(BELIEF, BELIEF, PROBABILITY, PROBABILITY)
def test_more_belief_and_better_answers_give_more_belief(a: float, b: float, p: float, q: float) -> None:
    low, high = sorted((a, b))
    worse, better = sorted((p, q))
    assert FILTER.update(low, worse) <= FILTER.update(high, better) + 1e-12


@given(BELIEF, PROBABILITY)
def test_no_past_outweighs_the_present_for_ever(belief: float, visible: float) -> None:
    most = math.log(FILTER.stay_probability / (1 - FILTER.stay_probability)) + MAX_EVIDENCE
    assert abs(FILTER.update(belief, visible)) <= most + 1e-9


@pytest.mark.parametrize("visible", [math.nan, math.inf, -0.1, 1.1])
def test_what_is_no_probability_never_enters_the_belief(visible: float) -> None:
    """NaN would pass through the bounds, and the target would never be lost again."""
    with pytest.raises(ValueError, match="not a probability"):
        FILTER.evidence(visible)
    with pytest.raises(ValueError, match="not a probability"):
        FILTER.update(0.0, visible)
