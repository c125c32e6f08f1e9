"""Every form in which models write boxes, and its one outcome; descriptions of ReasoningTrack."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.contract.chat import to_frame
from data_prep.contract.contract import BUILT_IN
from data_prep.contract.descriptions import DESCRIPTION_WORDINGS, parts_of
from data_prep.contract.formats import ANSWER_FORMATS
from data_prep.contract.parsing import Outcome, box_of_text, parse_free

BOX, OTHER = (10, 20, 30, 40), (50, 60, 70, 80)
FENCED = '```json\n[\n\t{"bbox_2d": [10, 20, 30, 40], "label": "cup"}\n]\n```'

BOXES = {
    "[10, 20, 30, 40]": BOX,
    "[10,20,30,40]": BOX,
    "[10 20 30 40]": BOX,
    "[[10, 20, 30, 40]]": BOX,
    "[[[10, 20, 30, 40]]]": BOX,
    "10, 20, 30, 40": BOX,
    "The box is 10, 20, 30, 40.": BOX,
    FENCED: BOX,
    '{"bbox_2d": [10, 20, 30, 40]}': BOX,
    'Sure! It is {"label": "cup", "bbox_2d": [10, 20, 30, 40]}, left of the 2 plates.': BOX,
    '{"visible": true, "bbox_2d": [010, 020, 030, 040]}': BOX,
    '{"visible": "yes", "bbox": [10, 20, 30, 40]}': BOX,
    '{"bbox": "[10, 20, 30, 40]"}': BOX,
    "In frame 7 the cup [the red one] is at [10, 20, 30, 40] now.": BOX,
    "<|box_start|>(10,20),(30,40)<|box_end|>": BOX,
    "<|object_ref_start|>cup<|object_ref_end|><|box_start|>(10, 20), (30, 40)<|box_end|>": BOX,
    "<box>(10,20),(30,40)</box>": BOX,
    "［１０，２０，３０，４０］": BOX,
    "<think>At [1, 2, 3, 4]? No.</think><answer>[10, 20, 30, 40]</answer>": BOX,
    "At first [1, 2, 3, 4].\n</think>\n\n[10, 20, 30, 40]": BOX,
    "[-5, 20.5, 30, 40.25]": (-5, 20.5, 30, 40.25),
    "[0.1, 0.2, 0.5, 1.0]": (0.1, 0.2, 0.5, 1.0),
    "[10, 20, 10, 20]": (10, 20, 10, 20),
}
ABSENT = [
    "[]",
    "```json\n[]\n```",
    "```json\n[\n]\n```",
    '{"bbox_2d": []}',
    '{"visible": false}',
    '{"visible": "no", "bbox": [0, 0, 0, 0]}',
    '{"visible": "no", "bbox": [10, 20, 30, 40]}',
    "There is no red cup in the image.",
    "There are no cups.",
    "The red cup is not visible in this frame.",
    "The image does not contain a red cup.",
    "I cannot find the red cup.",
    "I couldn't locate it.",
    "None.",
    "no",
    "<think>Where is it?</think>It has left; it is no longer there.",
]
POINTS = ["(12, 34)", "[12, 34]", '{"point_2d": [12, 34], "label": "cup"}', "(10,20),(30,40)", "12, 34"]
UNREADABLE = {
    "": "no box",
    "The red cup stands on the table.": "no box",
    "I'm sorry, but I can't help with that.": "no box",
    "[30, 20, 10, 40]": "second corner",
    "[10, 40, 30, 20]": "second corner",
    "[100, 200, 30, 40]": "second corner",
    "[10, 20, 30]": "3 numbers",
    "[10, 20, 30, 40, 50]": "5 numbers",
    "[10, 20, 30, 40], [5, 6]": "2 numbers",
    "10, 20, 30, 40, 50": "5 numbers",
    "[x1, y1, x2, y2]": "no box",
    '{"x1": 10, "y1": 20, "x2": 30, "y2": 40}': "no box",
    '{"visible": true}': "no box",
    "[1e3, 2e3, 3e3, 4e3]": "no box",
    "[NaN, 0, 10, 10]": "no box",
    "<think>It may be at [10, 20, 30, 40]": "thought does not end",
}


@pytest.mark.parametrize("text", BOXES)
def test_a_box_is_found_in_each_form(text: str) -> None:
    found = parse_free(text)
    assert (found.outcome, found.box) == (Outcome.BOX, BOXES[text])


@pytest.mark.parametrize(
    "text",
    [
        "[[10, 20, 30, 40], [50, 60, 70, 80]]",
        '[{"bbox_2d": [10, 20, 30, 40]},\n{"bbox_2d": [50, 60, 70, 80]}]',
        "<|box_start|>(10,20),(30,40)<|box_end|> <|box_start|>(50,60),(70,80)<|box_end|>",
    ],
)
def test_of_several_boxes_all_are_found_and_none_is_chosen(text: str) -> None:
    found = parse_free(text)
    assert (found.outcome, found.boxes, found.box) == (Outcome.BOX, (BOX, OTHER), None)
    assert box_of_text(BUILT_IN["instruct"], text, (100, 100), (100, 100)) == (True, None)


@pytest.mark.parametrize("text", ABSENT)
def test_absence_is_found_in_each_form(text: str) -> None:
    assert parse_free(text).outcome is Outcome.ABSENT
    assert box_of_text(BUILT_IN["instruct"], text, (100, 100), (100, 100)) == (False, None)


@pytest.mark.parametrize("text", POINTS)
def test_a_point_is_no_box(text: str) -> None:
    assert parse_free(text).outcome is Outcome.POINT


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_may_mean_several_things_is_not_guessed(text: str) -> None:
    found = parse_free(text)
    assert found.outcome is Outcome.UNREADABLE and UNREADABLE[text] in found.reason and not found.boxes


@settings(deadline=None, max_examples=200)
@given(text=st.text(st.sampled_from('[](){}"0123456789.,:-<>|/ visiblebox_2dthink\n'), max_size=60))
def test_any_text_has_an_outcome(text: str) -> None:
    found = parse_free(text)
    assert bool(found.boxes) == (found.outcome is Outcome.BOX)
    assert bool(found.reason) == (found.outcome is Outcome.UNREADABLE)


def test_fractions_are_shares_of_the_image_and_whole_numbers_are_not() -> None:
    for name in ("instruct", "instruct3", "vptracker"):
        assert to_frame(BUILT_IN[name], (0.25, 0.5, 0.5, 1.0), (112, 56), (400, 200)) == (100, 100, 200, 200)
    assert to_frame(BUILT_IN["instruct"], (0, 0, 1, 1), (100, 50), (400, 200)) == (0, 0, 4, 4)
    assert to_frame(BUILT_IN["instruct"], (0.5, 0.5, 1.5, 1.5), (100, 50), (400, 200)) == (2, 2, 6, 6)
    # One unit would be the whole side.
    assert to_frame(BUILT_IN["instruct"], (0.5, 0.2, 0.5, 0.8), (100, 50), (400, 200)) is None


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("[10, 20, 30, 40", BOX),  # a nested list
        ("１０, 20, 30, 40", BOX),
        ("0.1, 0.2, 0.5, 0.6", (0.1, 0.2, 0.5, 0.6)),
        ("10, 20, 30, 40, 50", None),
        ("10, 20", None),
        ("", None),
    ],
)
def test_decoded_numbers_have_the_same_outcomes(text: str, numbers: Any) -> None:
    """What stands behind the forced beginning of a box."""
    assert ANSWER_FORMATS["json"].parse(text) == numbers


# ---- descriptions --------------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["got-10k", "lasot", "otb", "tnl2k", "tnllt"])
def test_questions_about_a_description_are_those_of_the_published_records(
    data: str, shared_data: Path
) -> None:
    path = shared_data / "reasoningtrack" / f"sft_{data}_30.json"
    wording = DESCRIPTION_WORDINGS["reasoningtrack_tnllt" if data == "tnllt" else "reasoningtrack"]
    records = json.loads(path.read_text("utf-8"))
    assert len(records) == 30
    for record in records:
        description = record["input"].removeprefix("<image><image>")
        (message,) = wording.messages(description)
        text = "".join(part.get("text", "<image>") for part in message["content"])
        assert text == record["instruction"] + "\n" + record["input"]


@pytest.mark.parametrize(
    ("name", "digest"),
    [("reasoningtrack", "bb20119f81a5c412"), ("reasoningtrack_tnllt", "dddc50af5061c3ee")],
)
def test_the_published_instructions_stay_as_they_are(name: str, digest: str) -> None:
    """Also where the published records are not at hand; these are the digests of their `instruction`."""
    instruction = DESCRIPTION_WORDINGS[name].instruction
    assert hashlib.sha256(instruction.encode()).hexdigest()[:16] == digest


def test_an_answer_with_a_description_has_a_thought_and_a_decision() -> None:
    assert parts_of("<think>It moved.</think><d>yes</d>\n<answer>the dog, right</answer>") == (
        "It moved.",
        True,
        "the dog, right",
    )
