"""Two trackers compared: deltas of sequences that count for both, an honest interval, and true words."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from evaluation_miniature import FAIR, GOOD, POOR, evaluation, tracker

from configs.errors import UserError
from evaluation.absence import METRICS as ABSENCE
from evaluation.report.compare import bootstrap_interval, compare, signed


def by_key(*names: str, **settings: Any):
    comparisons = compare(evaluation(**settings), *names)
    return {each.metric.key: each for each in comparisons}


def test_deltas_are_of_the_sequences_that_count_for_both_sorted():
    found = by_key("good", "fair")["success"]
    assert found.sequences == ("cat_2", "ball-1", "cat-1", "dog-1", "ball-2")
    assert found.deltas.tolist() == [20.0, 10.0, 10.0, 0.0, -2.0]
    assert (found.of_a - found.of_b).tolist() == found.deltas.tolist()
    assert found.mean == pytest.approx(38 / 5)
    assert found.low <= found.mean <= found.high


def test_a_metric_without_common_sequences_is_not_compared():
    assert set(by_key("good", "poor")) == {"success", "precision"}


def test_the_words_say_who_is_better():
    better, delay = by_key("good", "fair")["success"].summary(), by_key("good", "fair")["delay"].summary()
    assert "good − fair = +7.6 points" in better
    assert "good is better on 3 sequences, worse on 1, equal on 1" in better
    assert "good − fair = −3.2 frames" in delay
    assert "good is better on 3 sequences, worse on 0, equal on 1" in delay
    assert by_key("good", "poor")["success"].summary().endswith("good is better.")
    assert by_key("poor", "good")["success"].summary().endswith("good is better.")


def test_less_is_better_where_the_metric_says_so():
    slow = tracker("slow", [1.0] * 6, [20.0, 21.0, 22.0, 23.0, 24.0, 25.0])
    quick = tracker("quick", [1.0] * 6, [1.0, 2.0, 3.0, 4.0, 5.0, 5.5])
    found = {each.metric.key: each for each in compare(evaluation(slow, quick), "slow", "quick")}
    assert found["delay"].mean > 0
    assert found["delay"].summary().endswith("quick is better.")


def test_an_interval_that_holds_zero_decides_nothing():
    even = tracker("even", [61.0, 49.0, 41.0, 54.0, 46.0, 49.0])
    found = compare(evaluation(GOOD, even), "good", "even")[0]
    assert found.low < 0 < found.high
    assert found.summary().endswith("these sequences do not show which tracker is better.")


def test_the_interval_of_many_is_that_of_the_normal_distribution():
    deltas = np.random.default_rng(1).normal(3.0, 10.0, 400)
    low, high = bootstrap_interval(deltas, np.ones(400))
    half = 1.96 * deltas.std() / 20
    assert [low, high] == pytest.approx([deltas.mean() - half, deltas.mean() + half], abs=0.1 * half)
    assert (low, high) == bootstrap_interval(deltas, np.ones(400))


def test_pairs_are_kept_together():
    """Sequences differ much, trackers little: an interval of unpaired draws would be wide."""
    hard = np.linspace(0, 90, 6)
    a, b = tracker("a", list(hard + 2)), tracker("b", list(hard))
    found = compare(evaluation(a, b), "a", "b")[0]
    assert (found.low, found.high) == pytest.approx((2.0, 2.0))


def test_weights_count_in_mean_and_interval():
    weights = np.array([1.0, 1.0, 1.0, 1e6, 1.0, 1.0])
    found = by_key("good", "fair", weights=weights)["success"]
    assert found.mean == pytest.approx(20.0, abs=0.01)
    assert found.high == pytest.approx(20.0, abs=0.01)


def test_figures_of_all_frames_together_are_not_compared_by_sequence():
    plain = evaluation()
    metrics = tuple(replace(each, pooled=each.key == "delay") for each in plain.measures.metrics)
    pooled = replace(plain, measures=replace(plain.measures, metrics=metrics))
    assert {each.metric.key for each in compare(pooled, "good", "fair")} == {"success", "precision"}
    assert all(each.pooled for each in ABSENCE)


def test_a_sequence_without_weight_takes_no_part():
    weights = np.array([1.0, 0, 0, 0, 0, 0])
    found = by_key("good", "fair", weights=weights)["success"]
    assert found.sequences == ("ball-1",) and found.mean == 10 and np.isnan(found.low)


def test_one_common_sequence_has_no_interval():
    lone = tracker("lone", [10.0, *[np.nan] * 5])
    found = compare(evaluation(GOOD, lone), "good", "lone")[0]
    assert np.isnan(found.low) and np.isnan(found.high)
    assert "no interval from one sequence" in found.summary()


def test_names_that_are_no_trackers_are_told_with_the_nearest():
    with pytest.raises(UserError, match=r"no tracker 'goood' was scored; did you mean good\?"):
        compare(evaluation(), "goood", "fair")
    with pytest.raises(UserError, match="there are good, fair, poor"):
        compare(evaluation(), "good", "zzz")
    with pytest.raises(UserError, match="name two"):
        compare(evaluation(GOOD, FAIR, POOR), "good", "good")


def test_a_rounded_zero_has_no_sign():
    assert [signed(value) for value in (0.04, -0.04, 0.06, -1.25, -0.06)] == [
        "0.0",
        "0.0",
        "+0.1",
        "−1.2",
        "−0.1",
    ]
