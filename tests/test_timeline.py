"""Timelines: what they show of a trace, and when a run draws them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.sequence import ABSENT, PRESENT, UNKNOWN, Sequence, Truth
from data_prep.trace import Asked, TraceFrame
from data_prep.video.frames import ImageFrames
from infer.render.timeline import DPI, MAX_TRACKS, WIDTH, TimelineTrack, timeline, write_timeline
from infer.runs.timelines import true_presence
from infer.trackers.requests import State
from tests.votsr_miniature import SIZE, add_sequence, add_truth, disc

QUESTION = Asked("locate_frame", visible=0.9)
AGAIN = Asked("locate_region", True, 0.2)
SCORED = Asked("propagate", object_score=0.7, predicted_iou=0.9)
TRACE = [
    TraceFrame(1, "search", ("due", "not_found"), True, asked=(QUESTION,)),
    TraceFrame(2, "track", ("due", "found_and_confirmed"), presence_log_odds=2.0, asked=(QUESTION, AGAIN)),
    TraceFrame(3, "verify", ("due", "same_place"), presence_log_odds=0.0, asked=(SCORED, AGAIN)),
    TraceFrame(4, "lost", ("due", "presence_below_zero", "due", "not_found"), True, asked=(SCORED, AGAIN)),
    TraceFrame(5, "odd", (), True),
]


def test_bands_curves_ticks_and_reasons_are_those_of_the_trace() -> None:
    present = np.array([PRESENT, PRESENT, UNKNOWN, ABSENT, ABSENT], np.int8)
    (axes,) = timeline("walk", [TimelineTrack("the $red$ cup", TRACE)], present).axes
    score, presence, visible = axes.get_lines()
    assert np.array_equal(score.get_ydata(), [np.nan, np.nan, 0.7, 0.7, np.nan], equal_nan=True)
    assert presence.get_ydata()[1:3] == pytest.approx([1 / (1 + np.exp(-2)), 0.5])
    assert [*zip(visible.get_xdata(), visible.get_ydata(), strict=True)] == [
        (1, 0.9), (2, 0.9), (2, 0.2), (3, 0.2), (4, 0.2),
    ]  # fmt: skip
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["▾ found and confirmed", "▾ presence below zero"]
    searches, others = (len(lines.get_segments()) for lines in axes.collections[-2:])
    assert (searches, others) == (2, 3)
    # Two bands for each state, and two runs of known truth.
    spans = [path.get_extents() for band in axes.collections[:-2] for path in band.get_paths()]
    assert len(spans) == 2 * len(TRACE) + 2
    assert [(span.x0, span.x1) for span in spans[:2]] == [(0.5, 1.5)] * 2 and spans[-1].x1 == 5.5


def test_any_trace_is_a_picture_of_one_width(tmp_path: Path) -> None:
    many = [TimelineTrack(f"number {each}", TRACE[:1]) for each in range(MAX_TRACKS + 2)]
    heights = []
    for tracks in ([TimelineTrack("", [])], many[:2], many):
        write_timeline(tmp_path / "timeline.png", "walk\n", tracks)
        width, height = Image.open(tmp_path / "timeline.png").size
        assert width == WIDTH * DPI
        heights.append(height)
    assert heights == sorted(heights) and len(timeline("walk", many, None).axes) == MAX_TRACKS
    assert [path.name for path in tmp_path.iterdir()] == ["timeline.png"]


def test_every_state_has_a_colour_in_the_legend() -> None:
    trace = [TraceFrame(number, state) for number, state in enumerate(State, 1)]
    (legend,) = timeline("walk", [TimelineTrack("the cup", trace)], None).legends
    assert [text.get_text() for text in legend.get_texts()][: len(State)] == list(State)


def test_presence_is_that_of_a_data_set_or_of_a_workspace(tmp_path: Path) -> None:
    folder = add_sequence(tmp_path, "ball", 4, ("the cup",))
    frames = ImageFrames(sorted((folder / "color").iterdir()), SIZE)
    workspace = Sequence("ball", frames, ("the cup",), folder=folder)
    assert true_presence(workspace) is None
    add_truth(folder, [disc(20, 20, 8), None, None, None], [True, True, False, True])
    known = true_presence(workspace)
    assert known is not None and list(known) == [PRESENT, ABSENT, UNKNOWN, ABSENT]
    flags = np.array([PRESENT, UNKNOWN, ABSENT, ABSENT], np.int8)
    data_set = Sequence("ball", frames, ("the cup",), truth=Truth(np.zeros((4, 4)), flags))
    assert true_presence(data_set) is flags
    unknown = Sequence("ball", frames, ("the cup",), truth=Truth(np.zeros((4, 4)), np.full(4, UNKNOWN)))
    assert true_presence(unknown) is None
