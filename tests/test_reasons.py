"""Why trackers report what they report: with scripted answers every reason occurs, where it should."""

import dataclasses
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.contract.contract import BUILT_IN
from infer.trackers.expressions import empty_track
from infer.trackers.per_frame import PerFrameConfig, per_frame_tracker
from infer.trackers.referral import ReferralConfig, referral_tracker
from infer.trackers.requests import Locate, Propagate, Reason, Report, State
from models.interfaces import Answer
from tests.scripted import ScriptedWorld, drive, drive_started, frame, seen, unseen

HERE, NEAR, THERE = (8, 8, 24, 24), (10, 8, 26, 24), (40, 20, 56, 36)
CONTRACT = BUILT_IN["short"]
R = Reason


class Script(ScriptedWorld):
    """Answers to the questions of each frame, in order; the mask head sees `mask_head`."""

    def __init__(self, answers: dict[int, list[Answer]], mask_head: list, **changes: float) -> None:
        super().__init__([], mask_head, **changes)
        self.answers = {at: [*each] for at, each in answers.items()}

    def reply(self, index, request):
        if isinstance(request, Locate):
            self.asked.append((index, request))
            return self.answers[index].pop(0)
        return super().reply(index, request)


def track(world: ScriptedWorld, count: int, frames: list | None = None, **changes: object) -> list[Report]:
    steady = ReferralConfig(
        min_agreement_iou=0.3, min_box_confidence=0.6, verify_interval=2, logit_scale=0.7, logit_bias=0.4
    )
    tracker = referral_tracker(dataclasses.replace(steady, **changes), CONTRACT)
    return drive(tracker, world, frames or [frame(10 * index) for index in range(count)])


def reasons(reports: list[Report]) -> list[tuple[Reason, ...]]:
    return [report.reasons for report in reports]


FOUND = (R.DUE, R.FOUND_AND_CONFIRMED)


def test_a_search_says_why_it_did_not_find() -> None:
    world = Script(
        {0: [unseen()], 2: [seen(HERE), unseen()], 6: [seen(HERE), seen(THERE)], 8: [seen(HERE), seen(NEAR)]},
        [HERE] * 9,
    )
    found = track(world, 9, [frame(50)] * 8 + [frame(200)])
    assert reasons(found) == [
        (R.DUE, R.NOT_FOUND),
        (R.NOT_DUE,),
        (R.DUE, R.NOT_CONFIRMED),
        *[(R.NOT_DUE,)] * 3,
        (R.DUE, R.CONFIRMED_ELSEWHERE),
        (R.NOT_DUE,),
        (R.FRAME_CHANGED, R.FOUND_AND_CONFIRMED),
    ]
    assert [report.presence_log_odds for report in found[:8]] == [None] * 8
    assert (found[8].presence_log_odds or 0) > 0
    assert reasons(track(Script({0: [seen(HERE)]}, [HERE]), 1, confirm=False)) == [(R.DUE, R.FOUND)]


@pytest.mark.parametrize(
    ("answer", "reason", "agreement"),
    [
        (seen(NEAR), R.SAME_PLACE, 14 / 18),
        (seen(THERE), R.ELSEWHERE, 0.0),
        (seen(THERE, confidence=0.1), R.UNCERTAIN, 0.0),
        (unseen(), R.NOT_VISIBLE, None),
    ],
)
def test_a_question_about_the_mask_says_what_the_grounder_said(answer, reason, agreement) -> None:
    at_start = [seen(HERE, 0.999)] * 2
    found = track(Script({0: at_start, 2: [answer]}, [HERE] * 3), 3)
    assert reasons(found) == [FOUND, (R.NOT_DUE,), (R.DUE, reason)]
    assert found[2].agreement_iou == pytest.approx(agreement)
    beliefs = [report.presence_log_odds for report in found]
    assert beliefs[0] == beliefs[1] != beliefs[2] and None not in beliefs
    # After "not visible" it is asked at once.
    more = Script({0: at_start, 2: [answer], 3: [seen(NEAR)]}, [HERE] * 4)
    assert track(more, 4)[3].reasons[0] is (R.DOUBTED_BEFORE if reason is R.NOT_VISIBLE else R.NOT_DUE)


@pytest.mark.parametrize(
    ("mask_head", "score", "reason"),
    [
        ([HERE, None], 0.99, R.NO_MASK),
        ([HERE, HERE], 0.5, R.LOW_OBJECT_SCORE),
        ([HERE, (0, 0, 60, 40)], 0.99, R.AREA_CHANGED),
    ],
)
def test_a_mask_head_that_is_uncertain_is_the_reason_to_ask(mask_head, score, reason) -> None:
    script = Script({0: [seen(HERE)] * 2, 1: [seen(HERE)]}, mask_head, object_score=score)
    found = track(script, 2, verify_interval=9)
    assert found[1].reasons[0] is reason and found[1].state is State.VERIFY


def test_a_loss_says_why_and_what_the_search_in_the_same_frame_found() -> None:
    lost = track(Script({0: [seen(HERE)] * 2, 2: [unseen(), unseen()]}, [HERE] * 3), 3, stay_probability=0.5)
    assert reasons(lost)[2] == (R.DUE, R.NOT_VISIBLE, R.PRESENCE_BELOW_ZERO, R.DUE, R.NOT_FOUND)
    assert lost[2].state is State.LOST and (lost[2].presence_log_odds or 0) < 0 and lost[2].mask is None
    start = [seen(HERE, 0.999)] * 2
    gone = track(Script({0: start, 1: [unseen(), seen(THERE), seen(THERE)]}, [HERE, None]), 2)
    assert reasons(gone)[1] == (
        R.NO_MASK, R.NOT_VISIBLE, R.MASK_LOST, R.DUE, R.FOUND_AND_CONFIRMED,
    )  # fmt: skip
    assert gone[1].state is State.TRACK


@pytest.mark.parametrize("repeat_last", [True, False])
def test_the_loops_over_frames_say_why(repeat_last: bool) -> None:
    world = ScriptedWorld([None, HERE, None], [None] * 3)
    found = drive(per_frame_tracker(PerFrameConfig(0.5, repeat_last), CONTRACT), world, [frame()] * 3)
    last = R.BOX_REPEATED if repeat_last else R.NOT_FOUND
    assert reasons(found) == [(R.NOT_FOUND,), (R.FOUND,), (last,)]


@pytest.mark.parametrize(
    "tracker",
    [referral_tracker(ReferralConfig(), CONTRACT), per_frame_tracker(PerFrameConfig(0.5), CONTRACT)],
)
def test_a_given_box_and_an_empty_expression_are_reasons(tracker: Callable) -> None:
    start = partial(tracker, "the red cup", box_xyxy=HERE)
    assert reasons(drive_started(start, ScriptedWorld([HERE], [HERE]), [frame()])) == [(R.BOX_GIVEN,)]
    assert reasons(drive(empty_track, ScriptedWorld([], []), [frame()])) == [(R.EMPTY_EXPRESSION,)]


# Reasons that a loss, a search and a question about the mask begin with.
ASKED = {R.DUE, R.NO_MASK, R.LOW_OBJECT_SCORE, R.AREA_CHANGED, R.DOUBTED_BEFORE, R.FRAME_CHANGED}
SEARCHED = {R.FOUND_AND_CONFIRMED, R.NOT_FOUND, R.NOT_CONFIRMED, R.CONFIRMED_ELSEWHERE}
BOXES = st.sampled_from([HERE, NEAR, THERE, (0, 0, 60, 40)])
ANSWERS = st.builds(
    Answer, st.floats(0, 1), st.none() | BOXES, st.floats(0, 1), st.just(""), st.booleans(), st.none()
)


@settings(max_examples=60)
@given(st.data())
def test_whatever_is_answered_the_reasons_fit_the_frame(data: st.DataObject) -> None:
    """With any answers: a frame has reasons, and says that it asked only where it did."""

    class Random(ScriptedWorld):
        def reply(self, index, request):
            self.asked.append((index, request))
            if isinstance(request, Locate):
                return data.draw(ANSWERS)
            box = data.draw(st.none() | BOXES) if isinstance(request, Propagate) else request.box_xyxy
            result = super()._result(box, [index])
            return dataclasses.replace(result, object_score=data.draw(st.floats(0, 1)))

    world = Random([], [])
    for at, report in enumerate(track(world, 5)):
        asked, why = world.count(Locate, at), report.reasons
        assert why and (asked > 0) == (why[0] in ASKED) and (why == (R.NOT_DUE,)) == (asked == 0)
        # A loss is followed by a search in the same frame.
        is_lost = R.PRESENCE_BELOW_ZERO in why or R.MASK_LOST in why
        assert not is_lost or why[-1] in SEARCHED
        is_new = why[-1] is R.FOUND_AND_CONFIRMED
        assert (report.state is State.TRACK) == (is_new or (not asked and world.count(Propagate, at) == 1))
