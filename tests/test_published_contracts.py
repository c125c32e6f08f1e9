"""The contracts of published checkpoints: questions to the character, crops and rectangles to the pixel.

Expected values are written out here, or worked out from the published formulas, never from our own code.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from configs.errors import UserError
from data_prep.contract.chat import answer_of, answer_text, messages, to_frame
from data_prep.contract.contract import (
    BUILT_IN,
    Contract,
    check_trainable,
    contract_values,
    read_contract,
    trained_contract,
    write_contract,
)
from data_prep.contract.crops import (
    Square,
    central_box,
    crop_template,
    resized_box,
    search_crop,
    template_box,
)
from data_prep.contract.images import (
    resize,
    resized_template,
    search_image,
    template_size,
    visual_prompt_box,
)
from data_prep.contract.parsing import box_of_text
from data_prep.geometry import Box
from infer.trackers.per_frame import PerFrameConfig, per_frame_tracker
from infer.trackers.requests import Locate, Report, Segment
from models.interfaces import Answer, MaskResult

FULL_HD = (1920, 1080)


def question(contract: Contract, has_template: bool = True, is_marked: bool = True, **more: Any) -> str:
    """A question as one text, with a placeholder for each image."""
    (message,) = messages(contract, more.pop("expression", "the red cup"), has_template, is_marked, **more)
    assert message["role"] == "user"
    return "".join(part.get("text", "<image>") for part in message["content"])


# ---- this project's own questions ----------------------------------------------------------------

REQUEST = (
    'Answer in JSON: {"visible": true, "bbox_2d": [x1, y1, x2, y2]} with the corners of its box in pixels of '
    'the search image, or {"visible": false} if the target cannot be seen in it.\n'
)
INSTRUCT = f'Find the target in the search image. The target is: "the red cup".\n{REQUEST}'
TAGGED = f"Find the target in the search image. The target is: <ref>the red cup</ref>.\n{REQUEST}"
BEFORE = "The target as it looked before:"
LAST_SEEN = "The search image; the rectangle drawn in it marks where the target was last seen:"
OURS = {
    ("instruct", False, False): f"{INSTRUCT}The search image:\n<image>",
    ("instruct", False, True): f"{INSTRUCT}{LAST_SEEN}\n<image>",
    ("instruct", True, False): f"{INSTRUCT}{BEFORE}\n<image>The search image:\n<image>",
    ("instruct", True, True): f"{INSTRUCT}{BEFORE}\n<image>{LAST_SEEN}\n<image>",
    ("tagged", False, False): f"{TAGGED}The search image: <search><image></search>\n",
    ("tagged", False, True): f"{TAGGED}{LAST_SEEN} <search><image></search>\n",
    ("tagged", True, False): f"{TAGGED}{BEFORE} <template><image></template>\n"
    "The search image: <search><image></search>\n",
    ("tagged", True, True): f"{TAGGED}{BEFORE} <template><image></template>\n"
    f"{LAST_SEEN} <search><image></search>\n",
    ("short", False, False): "find the red cup in<image>",
    ("short", False, True): "find the red cup near<image>",
    ("short", True, False): "find the red cup like<image> in<image>",
    ("short", True, True): "find the red cup like<image> near<image>",
}


@pytest.mark.parametrize("case", OURS, ids=lambda case: "-".join(map(str, case)))
def test_our_own_questions_stay_as_our_weights_saw_them(case: tuple[str, bool, bool]) -> None:
    wording, has_template, is_marked = case
    contract = dataclasses.replace(Contract(), wording=wording)
    assert question(contract, has_template, is_marked) == OURS[case]


@pytest.mark.parametrize(
    ("name", "digest"),
    [("instruct", "35139a1cd2bab48a"), ("instruct3", "858e8a73859d9a44"), ("short", "dae84087f4253d6f")],
)
def test_older_contracts_keep_their_hashes(name: str, digest: str) -> None:
    values = json.dumps(contract_values(BUILT_IN[name]), sort_keys=True)
    assert hashlib.sha256(values.encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_contract_comes_back_from_its_file(name: str, tmp_path: Path) -> None:
    write_contract(tmp_path, BUILT_IN[name])
    assert read_contract(tmp_path) == BUILT_IN[name]


# ---- VPTracker: questions and answers ------------------------------------------------------------

# dataset/sampling_dataset.py, as written there, with red as its variable of the colour.
VPTRACKER_QUESTION = """You are a visual object tracker.
Given the visual information of the target object <template><image></template>, and the language description of the target object <ref> the red cup </ref>.

Then, detect the target object is in search image <search><image></search>.
    1. determine whether the target is visible in the search image.
    2. return the bounding box of its current position in the search image in the format [x_min, y_min, x_max, y_max]. 

Please return the answer in JSON format, for example: ```json
{
  "visible": "yes/no", 
  "bbox":[x_min, y_min, x_max, y_max]
}
```.
"""  # noqa: E501, W291
VPTRACKER_MARKED = """
Please note that you should first search for the target within the red rectangular bounding box. If you cannot find it, then search for the target outside the rectangular bounding box.
"""  # noqa: E501
VPTRACKER = BUILT_IN["vptracker"]


def test_vptrackers_question_is_the_one_of_its_training() -> None:
    assert question(VPTRACKER) == VPTRACKER_QUESTION + VPTRACKER_MARKED
    assert question(VPTRACKER, expression=" the red cup\n") == VPTRACKER_QUESTION + VPTRACKER_MARKED
    assert question(VPTRACKER, is_marked=False) == VPTRACKER_QUESTION
    lime = dataclasses.replace(VPTRACKER, prompt_colour=(0, 255, 0))
    assert question(lime) == VPTRACKER_QUESTION + VPTRACKER_MARKED.replace("red", "lime", 1)
    alone = question(VPTRACKER, has_template=False)
    assert "Given the language description of the target object <ref> the red cup </ref>.\n" in alone
    assert alone.count("<image>") == 1


def test_vptrackers_answer_is_the_one_of_its_training() -> None:
    start, box = VPTRACKER.format.start, (1200.0, 500.0, 1500.0, 700.0)
    assert start + answer_of(VPTRACKER, box) == (
        '```json\n{\n  "visible": "yes",\n "bbox": [1200, 500, 1500, 700]\n}\n```'
    )
    assert start + answer_of(VPTRACKER, None) == (
        '```json\n{\n  "visible": "no",\n "bbox": [0, 0, 0, 0]\n}\n```'
    )


def test_vptrackers_numbers_count_pixels_of_the_frame_whatever_size_the_model_receives() -> None:
    numbers = VPTRACKER.format.parse("1200, 500, 1500, 700]\n}")
    assert numbers is not None
    for resized in ((1280, 736), (448, 256), FULL_HD):
        assert to_frame(VPTRACKER, numbers, resized, FULL_HD) == (1200, 500, 1500, 700)
    # A frame of training is resized before it is asked about: boxes come back in pixels of what is asked.
    assert to_frame(VPTRACKER, numbers, (960, 544), (960, 540), FULL_HD) == (600, 250, 750, 350)
    written = answer_text(VPTRACKER, (600, 250, 750, 350), (960, 540), FULL_HD)
    assert "[1200, 500, 1500, 700]" in written


@pytest.mark.parametrize(
    "numbers", [(-1, 5, 50, 60), (5, 5, 1921, 60), (5, 5, 50, 1081), (50, 5, 5, 60), (5, 60, 50, 5)]
)
def test_vptracker_has_no_box_beyond_the_frame_and_none_that_is_reversed(numbers: Box) -> None:
    assert to_frame(VPTRACKER, numbers, (1280, 736), FULL_HD) is None
    if min(numbers) >= 0 and numbers[0] < numbers[2] and numbers[1] < numbers[3]:
        clipping = dataclasses.replace(VPTRACKER, clips_boxes=True)
        assert to_frame(clipping, numbers, (1280, 736), FULL_HD) is not None


# ---- R1-Track: questions and answers -------------------------------------------------------------

R1_100K = (
    "Given two images, you need to:\n"
    "1. Analyze and Identify the target object marked by bounding box [126,109,209,226] in <image_1>;\n"
    "2. Re-locate this target in <image_2>;\n"
    "3. Return [x_min, y_min, x_max, y_max] coordinates of the target in <image_2>."
)
R1_5K = (
    "Please identify the target specified by the bounding box [126,109,209,226] in the first image and "
    "locate it in the second image. \n Return the coordinates in [x_min,y_min,x_max,y_max] format."
)
# As bash and OmegaConf hand the launch script's system prompt to EasyR1: with a backslash and an n.
R1_THINK = (
    "You FIRST think about the reasoning process as an internal monologue and then provide the final answer. "
    "\\n The reasoning process MUST BE enclosed within <think> </think> tags. The final answer MUST BE put "
    "in <answer> </answer> tags. "
)
R1_BOX = (126.9, 109.2, 209.5, 226.99)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("r1_track", f"<image> <image>{R1_100K}"),
        ("r1_track_5k", f"<image> <image>{R1_5K}"),
        ("r1_track_think", f"{R1_THINK}<image> <image>{R1_5K}"),
    ],
)
def test_r1_tracks_questions_are_those_of_its_training(name: str, text: str) -> None:
    assert question(BUILT_IN[name], template_box=R1_BOX) == text


@pytest.mark.parametrize("name", ["r1_track", "r1_track_5k", "r1_track_think"])
def test_r1_track_starts_from_words_as_qwen_is_asked(name: str) -> None:
    contract = BUILT_IN[name]
    words = "<image>Please return the coordinates of the red cup in JSON format."
    for has_template, has_last_box in ((False, False), (True, False), (False, True)):
        assert question(contract, has_template, has_last_box) == words
        form = contract.form(has_template, has_last_box)
        assert form.answer_format == BUILT_IN["qwen"].format
        assert (form.has_template, form.is_marked, form.is_cropped) == (False, False, False)
    assert contract.form(has_template=True, has_last_box=True).is_cropped
    assert "coordinates of the target in JSON" in question(contract, False, False, expression="")


def test_r1_tracks_answer_is_a_bare_list() -> None:
    assert BUILT_IN["r1_track"].format.start + answer_of(BUILT_IN["r1_track"], (1, 2, 3, 4)) == "[1,2,3,4]"
    thinking = BUILT_IN["r1_track_think"].format
    assert (thinking.thought_end, thinking.render("1,2,3,4")) == ("<answer>", "[1,2,3,4]</answer>")


# ---- plain Qwen-VL: questions and answers --------------------------------------------------------

QWEN_ANSWER = '```json\n[\n\t{"bbox_2d": [10, 20, 30, 40], "label": "target"}\n]\n```'


@pytest.mark.parametrize("name", ["qwen", "qwen3", "qwen3_thinking"])
def test_plain_qwen_is_asked_about_one_image_without_a_rectangle(name: str) -> None:
    text = "<image>Locate the red cup. Report bbox coordinates in JSON format."
    for has_template in (False, True):
        for is_marked in (False, True):
            assert question(BUILT_IN[name], has_template, is_marked) == text
    assert question(BUILT_IN[name], expression="the red cup.\n") == text
    assert question(BUILT_IN[name], expression="") == text.replace("the red cup", "the target")


def test_plain_qwen_answers_with_its_own_list() -> None:
    contract = BUILT_IN["qwen"]
    assert contract.format.start + answer_of(contract, (10, 20, 30, 40)) == QWEN_ANSWER
    assert contract.format.start + answer_of(contract, None) == "```json\n[]\n```"
    assert BUILT_IN["qwen3_thinking"].format.start == "\n\n" + contract.format.start


def test_plain_qwen_counts_what_its_family_counts() -> None:
    numbers, resized = (250.0, 500.0, 500.0, 750.0), (1008, 560)
    assert to_frame(BUILT_IN["qwen3"], numbers, resized, FULL_HD) == (480, 540, 960, 810)
    assert to_frame(BUILT_IN["qwen"], numbers, (960, 1080), FULL_HD) == (500, 500, 1000, 750)


def test_new_adapters_of_plain_qwen_learn_this_projects_wording() -> None:
    assert trained_contract(BUILT_IN["qwen"]) == BUILT_IN["instruct"]
    assert trained_contract(BUILT_IN["qwen3"]) == BUILT_IN["instruct3"]
    assert trained_contract(BUILT_IN["qwen3_thinking"]) == BUILT_IN["instruct3"]
    assert trained_contract(VPTRACKER) == VPTRACKER


@pytest.mark.parametrize("name", BUILT_IN)
def test_contracts_that_pairs_cannot_show_are_not_trained(name: str) -> None:
    if name.startswith("r1_track") or name.endswith("_thinking"):
        with pytest.raises(UserError, match=r"^model\.contract: asks with a (search crop|thought)"):
            check_trainable(BUILT_IN[name], "model.contract")
    else:
        check_trainable(BUILT_IN[name], "model.contract")


# ---- crops, against the published functions ------------------------------------------------------


def numbered(width: int, height: int) -> np.ndarray:
    """A frame in which every pixel says where it is: red its column, green its row; nothing is black."""
    frame = np.full((height, width, 3), 200, np.uint8)
    frame[..., 0] = np.arange(width)
    frame[..., 1] = np.arange(height)[:, None]
    return frame


# Boxes in a frame of 100x80, worked out by hand with sample_target: side = ceil(sqrt(w * h) * scale), left =
# round(x + 0.5 * w - 0.5 * side), and one column and row too many are cut at the right and bottom borders.
CROPS = [
    # box, side at scale 2, left, top, then columns and rows of the frame that are inside
    ((30, 20, 46, 29), 24, 26, 12, (26, 50), (12, 36)),  # 16x9: sqrt 144 = 12
    ((0, 0, 16, 9), 24, -4, -8, (0, 20), (0, 16)),  # at the left top corner
    ((84, 71, 100, 80), 24, 80, 64, (80, 99), (64, 79)),  # at the right bottom corner: 99 and 79 are cut
    ((72, 30, 88, 39), 24, 68, 22, (68, 92), (22, 46)),
    ((80, 30, 96, 39), 24, 76, 22, (76, 99), (22, 46)),  # ends exactly at the border
    ((10, 10, 13, 17), 10, 6, 8, (6, 16), (8, 18)),  # 3x7: sqrt 21 = 4.58 -> ceil 9.17; 6.5 -> 6, 8.5 -> 8
]


@pytest.mark.parametrize("case", CROPS, ids=lambda case: str(case[0]))
def test_a_crop_by_area_is_the_published_one(case: Any) -> None:
    box, side, left, top, columns, rows = case
    frame = numbered(100, 80)
    assert Square.around(box, 2.0) == Square(left, top, side)
    cut = crop_template(frame, box, VPTRACKER)
    assert np.array_equal(cut, frame[rows[0] : rows[1], columns[0] : columns[1]])
    padded = crop_template(frame, box, dataclasses.replace(VPTRACKER, template_crop="area"))
    wanted = np.zeros((side, side, 3), np.uint8)
    wanted[rows[0] - top : rows[1] - top, columns[0] - left : columns[1] - left] = cut
    assert np.array_equal(padded, wanted)
    assert template_box(box, VPTRACKER) == tuple(np.subtract(box, [columns[0], rows[0]] * 2))


@pytest.mark.parametrize("box", [(-90, -90, -50, -50), (170, 10, 180, 20), (10, 150, 20, 160), (5, 5, 5, 5)])
@pytest.mark.parametrize("rule", ["area", "area_cut"])
def test_a_crop_of_nothing_is_black_and_not_empty(box: Box, rule: str) -> None:
    crop = crop_template(numbered(100, 80), box, dataclasses.replace(VPTRACKER, template_crop=rule))
    assert crop.size and (box == (5, 5, 5, 5) or not crop.any())


def test_r1_tracks_crops_have_336_pixels_and_its_box_is_cut_to_whole_ones() -> None:
    contract, frame = BUILT_IN["r1_track"], numbered(200, 150)
    box = (100.0, 60.0, 116.0, 84.0)  # 16x24: the root of 384 is 19.6, times 4 is 78.4: 79 pixels
    crop = crop_template(frame, box, contract)
    assert crop.shape == (79, 79, 3)
    assert template_size(contract, (79, 79)) == (336, 336)
    assert np.array_equal(resized_template(contract, crop), resize(crop, (336, 336), "linear"))
    # left = round(100 + 8 - 39.5) = 68 (68.5 to even), top = round(60 + 12 - 39.5) = 32
    inside = template_box(box, contract)
    assert inside == (32, 28, 48, 52)
    found = resized_box(inside, (79, 79), (336, 336))
    assert tuple(map(int, found)) == (136, 119, 204, 221)  # 136.1, 119.09, 204.15, 221.16
    searched = search_crop(frame, box, contract)
    assert np.array_equal(searched, resize(frame[32:111, 68:147], (336, 336), "linear"))


def test_an_answer_about_a_search_crop_comes_back_in_the_frame() -> None:
    square = Square.around((100, 60, 116, 84), 4.0)
    assert square == Square(68, 32, 79)
    scale = 79 / 336
    expected = (68 + 136 * scale, 32 + 119 * scale, 68 + 204 * scale, 32 + 221 * scale)
    assert square.to_frame((136, 119, 204, 221), (336, 336)) == pytest.approx(expected)
    assert square.to_frame((-9, 0, 400, 336), (336, 336)) == pytest.approx((68, 32, 147, 111))


def test_without_a_known_box_the_target_is_in_the_middle_of_the_template() -> None:
    assert central_box((80, 80), BUILT_IN["r1_track"]) == (30, 30, 50, 50)


# ---- rectangles ----------------------------------------------------------------------------------

RED = (255, 0, 0)


def test_vptrackers_rectangle_is_three_pixels_inside_of_cut_corners() -> None:
    frame = np.full((80, 100, 3), 90, np.uint8)
    last = (41.0, 30.0, 48.0, 35.0)  # 7x5: four times is 28x20 around (44.5, 32.5): 30.5, 22.5, 58.5, 42.5
    rectangle = visual_prompt_box(last, (100, 80), VPTRACKER)
    drawn = search_image(frame, rectangle, VPTRACKER, (100, 80))
    wanted = np.zeros((80, 100), bool)
    wanted[22:43, 30:59] = True  # both corners belong to the line
    wanted[25:40, 33:56] = False
    assert np.array_equal((drawn == RED).all(axis=2), wanted)
    assert (frame == 90).all(), "the frame itself is not drawn on"


@pytest.mark.parametrize(
    "last", [(0, 0, 10, 8), (95, 70, 100, 80), (3, 60, 90, 75), (40.7, 30.2, 41.9, 31.6)]
)
def test_vptrackers_rectangle_is_drawn_by_pillow_on_the_frame_and_then_resized(last: Box) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (80, 100, 3), dtype=np.uint8)
    # _draw_bbox of the published template, without its noise
    image = Image.fromarray(frame)
    cx, cy = (last[0] + last[2]) / 2, (last[1] + last[3]) / 2
    new_w, new_h = (last[2] - last[0]) * 4, (last[3] - last[1]) * 4
    x1, y1 = max(0, int(cx - new_w / 2)), max(0, int(cy - new_h / 2))
    x2, y2 = min(100, int(cx + new_w / 2)), min(80, int(cy + new_h / 2))
    ImageDraw.Draw(image).rectangle([x1, y1, x2, y2], outline="red", width=3)
    ours = search_image(frame, visual_prompt_box(last, (100, 80), VPTRACKER), VPTRACKER, (64, 64))
    assert np.array_equal(ours, np.asarray(image.resize((64, 64))))


def test_vptrackers_images_have_4_to_1024_tokens() -> None:
    assert template_size(VPTRACKER, (200, 180)) == (192, 192)
    assert template_size(VPTRACKER, (20, 20)) == (64, 64)
    width, height = template_size(VPTRACKER, (4000, 4000))
    assert (width, height) == (1024, 1024)
    assert template_size(BUILT_IN["instruct"], (20, 20)) == (224, 224), "ours always has 64"


# ---- the loop of VPTracker -----------------------------------------------------------------------


def yes(box: Any) -> str:
    """An answer of VPTracker's model."""
    return f'```json\n{{\n  "visible": "yes",\n "bbox": {json.dumps(box)}\n}}\n```'


NO = '```json\n{\n  "visible": "no",\n "bbox": [0, 0, 0, 0]\n}\n```'
FIRST = [20, 30, 40, 50]
SAID = [
    yes([22, 31, 42, 51]),
    NO,
    yes([25, 30, 45, 50]),
    "I see a cup on a table.",
    yes([25, 30, 101, 50]),  # beyond the right border of the frame
    yes([45, 30, 25, 50]),  # reversed corners
    yes([-1, 30, 25, 50]),
    yes([30, 35, 100, 80]),
    yes([30, 35, 60]),
    yes([1, 2, 3, 4, 5]),
    NO.replace("[0, 0, 0, 0]", "[5, 5, 9, 9]"),
    yes([31, 36, 50, 60]),
    yes([0, 0, 100, 80]),
]
SIZE = (100, 80)


def check_bbox(bbox: list[int]) -> bool:
    """The published test of a box."""
    inside = all(0 <= value <= side for value, side in zip(bbox, SIZE * 2, strict=True))
    return inside and not (bbox[2] < bbox[0] or bbox[3] < bbox[1])


def published_loop() -> list[list[int]]:
    """`run_sequence` and `run_model` of the published inference script, over the answers in `SAID`."""
    current, results = FIRST, [FIRST]
    for response in SAID:
        try:
            answer = json.loads(response.split("```json")[1].split("```")[0])
            box = answer["bbox"]
            success = answer["visible"] != "no" and len(box) == 4 and check_bbox(box)
        except (IndexError, ValueError, KeyError):
            success = False
        if success:
            current = box
        results.append(current)
    return results


def test_the_tracker_vptracker_is_the_published_loop_step_by_step() -> None:
    frame = numbered(*SIZE)
    tracker = per_frame_tracker(PerFrameConfig(repeat_last=True), VPTRACKER)
    first: Box = (20, 30, 40, 50)
    track = tracker("the red cup", frame, first)
    request = next(track)
    results: list[list[int]] = []
    last, said = first, iter(SAID)
    while True:
        if isinstance(request, Segment):
            request = track.send(MaskResult(None, 0.1, 0.0, None))
        elif isinstance(request, Locate):
            # The template is that of the first frame, and the rectangle is around the current box.
            assert request.template is not None and request.visual_prompt_xyxy == last
            assert np.array_equal(request.template, frame[20:60, 10:50])
            text = next(said)
            is_visible, box = box_of_text(VPTRACKER, text, (96, 96), SIZE)
            request = track.send(Answer(float(is_visible), box, 0.9, text))
        else:
            assert isinstance(request, Report) and request.box_xyxy is not None
            last = request.box_xyxy
            results.append([round(value) for value in last])
            if len(results) > len(SAID):
                break
            request = track.send(frame)
    assert results == published_loop()
    assert len({tuple(box) for box in results}) == 6, "six of the answers are a new place"
