"""Absence and re-detection: worked examples, and a plain loop over random sequences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.absence import METRICS, MIN_LOSS_FRAMES, absence_scores, losses

Frame = tuple[bool, bool, bool, bool]  # absent, said absent, found, known


def plain_losses(frames: list[Frame]) -> list[tuple[int, float]]:
    """The frame that each loss counts from and its time, by walking through a sequence."""
    seen = [(at, absent, found) for at, (absent, _, found, known) in enumerate(frames) if known]
    told, shown_before = [], False
    for place, (at, absent, found) in enumerate(seen):
        if absent:
            continue
        _, absent_before, found_before = seen[place - 1] if place else (0, False, False)
        back = place > 0 and absent_before and shown_before
        slipped = place > 0 and not absent_before and found_before and not found
        shown_before = True
        if not (back or slipped):
            continue
        time, last = float("nan"), at
        for later, gone, again in seen[place:]:
            if gone:
                break
            last = later
            if again:
                time = later - at
                break
        lasted = last - at + 1 if np.isnan(time) else time
        if back or lasted >= MIN_LOSS_FRAMES:
            told.append((at, time))
    return told


def ragged(
    sequences: list[list[Frame]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    starts = np.cumsum([0, *map(len, sequences)])
    frames = np.array([frame for sequence in sequences for frame in sequence], bool).reshape(-1, 4)
    return (starts, *frames.T)


@st.composite
def sequences(draw: st.DrawFn) -> list[list[Frame]]:
    """Sequences whose states last a while, some empty."""
    states = st.lists(
        st.tuples(st.integers(1, 14), st.booleans(), st.booleans(), st.booleans(), st.integers(0, 3)),
        max_size=7,
    )
    told = []
    for runs in draw(st.lists(states, min_size=1, max_size=4)):
        frames: list[Frame] = []
        for length, absent, said, found, unknown in runs:
            for number in range(length):
                frames.append((absent, said, found, unknown != 3 or number % 3 == 0))
        told.append(frames)
    return told


@settings(max_examples=300, deadline=None)
@given(sequences())
def test_equal_to_a_plain_loop(told: list[list[Frame]]) -> None:
    starts, absent, said, found, known = ragged(told)
    plain = [(number, at, time) for number, each in enumerate(told) for at, time in plain_losses(each)]
    lost = losses(starts, absent, found, known)
    np.testing.assert_array_equal(
        np.stack([lost.segment, lost.frame, lost.time], 1), np.array(plain, np.float64).reshape(-1, 3)
    )
    overall, each = absence_scores(starts, absent, said, found, known)
    check(overall, told, plain)
    for number, sequence in enumerate(told):
        own = [loss for loss in plain if loss[0] == number]
        check({key: values[number] for key, values in each.items()}, [sequence], own)


def check(scores: dict[str, float], told: list[list[Frame]], plain: list[tuple[int, int, float]]) -> None:
    frames = [frame for sequence in told for frame in sequence if frame[3]]
    both = sum(absent and said for absent, said, _, _ in frames)
    times = [time for _, _, time in plain if not np.isnan(time)]

    def percent(part: int, whole: int) -> float:
        return 100 * part / whole if whole else float("nan")

    wanted = {
        "absent_precision": percent(both, sum(said for _, said, _, _ in frames)),
        "absent_recall": percent(both, sum(absent for absent, _, _, _ in frames)),
        "redetected": percent(len(times), len(plain)),
        "redetection": sum(times) / len(times) if times else float("nan"),
    }
    assert list(scores) == [metric.key for metric in METRICS] == list(wanted)
    assert scores == pytest.approx(wanted, nan_ok=True)


def run(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`.` absent, `+` found, `-` not found, `?` unknown: absent, found and known."""
    letters = np.array(list(text))
    return letters == ".", letters == "+", letters != "?"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("++++", []),
        ("----", []),
        ("...+++", []),
        ("+..+", [(3, 0)]),
        ("+..--+", [(3, 2)]),
        ("-..--+", [(3, 2)]),
        ("+..--..+", [(3, np.nan), (7, 0)]),
        ("+..--", [(3, np.nan)]),
        ("+..", []),
        ("++" + "-" * 9 + "+", []),
        ("++" + "-" * 10 + "+", [(2, 10)]),
        ("++" + "-" * 9, []),
        ("++" + "-" * 10, [(2, np.nan)]),
        ("++---..+", [(7, 0)]),
        ("+?.?-?+", [(4, 2)]),
        ("+-????????-+", [(1, 10)]),
    ],
)
def test_worked_examples(text: str, wanted: list[tuple[int, float]]) -> None:
    """Alone, and as the second of two sequences, of which the first says nothing of it."""
    absent, found, known = run(text)
    lost = losses(np.array([0, len(text)]), absent, found, known)
    np.testing.assert_array_equal(
        np.stack([lost.frame, lost.time], 1).reshape(-1, 2), np.reshape(wanted, (-1, 2))
    )
    two, ahead = run("+." + text), np.array([0, 2, 2 + len(text)])
    lost = losses(ahead, *two)
    np.testing.assert_array_equal(lost.frame, [at for at, _ in wanted])
    assert (lost.segment == 1).all()


def test_nothing_is_nan() -> None:
    none = np.zeros(0, bool)
    overall, each = absence_scores(np.zeros(3, np.int64), none, none, none)
    assert np.isnan(list(overall.values())).all()
    assert all(np.isnan(values).all() and values.shape == (2,) for values in each.values())
