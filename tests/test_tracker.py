"""The tracker's rules, driven by scripted answers."""

import dataclasses

import numpy as np
import pytest

from configs.errors import UserError
from data_prep.contract.contract import BUILT_IN, Contract, detector_contract
from data_prep.geometry import Box
from infer.trackers.expressions import empty_track
from infer.trackers.per_frame import PerFrameConfig, per_frame_tracker
from infer.trackers.referral import ReferralConfig, referral_tracker
from infer.trackers.requests import Locate, Propagate, Report, Segment, State
from tests.scripted import ScriptedWorld, drive, filled, frame, seen, unseen

HERE, THERE = (8, 8, 24, 24), (40, 20, 56, 36)
CONTRACT = BUILT_IN["short"]


def track(world: ScriptedWorld, count: int, **changes: object) -> list[Report]:
    steady = ReferralConfig(
        min_agreement_iou=0.3,
        min_box_confidence=0.6,
        verify_interval=5,
        stay_probability=0.96,
        logit_scale=0.7,
        logit_bias=0.4,
    )
    settings = dataclasses.replace(steady, **changes)
    moving = [frame(10 * index % 250) for index in range(count)]
    return drive(referral_tracker(settings, CONTRACT), world, moving)


def present(reports: list[Report]) -> list[bool]:
    return [report.mask is not None for report in reports]


def test_absent_from_the_start_then_found() -> None:
    world = ScriptedWorld([None, None, HERE, HERE], [HERE] * 4)
    reports = track(world, 4)
    assert present(reports) == [False, False, True, True]
    assert [report.state for report in reports] == [State.SEARCH, State.SEARCH, State.TRACK, State.TRACK]
    assert np.array_equal(reports[2].mask, filled(HERE))


def test_a_candidate_is_confirmed_with_the_rectangle_around_it() -> None:
    world = ScriptedWorld([HERE], [HERE])
    track(world, 1)
    looks = [request for _, request in world.asked if isinstance(request, Locate)]
    assert [look.visual_prompt_xyxy for look in looks] == [None, HERE]


@pytest.mark.parametrize("contract", ["qwen", "qwen3_thinking", "r1_track"])
def test_a_candidate_is_not_confirmed_where_the_question_would_be_the_same(contract: str) -> None:
    """R1-Track's too: without a template it is asked about the whole frame."""
    world = ScriptedWorld([HERE], [HERE])
    drive(referral_tracker(ReferralConfig(), BUILT_IN[contract]), world, [frame()])
    assert [type(request) for _, request in world.asked] == [Locate, Segment]


def test_an_unconfirmed_candidate_is_not_believed() -> None:
    track_ = referral_tracker(ReferralConfig(), CONTRACT)("words", frame())
    next(track_)
    assert isinstance(track_.send(seen(HERE)), Locate)
    report = track_.send(unseen())
    assert isinstance(report, Report) and report.mask is None


def test_a_candidate_that_jumps_when_looked_at_again_is_not_believed() -> None:
    track_ = referral_tracker(ReferralConfig(), CONTRACT)("words", frame())
    next(track_)
    track_.send(seen(HERE))
    report = track_.send(seen(THERE))
    assert isinstance(report, Report) and report.mask is None


@pytest.mark.parametrize("unsure_at", ["first look", "second look"])
def test_a_candidate_needs_more_than_a_target_that_is_tracked(unsure_at: str) -> None:
    class Unsure(ScriptedWorld):
        def reply(self, index, request):
            if not isinstance(request, Locate):
                return super().reply(index, request)
            second = request.visual_prompt_xyxy is not None
            unsure = index > 2 or (index < 2 and second == (unsure_at == "second look"))
            return seen(HERE, visible=0.6 if unsure else 0.95)

    reports = track(
        Unsure([], [HERE] * 6), 6, verify_interval=1, activation_threshold=0.9, max_search_interval=1
    )
    assert present(reports) == [False, False, True, True, True, True]
    assert reports[4].visible == 0.6, "it was asked, and what would not do to find it does to keep it"


def test_grounder_is_asked_every_few_frames_while_all_is_well() -> None:
    world = ScriptedWorld([HERE] * 13, [HERE] * 13)
    reports = track(world, 13, verify_interval=4)
    asked_at = sorted({at for at, request in world.asked if isinstance(request, Locate)})
    assert asked_at == [0, 4, 8, 12]
    assert all(present(reports))
    assert reports[4].state is State.VERIFY


def test_doubts_add_up_to_a_loss_and_the_whole_frame_is_searched() -> None:
    world = ScriptedWorld([HERE] * 4 + [None] * 4 + [THERE] * 2, [HERE] * 10)
    reports = track(world, 10, verify_interval=4)
    assert present(reports) == [True] * 5 + [False] * 3 + [True] * 2
    assert [report.state for report in reports[5:8]] == [State.LOST] * 3
    first_search = next(
        r for at, r in world.asked if at == 5 and isinstance(r, Locate) and r.visual_prompt_xyxy is None
    )
    assert first_search.template is not None
    assert np.array_equal(reports[8].mask, filled(THERE))


def test_one_doubt_is_not_a_loss() -> None:
    world = ScriptedWorld([HERE] * 4 + [None] + [HERE] * 3, [HERE] * 8)
    assert all(present(track(world, 8, verify_interval=4)))


def test_who_was_seen_for_long_is_given_up_later() -> None:
    def kept(seen_before: int) -> int:
        script = [HERE] * seen_before + [None] * 8
        reports = track(ScriptedWorld(script, [HERE] * len(script)), len(script), verify_interval=1)
        return sum(present(reports)) - seen_before

    assert kept(1) == 1 and kept(10) == 2


def test_answers_that_lean_to_no_give_up_what_one_of_them_would_not() -> None:
    class Shy(ScriptedWorld):
        def reply(self, index, request):
            shy = isinstance(request, Locate) and index > 0
            return seen(HERE, visible=0.33) if shy else super().reply(index, request)

    reports = track(Shy([HERE] * 30, [HERE] * 30), 30, verify_interval=1)
    assert all(present(reports)[:4]) and not any(present(reports)[20:])


def test_nothing_is_remembered_of_doubtful_frames() -> None:
    world = ScriptedWorld([HERE] * 4 + [None] + [HERE] * 3, [HERE] * 8)
    track(world, 8, verify_interval=4)
    last = [request for _, request in world.asked if isinstance(request, Propagate)][-1]
    assert 4 not in last.memory and 3 in last.memory


def test_mask_head_losing_the_target_is_a_reason_to_ask_at_once() -> None:
    world = ScriptedWorld([HERE, None, None, THERE], [HERE, None, None, None])
    reports = track(world, 4, verify_interval=100)
    assert world.count(Locate, 1) >= 1
    assert present(reports) == [True, False, False, True]


def test_a_leap_of_the_area_is_a_reason_to_ask() -> None:
    world = ScriptedWorld([HERE] * 3, [HERE, HERE, (0, 0, 60, 40)])
    track(world, 3, verify_interval=100, max_area_ratio=2.0)
    assert world.count(Locate, 1) == 0 and world.count(Locate, 2) == 1


def test_a_confident_grounder_moves_the_mask() -> None:
    world = ScriptedWorld([HERE] * 2 + [THERE] * 2, [HERE] * 4)
    reports = track(world, 4, verify_interval=2)
    assert np.array_equal(reports[2].mask, filled(THERE))


def test_an_unsure_grounder_does_not_move_the_mask() -> None:
    class Unsure(ScriptedWorld):
        def reply(self, index, request):
            unsure = isinstance(request, Locate) and index == 2
            return seen(THERE, confidence=0.1) if unsure else super().reply(index, request)

    reports = track(Unsure([HERE] * 4, [HERE] * 4), 4, verify_interval=2)
    assert np.array_equal(reports[2].mask, filled(HERE))


@pytest.mark.parametrize(("predicted", "better"), [(0.95, "box"), (0.85, "carried")])
def test_where_grounder_and_mask_head_agree_the_better_mask_counts(predicted: float, better: str) -> None:
    near = (9, 9, 25, 25)

    class Sharper(ScriptedWorld):
        def reply(self, index, request):
            result = super().reply(index, request)
            if not isinstance(request, Segment):
                return result
            memory = [*(request.memory or []), f"anchor {index}"]
            return dataclasses.replace(result, iou=predicted, memory=memory)

    world = Sharper([HERE] * 2 + [near] * 2, [HERE] * 4)
    reports = track(world, 4, verify_interval=2)
    assert np.array_equal(reports[2].mask, filled(near if better == "box" else HERE))
    last = [request for _, request in world.asked if isinstance(request, Propagate)][-1]
    assert last.memory == ["anchor 0", 1, "anchor 2" if better == "box" else 2]


# ---- the window around the last box --------------------------------------------------------------

SMALL_SIZES = dataclasses.replace(CONTRACT, search_size=(56, 28))  # windows fit into the scripted frames
TINY, FAR = (20, 20, 26, 24), (50, 5, 56, 9)
WINDOW = (11, 16, 35, 28)  # three times as large, with the aspect ratio of the search image


def questions_of(world: ScriptedWorld, contract: Contract, **changes: object) -> list[tuple[int, Locate]]:
    settings = dataclasses.replace(ReferralConfig(verify_interval=2, confirm=False), **changes)
    moving = [frame(10 * index) for index in range(len(world.mask_head))]
    drive(referral_tracker(settings, contract), world, moving)
    return [(at, request) for at, request in world.asked if isinstance(request, Locate)]


def test_a_verifying_question_is_about_a_window_around_the_last_box() -> None:
    asked = questions_of(ScriptedWorld([TINY] * 3, [TINY] * 3), SMALL_SIZES)
    assert [at for at, _ in asked] == [0, 2]
    first, verifying = asked[0][1], asked[1][1]
    assert first.region_xyxy is None and first.template is None
    assert verifying.region_xyxy == WINDOW and verifying.visual_prompt_xyxy is None
    assert verifying.draft_xyxy == TINY and verifying.template is not None


def test_who_is_not_visible_in_the_window_is_searched_in_the_whole_frame() -> None:
    """And found elsewhere; then windows follow the new place."""
    world = ScriptedWorld([TINY] * 4 + [None, FAR, FAR, FAR], [TINY] * 4 + [TINY] * 2 + [FAR] * 2)
    asked = questions_of(world, SMALL_SIZES)
    assert [(at, each.region_xyxy is not None) for at, each in asked] == [
        (0, False),
        (2, True),
        (4, True),
        (5, False),
        (7, True),
    ]
    again, moved = asked[3][1], asked[4][1]
    assert again.visual_prompt_xyxy is None and again.draft_xyxy == TINY
    assert moved.region_xyxy is not None and moved.region_xyxy[0] > WINDOW[2] - 10
    segmented = [request.box_xyxy for at, request in world.asked if isinstance(request, Segment) and at == 5]
    assert segmented == [FAR]


def test_without_a_mask_in_the_window_the_whole_frame_is_searched_at_once() -> None:
    asked = questions_of(ScriptedWorld([TINY, None, None], [TINY, None, None]), SMALL_SIZES)
    assert [(at, each.region_xyxy is not None) for at, each in asked][:3] == [
        (0, False),
        (1, True),
        (1, False),
    ]


@pytest.mark.parametrize(
    ("box", "contract", "changes"),
    [
        (HERE, SMALL_SIZES, {}),  # the window would be most of the frame
        (TINY, SMALL_SIZES, {"search_region": 0.0}),
        (TINY, BUILT_IN["instruct"], {}),  # published weights search whole frames
        (TINY, BUILT_IN["r1_track"], {"search_region": 3.0}),  # which has a search crop of its own
    ],
)
def test_where_there_is_no_window_the_whole_frame_is_searched_near_the_last_box(
    box: Box, contract: Contract, changes: dict[str, object]
) -> None:
    asked = questions_of(ScriptedWorld([box] * 3, [box] * 3), contract, **changes)
    assert asked[1][1].region_xyxy is None and asked[1][1].visual_prompt_xyxy == box


def test_a_detector_is_told_the_last_box_in_the_window_too() -> None:
    """It decides between similar detections by it, and draws nothing."""
    contract = detector_contract(28, 14)
    asked = questions_of(ScriptedWorld([TINY] * 3, [TINY] * 3), contract, search_region=3.0)
    assert asked[1][1].region_xyxy is not None and asked[1][1].visual_prompt_xyxy == TINY


def test_search_backs_off_while_the_picture_stands_still_and_wakes_on_change() -> None:
    world = ScriptedWorld([None] * 12, [None] * 12)
    frames = [frame(50)] * 10 + [frame(200)] * 2
    drive(referral_tracker(ReferralConfig(max_search_interval=4), CONTRACT), world, frames)
    asked_at = [at for at, request in world.asked if isinstance(request, Locate)]
    assert asked_at == [0, 2, 6, 10]


def test_a_box_without_a_mask_is_filled() -> None:
    class NoMask(ScriptedWorld):
        def reply(self, index, request):
            reply = super().reply(index, request)
            return dataclasses.replace(reply, mask=None) if isinstance(request, Segment) else reply

    reports = track(NoMask([HERE], [HERE]), 1)
    assert np.array_equal(reports[0].mask, filled(HERE))
    narrow = (10.4, 20.4, 10.49, 23.0)  # a unit of the resized image can be less than a pixel
    reports = track(NoMask([narrow], [narrow]), 1)
    assert np.array_equal(reports[0].mask, filled((10, 20, 11, 23)))


@pytest.mark.parametrize("repeat_last", [True, False])
def test_published_loop_repeats_the_last_box_and_ours_writes_absence(repeat_last: bool) -> None:
    world = ScriptedWorld([None, HERE, None, THERE], [None] * 4)
    reports = drive(per_frame_tracker(PerFrameConfig(0.5, repeat_last), CONTRACT), world, [frame()] * 4)
    assert present(reports) == [False, True, repeat_last, True]
    assert world.count(Locate) == 4 and world.count(Propagate) == 0
    if repeat_last:
        assert np.array_equal(reports[2].mask, filled(HERE))


def test_empty_words_are_absent_throughout() -> None:
    reports = drive(empty_track, ScriptedWorld([], []), [frame()] * 3)
    assert [report.state for report in reports] == [State.EMPTY] * 3
    assert present(reports) == [False] * 3


def test_windows_smaller_than_the_target_are_refused() -> None:
    with pytest.raises(UserError, match=r"tracker\.search_region=0\.5: windows would be smaller"):
        referral_tracker(ReferralConfig(search_region=0.5), CONTRACT)
