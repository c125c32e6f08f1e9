"""Traces: their lines, how they are read, and what a run writes."""

import dataclasses
import json
import math
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import UserError
from data_prep.contract.contract import BUILT_IN
from data_prep.trace import REQUESTS, Asked, TraceFrame, parse_trace, read_trace, trace_line
from infer.engine.engine import Engine
from infer.trackers.per_frame import PerFrameConfig, per_frame_tracker
from infer.trackers.requests import Reason
from tests.scripted import ScriptedGrounding, ScriptedMasking, frame

NUMBERS = st.none() | st.floats(-1e6, 1e6).map(lambda value: round(value, 4))
SIDES = st.floats(-1e6, 1e6).map(lambda value: round(value, 2))
TEXTS = st.text(max_size=8)
ASKED = st.builds(
    Asked,
    st.sampled_from(REQUESTS),
    st.booleans(),
    NUMBERS,
    st.none() | st.tuples(SIDES, SIDES, SIDES, SIDES),
    NUMBERS,
    NUMBERS,
    NUMBERS,
    NUMBERS,
)
FRAMES = st.builds(
    TraceFrame,
    st.just(1),
    TEXTS,
    st.lists(TEXTS, max_size=2).map(tuple),
    st.booleans(),
    NUMBERS,
    NUMBERS,
    NUMBERS,
    st.lists(ASKED, max_size=2).map(tuple),
)


@settings(max_examples=40)
@given(st.lists(FRAMES, max_size=2))
def test_what_was_written_is_read(frames: list[TraceFrame]) -> None:
    frames = [dataclasses.replace(each, frame=number) for number, each in enumerate(frames, 1)]
    text = "".join(f"{trace_line(each)}\n" for each in frames)
    assert parse_trace(text, "trace") == frames
    assert text.count("\n") == len(frames)  # whatever the texts hold, a frame is one line


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from([each.name for kind in (Asked, TraceFrame) for each in dataclasses.fields(kind)])


@given(st.one_of(st.text(), st.dictionaries(FIELDS, JSON).map(json.dumps), JSON.map(json.dumps)))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        frames = parse_trace(f"{text}\n", "trace")
    except UserError as fault:
        assert str(fault).startswith("trace: ") and "\n" not in str(fault)
    else:
        assert parse_trace("".join(f"{trace_line(each)}\n" for each in frames), "trace") is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"frame":1,"state":"track"}', "cut short"),
        ('{"frame":1,"state":"track"}\n', "another number of frames"),
        ('{"frame":1,"state":"track"}\n{"frame":3,"state":"track"}\n', "line 2 .*3 instead of 2"),
        ('{"frame":1,"state":"track"}\n{"frame":2}\n', "line 2 is damaged"),
        ('{"frame":1,"state":"track","confidence":NaN}\n{}\n', "line 1 .*NaN"),
        ('{"frame":1,"state":"track","confidence":1e999}\n{}\n', "line 1 is damaged"),
        ('{"frame":true,"state":"track"}\n{}\n', "line 1 is damaged"),
    ],
)
def test_damage_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "trace.jsonl").write_text(text)
    with pytest.raises(UserError, match=words):
        read_trace(tmp_path / "trace.jsonl", 2)


def test_a_number_that_json_does_not_have_is_left_out() -> None:
    odd = TraceFrame(1, "track", confidence=math.nan, asked=(Asked("propagate", object_score=math.inf),))
    assert json.loads(trace_line(odd)) == {
        "frame": 1,
        "state": "track",
        "reasons": [],
        "asked": [{"request": "propagate"}],
    }


def test_a_belief_is_a_probability() -> None:
    believed = [TraceFrame(1, "track", presence_log_odds=odds).presence for odds in (-1e9, -1.0, 0.0, 1e9)]
    assert believed == [0.0, pytest.approx(1 / (1 + math.e)), 0.5, 1.0]
    assert TraceFrame(1, "track").presence is None


def test_the_engine_records_what_each_track_asked() -> None:
    box = (4.0, 4.0, 20.0, 20.0)
    tracker = per_frame_tracker(PerFrameConfig(0.5), BUILT_IN["short"])
    engine = Engine(ScriptedGrounding({"red": box}), ScriptedMasking())
    steps = list(engine.run([frame(), frame(1)], [partial(tracker, "red"), partial(tracker, "green")]))
    question = Asked("locate_frame", visible=0.9, box_xyxy=box, box_confidence=0.9)
    segment = Asked("segment", object_score=0.9, predicted_iou=0.9)
    assert [list(step.asked[0]) for step in steps] == [
        [question, segment],
        [dataclasses.replace(question, visual_prompt=True), segment],
    ]
    assert [[each.request for each in step.asked[1]] for step in steps] == [["locate_frame"]] * 2
    assert [step.reports[0].reasons for step in steps] == [(Reason.FOUND,)] * 2
    assert [step.reports[1].reasons for step in steps] == [(Reason.NOT_FOUND,)] * 2


def test_the_docs_have_every_reason_and_no_other() -> None:
    text = (Path(__file__).parent.parent / "docs" / "inference.md").read_text()
    table = text.split("| reason | meaning |\n|---|---|\n")[1].split("\n\n")[0]
    assert {line.split("`")[1] for line in table.splitlines()} == {str(reason) for reason in Reason}
