"""Results and truth whose numbers are no x,y,w,h in pixels are told; those that are merely poor are not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from box_miniature import columns, lines, write_toolkit

from configs.errors import UserError
from evaluation.boxes.evaluation import evaluate_boxes
from evaluation.boxes.forms import other_form, truth_note
from evaluation.boxes.protocol import BoxProtocol
from evaluation.boxes.ragged import BoxResults, BoxTruth
from evaluation.config import EvaluationSettings
from evaluation.protocols.matlab_toolkits import TNLLT
from evaluation.protocols.registry import protocol_of

SIZE = (640, 360)
FRAMES = 25
PROTOCOLS = ("tnllt", "lasot", "tnl2k", "otb", "pytracking", "got10k")


def moving(sequences: int, seed: int = 0) -> list[list[list[float]]]:
    """Boxes that wander through frames of 640x360, in `sequences` of 25 frames."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(sequences):
        side = rng.uniform(30, 90, 2)
        corner = rng.uniform((60, 60), np.subtract(SIZE, 160)) + np.cumsum(rng.normal(0, 3, (FRAMES, 2)), 0)
        found.append(np.column_stack([corner, np.tile(side, (FRAMES, 1))]).round(1).tolist())
    return found


def noisy(boxes: list[list[list[float]]], by: float = 4.0) -> list[list[list[float]]]:
    """The same, inexact but for the first frame of each sequence, which trackers copy from the truth."""
    rng = np.random.default_rng(1)
    return [
        [each[0], *(np.array(each[1:]) + rng.normal(0, by, (len(each) - 1, 4))).round(2).tolist()]
        for each in boxes
    ]


def corners(boxes: list[list[list[float]]], first: bool = True) -> list[list[list[float]]]:
    """x1,y1,x2,y2; the first frames too, or as they are."""
    return [
        [[x, y, x + w, y + h] if first or at else [x, y, w, h] for at, (x, y, w, h) in enumerate(each)]
        for each in boxes
    ]


def shares(boxes: list[list[list[float]]]) -> list[list[list[float]]]:
    return [(np.array(each) / (SIZE * 2)).round(6).tolist() for each in boxes]


TRUTH = moving(4)
GOOD = noisy(TRUTH)
FLAGS = [[1] * FRAMES] * 4


@pytest.fixture
def root(tmp_path: Path) -> Path:
    results = {
        "good": GOOD,
        "corners": corners(GOOD),
        "late": corners(GOOD, first=False),
        "part": shares(GOOD),
    }
    write_toolkit(tmp_path, TRUTH, FLAGS, results)
    return tmp_path


def settings(root: Path, *trackers: str, **more: Any) -> EvaluationSettings:
    given = EvaluationSettings(truth=str(root / "annos"), results=str(root / "tracking_results"))
    return replace(given, trackers=list(trackers), **more)


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("tracker", ["corners", "late"])
def test_corners_are_told_and_read_where_they_are_given(root: Path, name: str, tracker: str) -> None:
    protocol = protocol_of(name)
    assert isinstance(protocol, BoxProtocol)
    for number in range(len(TRUTH)):
        flag = 1 - (protocol.absent_flag or 0)
        (root / "annos" / "absent" / f"s{number}.txt").write_text(f"{flag}\n" * FRAMES)
    with pytest.raises(UserError) as told:
        evaluate_boxes(protocol, settings(root, tracker, "good"))
    (line,) = str(told.value).splitlines()
    assert f"the boxes of {tracker} seem to be x1,y1,x2,y2" in line and "give boxes=xyxy" in line
    if tracker == "corners":
        (read,) = evaluate_boxes(protocol, settings(root, "corners", boxes="xyxy")).trackers
        (right,) = evaluate_boxes(protocol, settings(root, "good")).trackers
        assert read.overall == pytest.approx(right.overall, nan_ok=True)
    insisted = evaluate_boxes(protocol, settings(root, tracker, boxes="xywh"))
    assert [note for note in insisted.notes if "seem to be x1,y1,x2,y2" in note]


def test_a_tracker_whose_form_is_not_the_one_given_is_noted(root: Path) -> None:
    found = evaluate_boxes(TNLLT, settings(root, "corners", "good", boxes="xyxy"))
    (note,) = [note for note in found.notes if "seem to be" in note]
    assert "the boxes of good seem to be x,y,w,h" in note and "give boxes=xywh" in note


def test_shares_of_the_frame_are_told(root: Path) -> None:
    with pytest.raises(UserError, match="of part seem to be fractions of the width and height of the frame"):
        evaluate_boxes(TNLLT, settings(root, "part"))


def test_the_key_is_refused_where_it_has_no_effect(root: Path) -> None:
    with pytest.raises(UserError, match="boxes=xyxy: protocol=votsr scores masks"):
        protocol_of("votsr").evaluate(settings(root, boxes="xyxy", protocol="votsr"))
    with pytest.raises(UserError, match="boxes=xyxy: layout=masks takes the boxes of masks"):
        TNLLT.evaluate(settings(root, boxes="xyxy", layout="masks"))


def truth_of(boxes: list[list[list[float]]], **more: Any) -> BoxTruth:
    starts = np.concatenate([[0], np.cumsum([len(each) for each in boxes])])
    names = tuple(f"s{number}" for number in range(len(boxes)))
    return BoxTruth("invented", names, starts, columns(boxes), **more)


POOR = {
    "far off": (0.0, 60.0, 1.0),
    "beside": (1.0, 2.0, 1.0),
    "half beside": (0.5, 2.0, 1.0),
    "half as large": (0.0, 2.0, 0.5),
    "twice as large": (0.0, 2.0, 2.0),
    "three times as large": (-0.3, 5.0, 3.0),
}


@pytest.mark.parametrize("name", POOR)
@pytest.mark.parametrize("seed", range(5))
def test_poor_results_are_no_other_form(name: str, seed: int) -> None:
    shift, noise, scale = POOR[name]
    truth = truth_of(moving(3, seed))
    found = truth.boxes_xywh.copy()
    found[:2] += shift * found[2:]
    found[2:] *= scale
    found += np.random.default_rng(seed).normal(0, noise, found.shape)
    assert other_form(BoxResults("poor", found), truth) is None


@pytest.mark.parametrize(
    "line", [(0, 0, 0, 0), (np.nan,) * 4, (1, 1, 1, 1), (0, 0, 640, 360), (0, 0, np.inf, 1)]
)
def test_empty_boxes_and_whole_frames_are_no_other_form(line: tuple[float, ...]) -> None:
    truth = truth_of(TRUTH)
    for absent in (None, np.arange(truth.num_frames) % 2 == 0):
        found = np.tile(np.array(line, np.float64)[:, None], truth.num_frames)
        found[:, truth.starts[:-1]] = truth.boxes_xywh[:, truth.starts[:-1]]
        assert other_form(BoxResults("none", found), replace(truth, absent=absent)) is None


def test_absent_frames_and_tiny_targets_say_nothing() -> None:
    truth = truth_of(TRUTH)
    found = BoxResults("corners", columns(corners(GOOD)))
    assert other_form(found, truth) is not None
    assert other_form(found, replace(truth, absent=np.ones(truth.num_frames, bool))) is None
    tiny = truth_of([[[0.2, 0.3, 0.5, 0.6]] * 25])
    assert other_form(BoxResults("tiny", tiny.boxes_xywh), tiny) is None


def test_truth_in_another_form_is_noted(root: Path) -> None:
    for boxes, told in ((corners(TRUTH), "seem to be x1,y1,x2,y2"), (shares(TRUTH), "seem to be fractions")):
        for number, each in enumerate(boxes):
            (root / "annos" / f"s{number}.txt").write_text(lines(each))
        notes = evaluate_boxes(TNLLT, settings(root, "good", missing="count", boxes="xywh")).notes
        assert [note for note in notes if "the truth" in note and told in note]
    assert truth_note(truth_of(TRUTH)) is None
    assert truth_note(truth_of(corners(moving(12)))) is not None
    large = [[[5.0, 5.0, 300.0 + at, 200.0 + at] for at in range(25)]]  # near the corner, and growing
    assert truth_note(truth_of(large)) is None
