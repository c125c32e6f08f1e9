"""The engine: lockstep, batches, and one encoding a frame."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import UserError
from data_prep.contract.contract import BUILT_IN
from data_prep.geometry import Box, area, clamp, is_inside
from infer.engine.engine import Engine, Step, validate_answer
from infer.trackers.expressions import empty_track
from infer.trackers.referral import ReferralConfig, referral_tracker
from infer.trackers.requests import Tracker
from models.interfaces import Answer, Question
from tests.scripted import SIZE, ScriptedGrounding, ScriptedMasking, filled, frame

HERE = (4.0, 4.0, 20.0, 20.0)
BOXES: dict[str, Box] = {"red": (4, 4, 20, 20), "blue": (30, 10, 50, 30)}


def run(expressions: list[str], count: int) -> tuple[list[Step], ScriptedGrounding, ScriptedMasking]:
    grounding, masking = ScriptedGrounding(BOXES), ScriptedMasking()
    tracker: Tracker = referral_tracker(ReferralConfig(verify_interval=3), BUILT_IN["short"])
    starts = [partial(tracker if text else empty_track, text) for text in expressions]
    frames = [frame(brightness) for brightness in range(count)]
    return list(Engine(grounding, masking).run(frames, starts)), grounding, masking


def test_reports_come_in_order_for_every_frame_and_track() -> None:
    steps, _, _ = run(["red", "blue", ""], 5)
    assert [step.frame_index for step in steps] == [0, 1, 2, 3, 4]
    for step in steps:
        assert np.array_equal(step.reports[0].mask, filled(BOXES["red"]))
        assert np.array_equal(step.reports[1].mask, filled(BOXES["blue"]))
        assert step.reports[2].mask is None


def test_questions_of_one_moment_are_one_batch() -> None:
    _, grounding, _ = run(["red", "blue", "green"], 1)
    assert grounding.batches == [3, 2]  # all three search; the two candidates are confirmed together


def test_a_frame_is_encoded_once_for_all_tracks_and_only_when_asked() -> None:
    _, _, masking = run(["red", "blue"], 4)
    assert masking.encoded == [0, 1, 2, 3]
    assert run(["green"], 4)[2].encoded == []


def test_masks_of_one_moment_are_one_call() -> None:
    _, _, masking = run(["red", "blue", "green"], 3)
    assert masking.segmented == [2]
    assert masking.propagated == [2, 2]


def test_tracks_do_not_touch_each_other() -> None:
    together = [step.reports[0] for step in run(["red", "blue", "green"], 7)[0]]
    alone = [step.reports[0] for step in run(["red"], 7)[0]]
    assert [r.state for r in together] == [r.state for r in alone]
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(together, alone, strict=True))


@given(st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 4), st.floats(0, 1))
def test_an_answers_box_lies_in_the_frame_or_is_none(box_xyxy: Box, visible: float) -> None:
    answer = validate_answer(Answer(visible, box_xyxy, 0.5, ""), SIZE, "Grounder")
    if answer.box_xyxy is None:
        assert not is_inside(box_xyxy, SIZE)
    else:
        assert answer.box_xyxy == clamp(box_xyxy, SIZE) and area(answer.box_xyxy) > 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.5, 1.5])
def test_what_is_no_answer_names_the_grounder(value: float) -> None:
    wrong = [Answer(value, HERE, 0.5, ""), Answer(0.5, HERE, value, "")]
    wrong += [Answer(0.5, HERE, 0.5, "", draft_probability=value)]
    wrong += [Answer(0.5, (value, 0.0, 5.0, 5.0), 0.5, "")] * (not math.isfinite(value))
    for answer in wrong:
        with pytest.raises(UserError, match="RemoteGrounder"):
            validate_answer(answer, SIZE, "RemoteGrounder")


def test_a_probability_may_miss_one_by_rounding() -> None:
    assert validate_answer(Answer(1.0 + 1e-6, HERE, -1e-6, ""), SIZE, "Grounder") == Answer(
        1.0, HERE, 0.0, ""
    )


def test_answers_are_checked_where_they_come_in() -> None:
    class AbsurdGrounding(ScriptedGrounding):
        def locate(self, questions: Sequence[Question]) -> list[Answer]:
            return [Answer(0.9, (-1e30, -1e30, 1e30, 1e30), 0.9, "") for _ in questions]

    tracker = referral_tracker(ReferralConfig(confirm=False), BUILT_IN["short"])
    engine = Engine(AbsurdGrounding({}), ScriptedMasking())
    (step,) = engine.run([frame()], [partial(tracker, "red")])
    assert step.reports[0].box_xyxy == (0, 0, *SIZE)
