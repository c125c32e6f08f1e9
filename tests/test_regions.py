"""Questions about a region of a frame, and the windows around boxes that are searched."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.contract.contract import BUILT_IN
from data_prep.contract.images import search_size
from data_prep.contract.windows import pixel_region, search_window
from data_prep.geometry import Box
from data_prep.world.draw import draw_frame
from data_prep.world.presets import PRESETS
from data_prep.world.scene import make_scene
from models.config import NANO
from models.grounder.grounder import Grounder
from models.grounder.regions import locate_in_regions
from models.interfaces import Answer, Question

SHORT = BUILT_IN["short"]
FRAME = np.random.default_rng(0).integers(0, 255, (320, 480, 3), dtype=np.uint8)
REGION = (100.0, 60.0, 340.0, 220.0)

# ---- windows --------------------------------------------------------------------------------------


def test_a_window_holds_the_box_with_its_surroundings() -> None:
    assert search_window((200, 100, 250, 140), (480, 320), SHORT, 3.0) == (135, 60, 315, 180)
    # A box that is higher than wide decides by its height; the window is 3:2, as the search image.
    assert search_window((200, 100, 210, 140), (480, 320), SHORT, 3.0) == (115, 60, 295, 180)


def test_a_window_has_at_least_a_quarter_of_the_search_images_width() -> None:
    assert search_window((200, 100, 206, 104), (480, 320), SHORT, 3.0) == (161, 74, 245, 130)


def test_a_window_at_the_border_is_moved_inside() -> None:
    assert search_window((440, 0, 480, 30), (480, 320), SHORT, 3.0) == (345, 0, 480, 90)
    assert search_window((0, 300, 40, 320), (480, 320), SHORT, 3.0) == (0, 240, 120, 320)


@pytest.mark.parametrize("box", [(100, 50, 300, 250), (0, 100, 400, 120)])
def test_there_is_no_window_that_would_show_hardly_less_than_the_frame(box: Box) -> None:
    assert search_window(box, (480, 320), SHORT, 2.0) is None


@settings(max_examples=80, deadline=None)
@given(
    name=st.sampled_from(["short", "instruct", "vptracker"]),
    size=st.tuples(st.integers(280, 2000), st.integers(280, 2000)),
    corner=st.tuples(st.floats(0, 0.95), st.floats(0, 0.95)),
    share=st.tuples(st.floats(0.001, 0.5), st.floats(0.001, 0.5)),
    scale=st.floats(1.5, 5),
)
def test_a_window_lies_in_the_frame_and_holds_the_box(
    name: str,
    size: tuple[int, int],
    corner: tuple[float, float],
    share: tuple[float, float],
    scale: float,
) -> None:
    contract, (width, height) = BUILT_IN[name], size
    left, top = corner[0] * width, corner[1] * height
    box = (left, top, min(left + share[0] * width, width), min(top + share[1] * height, height))
    window = search_window(box, size, contract, scale)
    if window is None:
        return
    assert window[0] >= 0 and window[1] >= 0 and window[2] <= width and window[3] <= height
    assert window[0] <= box[0] + 1 and window[1] <= box[1] + 1
    assert window[2] >= box[2] - 1 and window[3] >= box[3] - 1
    resized = search_size(contract, size)
    assert (window[2] - window[0]) / (window[3] - window[1]) == pytest.approx(
        resized[0] / resized[1], rel=0.05
    )
    assert pixel_region(window, size) == tuple(map(int, window))


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ((10.2, 20.7, 110.1, 90.0), (10, 20, 111, 90)),  # whole pixels around it
        ((-50, 280, 60, 400), (0, 280, 60, 320)),  # the part inside of the frame
        ((479.5, 100.2, 480, 100.4), (464, 93, 480, 109)),  # a tiny one
        ((0, 100, 400, 101), (0, 76, 400, 126)),  # a narrow one
        ((500, 0, 600, 100), (0, 0, 480, 320)),  # outside: the whole frame
        ((10, 10, 10, 50), (0, 0, 480, 320)),  # empty: the whole frame
    ],
)
def test_a_region_is_clipped_to_whole_pixels(region: Box, expected: tuple[int, ...]) -> None:
    assert pixel_region(region, (480, 320)) == expected


# ---- questions ------------------------------------------------------------------------------------


class Recorder:
    """Answers every question with one box of its image, and keeps the questions."""

    def __init__(self, box: Box | None) -> None:
        self.box, self.asked = box, list[Question]()

    def __call__(self, questions: Sequence[Question]) -> list[Answer]:
        self.asked += questions
        return [Answer(0.9, self.box, 0.8, "text") for _ in questions]


def test_boxes_go_in_and_come_out_in_pixels_of_the_frame() -> None:
    locate = Recorder((1.0, 2.0, 30.5, 40.0))
    question = Question(
        FRAME,
        "it",
        visual_prompt_xyxy=(150, 100, 200, 150),
        draft_xyxy=(90, 70, 180, 120),
        original=(960, 640),
        region_xyxy=REGION,
    )
    (answer,) = locate_in_regions([question], locate, SHORT)
    assert answer.box_xyxy == (101.0, 62.0, 130.5, 100.0)
    (asked,) = locate.asked
    assert np.array_equal(asked.image, FRAME[60:220, 100:340])
    assert asked.visual_prompt_xyxy == (50, 40, 100, 90) and asked.draft_xyxy == (-10, 10, 80, 60)
    assert asked.original is None and asked.region_xyxy is None


def test_what_lies_outside_of_the_region_is_left_out() -> None:
    locate = Recorder(None)
    outside = (0.0, 0.0, 90.0, 50.0)
    question = Question(FRAME, "it", None, outside, draft_xyxy=outside, region_xyxy=REGION)
    (answer,) = locate_in_regions([question], locate, SHORT)
    assert locate.asked[0].visual_prompt_xyxy is None and locate.asked[0].draft_xyxy is None
    assert answer.box_xyxy is None


def test_questions_about_one_region_share_an_image() -> None:
    locate = Recorder(None)
    other = FRAME.copy()
    asked = [(FRAME, REGION), (FRAME, (100.4, 60.9, 339.5, 219.1)), (FRAME, (0, 0, 99, 99)), (other, REGION)]
    locate_in_regions([Question(image, "it", region_xyxy=region) for image, region in asked], locate, SHORT)
    first, same, elsewhere, copied = [question.image for question in locate.asked]
    assert first is same and len({id(each) for each in (first, elsewhere, copied)}) == 3


def test_a_region_of_the_whole_frame_is_the_frame() -> None:
    locate = Recorder(None)
    locate_in_regions([Question(FRAME, "it", region_xyxy=(-5, 0, 480, 320))], locate, SHORT)
    assert locate.asked[0].image is FRAME


@pytest.mark.parametrize(("has_last_box", "is_cut"), [(True, False), (False, True)])
def test_a_contract_with_its_own_search_crop_keeps_it(has_last_box: bool, is_cut: bool) -> None:
    locate = Recorder(None)
    last_box = (150, 100, 200, 150) if has_last_box else None
    question = Question(FRAME, "it", FRAME[:64, :64], last_box, region_xyxy=REGION)
    locate_in_regions([question], locate, BUILT_IN["r1_track"])
    assert (locate.asked[0].image is not FRAME) is is_cut
    assert locate.asked[0].visual_prompt_xyxy == last_box


# ---- grounders ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nano() -> Grounder:
    grounder = Grounder.load(
        dataclasses.replace(NANO, box_threshold=0.0, second_look="off"), torch.device("cpu")
    )
    grounder.model.double()  # so that rounding errors, which depend on the batch, change no digit
    return grounder


def test_a_region_is_answered_as_the_image_that_it_is(nano: Grounder) -> None:
    """Alone and in a batch with other regions and whole frames, with and without a rectangle."""
    image, _ = draw_frame(make_scene(3_000_000_000, PRESETS["val"]), 20)
    left, top, right, bottom = (int(side) for side in REGION)
    crop = np.ascontiguousarray(image[top:bottom, left:right])
    last_box, in_crop = (180.0, 100.0, 220.0, 140.0), (80.0, 40.0, 120.0, 80.0)
    questions = [
        Question(image, "the red ball", region_xyxy=REGION, of_track=True),
        Question(image, "the red ball", of_track=True),
        Question(image, "the blue box", image[:64, :64], last_box, region_xyxy=REGION, of_track=True),
        Question(image, "the blue box", region_xyxy=(0, 0, 120, 80), of_track=True),
    ]
    together = nano.locate(questions)
    alone = [nano.locate([question])[0] for question in questions]
    assert [one.box_xyxy for one in together] == [one.box_xyxy for one in alone]
    assert [one.visible for one in together] == pytest.approx([one.visible for one in alone])
    of_crop = nano.locate(
        [Question(crop, "the red ball"), Question(crop, "the blue box", image[:64, :64], in_crop)]
    )
    for answer, expected in zip((together[0], together[2]), of_crop, strict=True):
        assert answer.visible == pytest.approx(expected.visible)
        assert answer.box_xyxy is not None and expected.box_xyxy is not None
        x1, y1, x2, y2 = expected.box_xyxy
        assert answer.box_xyxy == pytest.approx((x1 + left, y1 + top, x2 + left, y2 + top))
