"""The contract: its file, what is asked, what is answered, and how an answer is read."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import UserError
from data_prep.contract.chat import answer_of, answer_text, box_text, messages, to_frame
from data_prep.contract.contract import BUILT_IN, CONTRACT_FILE, Contract, read_contract, write_contract
from data_prep.contract.formats import ANSWER_FORMATS, AnswerFormat
from data_prep.contract.wordings import TRAINED_WORDINGS, WORDINGS
from data_prep.geometry import Box, round_box

JSON = ANSWER_FORMATS["json"]
quick = settings(deadline=None, max_examples=40)
OURS = {name: BUILT_IN[name] for name in ("instruct", "instruct3", "short")}
contracts = pytest.mark.parametrize("contract", OURS.values(), ids=OURS)
coordinates = st.floats(0, 999.4)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
boxes = st.tuples(coordinates, coordinates, coordinates, coordinates)
IMAGE = {"type": "image"}
SIZE = (1008, 560)  # of a resized image


# ---- the file ------------------------------------------------------------------------------------


@contracts
def test_a_contract_comes_back_from_its_file(contract: Contract, tmp_path: Path) -> None:
    side = contract.side_multiple
    changed = dataclasses.replace(
        contract,
        prompt_colour=(1, 2, 3),
        search_size=(2 * side, 3 * side),
        other_search_sizes=((3 * side, 2 * side), (side, side)),
        digits=5,
        template_scale=2.25,
    )
    write_contract(tmp_path, changed)
    assert read_contract(tmp_path) == changed


@pytest.mark.parametrize("younger", [("search_size",), ("coordinates", "side_multiple")])
def test_a_contract_from_before_there_was_a_key_has_its_default(
    younger: tuple[str, ...], tmp_path: Path
) -> None:
    values = dataclasses.asdict(Contract())
    for key in younger:
        del values[key]
    (tmp_path / CONTRACT_FILE).write_text(json.dumps(values))
    assert read_contract(tmp_path) == Contract()
    assert (Contract().coordinates, Contract().side_multiple) == ("resized", 28)


def test_a_folder_without_a_contract_has_none(tmp_path: Path) -> None:
    assert read_contract(tmp_path) is None


# Each is a value of the right kind that ended in an error of a library, in no memory, or in no image.
BEYOND: list[dict[str, Any]] = [
    {"max_pixels": 10**12},
    {"min_pixels": -7, "max_pixels": -5},
    {"min_pixels": 10**6, "max_pixels": 10},
    {"max_pixels": True},
    {"prompt_width": float("nan")},
    {"prompt_width": 1e9},
    {"prompt_scale": float("inf")},
    {"template_scale": 1e9},
    {"template_scale": -3.0},
    {"template_pixels": 10**12},
    {"prompt_colour": ["a", "b", "c"]},
    {"prompt_colour": [1]},
    {"prompt_colour": [10**20, -1, 0]},
    {"search_size": [28 * 10**6, 28 * 10**6]},
    {"search_size": [True, False], "side_multiple": 1},
    {"search_size": [336, 224], "other_search_sizes": [[336, 225]]},
    {"search_size": [336, 224], "other_search_sizes": [[0, 0]]},
    {"search_size": [336, 224], "other_search_sizes": [336, 224]},
    {"other_search_sizes": [[336, 224]]},
    {"digits": 10**9},
    {"side_multiple": 10**9},
    {"separator": "]}" * 1000},
    {"separator": "]"},
    {"separator": "0"},
    {"separator": ""},
]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[1, 2]",
        "null",
        '{"digits": 3}',
        json.dumps({**dataclasses.asdict(Contract()), "pixels": 1}),
        json.dumps({**dataclasses.asdict(Contract()), "wording": "terse"}),
        json.dumps({**dataclasses.asdict(Contract()), "max_pixels": "many"}),
        json.dumps({**dataclasses.asdict(Contract()), "separator": None}),
        json.dumps({**dataclasses.asdict(Contract()), "search_size": [336, 225]}),
        json.dumps({**dataclasses.asdict(Contract()), "search_size": [336]}),
        json.dumps({**dataclasses.asdict(BUILT_IN["instruct3"]), "search_size": [336, 224]}),
        json.dumps({**dataclasses.asdict(Contract()), "coordinates": "metres"}),
        json.dumps({**dataclasses.asdict(Contract()), "template_crop": "round"}),
        json.dumps({**dataclasses.asdict(Contract()), "resampling": "best"}),
        json.dumps({**dataclasses.asdict(Contract()), "draws_prompt": 1}),
        json.dumps({**dataclasses.asdict(Contract()), "prompt_line": True}),
        json.dumps({**dataclasses.asdict(Contract()), "crop_size": [336, 335]}),
        json.dumps({**dataclasses.asdict(Contract()), "search_crop": 4.0}),
        json.dumps({**dataclasses.asdict(Contract()), "thinking": 100}),
        json.dumps({**dataclasses.asdict(Contract()), "answer_format": "r1_track_think"}),
        json.dumps(
            {
                **dataclasses.asdict(Contract()),
                "initial_wording": "short",
                "initial_answer_format": "r1_track_think",
            }
        ),
        json.dumps({**dataclasses.asdict(Contract()), "wording": ""}),
        json.dumps({**dataclasses.asdict(Contract()), "answer_format": ""}),
        json.dumps({**dataclasses.asdict(Contract()), "template_min_pixels": 10**7}),
        json.dumps({**dataclasses.asdict(Contract()), "initial_wording": "terse"}),
        json.dumps({**dataclasses.asdict(Contract()), "initial_answer_format": "prose"}),
        json.dumps({**dataclasses.asdict(Contract()), "side_multiple": 0}),
        *(json.dumps({**dataclasses.asdict(Contract()), **values}) for values in BEYOND),
        "[" * 50_000,
        json.dumps(dataclasses.asdict(Contract())) + " " * 100_000,
    ],
)
def test_a_spoilt_contract_is_refused_in_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / CONTRACT_FILE).write_text(content)
    with pytest.raises(UserError) as refusal:
        read_contract(tmp_path)
    line = str(refusal.value)
    assert line.startswith(str(tmp_path / CONTRACT_FILE)) and "restore" in line and "\n" not in line


def test_a_contract_that_is_a_list_is_called_one(tmp_path: Path) -> None:
    (tmp_path / CONTRACT_FILE).write_text("[1, 2]")
    with pytest.raises(UserError, match="a JSON object is expected, not a list"):
        read_contract(tmp_path)


def test_the_default_answer_format_is_not_written(tmp_path: Path) -> None:
    """So that contracts stay readable for earlier versions, and their identities stay the same."""
    write_contract(tmp_path, Contract())
    assert "answer_format" not in json.loads((tmp_path / CONTRACT_FILE).read_text())


def test_a_contract_names_another_answer_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tagged = AnswerFormat("<seen>", "yes", "no", " <box>(", ")</box>", "", ")")
    monkeypatch.setitem(ANSWER_FORMATS, "tagged", tagged)
    write_contract(tmp_path, Contract(answer_format="tagged"))
    contract = read_contract(tmp_path)
    assert contract is not None and contract.format == tagged
    assert answer_text(contract, (1, 2, 3, 4), SIZE) == "yes <box>(1, 2, 3, 4)</box>"
    assert answer_text(contract, None, SIZE) == "no"
    assert contract.format.parse("1, 2, 3, 4)</box> 5") == (1, 2, 3, 4)
    monkeypatch.delitem(ANSWER_FORMATS, "tagged")
    with pytest.raises(UserError, match="no answer format is named 'tagged'"):
        read_contract(tmp_path)


# ---- answers -------------------------------------------------------------------------------------


def read(contract: Contract, answer: str) -> Box | None:
    """An answer as inference reads it: what stands behind the forced beginning of a box."""
    forced = JSON.forced_prefix
    assert answer.startswith(forced)
    return JSON.parse(answer[len(forced) :])


@contracts
@quick
@given(box=boxes)
def test_a_written_box_is_read_to_the_nearest_whole_number(contract: Contract, box: Box) -> None:
    found = read(contract, answer_of(contract, box))
    assert found is not None
    assert found == tuple(round(value) for value in box)


@contracts
@quick
@given(box=boxes)
def test_an_answer_is_the_json_that_the_docs_promise(contract: Contract, box: Box) -> None:
    if contract.digits == 0:  # a number that is filled with zeros is no JSON
        said = json.loads(JSON.start + answer_of(contract, box))
        assert said == {"visible": True, "bbox_2d": [round(value) for value in box]}
    assert json.loads(JSON.start + answer_text(contract, None, SIZE)) == {"visible": False}


@quick
@given(shares=st.tuples(*[st.floats(0, 1)] * 4))
def test_an_answer_counts_what_the_contract_says(shares: tuple[float, float, float, float]) -> None:
    (left, right), (top, bottom) = sorted(shares[::2]), sorted(shares[1::2])
    box = (left * SIZE[0], top * SIZE[1], right * SIZE[0], bottom * SIZE[1])
    pixels, thousandths = (
        read(contract, answer_text(contract, box, SIZE))
        for contract in (BUILT_IN["instruct"], BUILT_IN["instruct3"])
    )
    assert pixels == round_box(box, SIZE)
    far = 0.5 if min(right - left, bottom - top) > 1e-3 else 1.0
    assert thousandths == pytest.approx(
        [1000 * share for share in (left, top, right, bottom)], abs=far + 1e-9
    )


def test_corners_of_the_image_are_0_and_1000_in_thousandths() -> None:
    contract = BUILT_IN["instruct3"]
    assert answer_text(contract, (0, 0, *SIZE), SIZE) == ' true, "bbox_2d": [0, 0, 1000, 1000]}'
    assert to_frame(contract, (250, 500, 1000, 1000), SIZE, (400, 80)) == (100, 40, 400, 80)
    assert to_frame(contract, (1001, 0, 1200, 1000), SIZE, (400, 80)) is None


def test_numbers_are_filled_with_zeros_as_the_contract_says() -> None:
    box = (0.4, 7.6, 48.0, 120.0)
    assert box_text(BUILT_IN["short"], box) == "000,008,048,120"
    assert box_text(BUILT_IN["instruct"], box) == "0, 8, 48, 120"
    assert answer_text(BUILT_IN["short"], box, SIZE) == ' true, "bbox_2d": [000,008,048,120]}'


def test_the_decision_is_the_first_thing_said() -> None:
    contract = BUILT_IN["short"]
    assert answer_text(contract, (1, 2, 3, 4), SIZE).startswith(JSON.visible)
    assert answer_text(contract, None, SIZE).startswith(JSON.absent)


@pytest.mark.parametrize(
    "garbage",
    ["", "]", "the red cup", "1, 2, 3", "1, 2, 3, 4, 5", "1, 2, 3]4", "9" * 40, "x1, y1, x2, y2", "{}, [1]"],
)
def test_no_box_is_read_from_garbage(garbage: str) -> None:
    assert JSON.parse(garbage) is None


@quick
@given(text=texts)
def test_any_text_can_be_read(text: str) -> None:
    box = JSON.parse(text)
    assert box is None or len(box) == 4


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("1,2,3,4", (1, 2, 3, 4)),
        ("001,002,030,400]}", (1, 2, 30, 400)),
        ("1.5, -2, 3, 4.25]", (1.5, -2, 3, 4.25)),
        ("1 2 3 4], [5, 6", (1, 2, 3, 4)),
    ],
)
def test_four_numbers_are_a_box(text: str, box: Box) -> None:
    assert JSON.parse(text) == box


@pytest.mark.parametrize(
    ("resized", "box"),
    [
        ((10, 10, 20, 20), (20, 5, 40, 10)),
        ((-5, -5, 20, 20), (0, 0, 40, 10)),
        ((90, 90, 999, 999), (180, 45, 200, 50)),
        ((20, 20, 10, 30), None),  # inside out
        ((100, 0, 120, 50), None),  # beside the frame
        ((10, 10, 10, 20), (20, 5, 22, 10)),  # no width: one unit
        ((100, 10, 100, 10), (198, 5, 200, 5.5)),  # the last unit at the right edge
        ((101, 10, 101, 20), None),
        ((-1, 10, -1, 20), None),
    ],
)
def test_a_decoded_box_ends_inside_the_frame(resized: Box, box: Box | None) -> None:
    assert to_frame(BUILT_IN["instruct"], resized, (100, 100), (200, 50)) == box


# ---- questions -----------------------------------------------------------------------------------


def asked(contract: Contract, words: str, has_template: bool, is_marked: bool) -> list[dict[str, str]]:
    (message,) = messages(contract, words, has_template, is_marked)
    assert message["role"] == "user"
    parts: list[dict[str, str]] = message["content"]
    return parts


@contracts
@pytest.mark.parametrize("is_marked", [False, True])
@pytest.mark.parametrize("has_template", [False, True])
def test_words_come_first_and_the_search_image_last(
    contract: Contract, has_template: bool, is_marked: bool
) -> None:
    parts = asked(contract, "the red cup", has_template, is_marked)
    assert parts[0]["type"] == "text" and "the red cup" in parts[0]["text"]
    assert not any("the red cup" in part.get("text", "") for part in parts[1:])
    assert [part == IMAGE for part in parts] == [False, True] * (1 + has_template)


@pytest.mark.parametrize(("name", "numbers"), [("instruct", "pixels of"), ("instruct3", "thousandths of")])
def test_a_question_says_what_the_contract_counts(name: str, numbers: str) -> None:
    assert f"corners of its box in {numbers}" in asked(BUILT_IN[name], "x", False, False)[0]["text"]
    (message,) = messages(BUILT_IN[name], "x", False, False, "frame")
    assert "in pixels of the search frame before it was resized" in message["content"][0]["text"]


@contracts
def test_a_marked_frame_is_announced_otherwise_than_an_unmarked_one(contract: Contract) -> None:
    assert asked(contract, "x", False, True) != asked(contract, "x", False, False)


STRANGE = [
    '{"visible": true}',
    "{expression} {0} {}",
    'the "so-called" cup',
    "two\nlines",
    "{{ x }}{% if %}",
    "100 %s",
]


@contracts
@quick
@given(words=st.one_of(st.sampled_from(STRANGE), texts))
def test_words_survive_unharmed(contract: Contract, words: str) -> None:
    empty, full = (asked(contract, text, False, False)[0]["text"] for text in ("", words))
    before = len(WORDINGS[contract.wording].question.split("{expression}")[0])
    assert full == empty[:before] + words + empty[before:]


@pytest.mark.parametrize("name", WORDINGS)
def test_every_wording_renders(name: str) -> None:
    contract = dataclasses.replace(Contract(), wording=name)
    text = "".join(part.get("text", "") for part in asked(contract, "the cup", True, True))
    assert "{{" not in text and "{expression}" not in text and "_image}" not in text
    assert "the cup" in text or "{template_box}" in WORDINGS[name].question
    assert name in TRAINED_WORDINGS or name in ("vptracker", "qwen", "phrase") or name.startswith("r1_track")


def test_every_built_in_contract_has_a_wording_and_room_for_its_numbers() -> None:
    for contract in BUILT_IN.values():
        assert contract.wording in WORDINGS and contract.min_pixels <= contract.max_pixels
        longest = (8 * contract.max_pixels) ** 0.5  # pixels of the longer side of an image of eight to one
        longest = longest if contract.coordinates != "thousand" else 1000
        assert contract.digits == 0 or 10**contract.digits > longest
