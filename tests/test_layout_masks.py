"""`layout=masks`: box protocols score the boxes around masks."""

from pathlib import Path

import numpy as np
import pytest

from configs.errors import UserError
from data_prep.sequence import PRESENT
from data_prep.votsr.regions import encode_mask
from evaluation.boxes.evaluation import evaluate_boxes
from evaluation.config import EvaluationSettings
from evaluation.protocols import got10k
from evaluation.protocols.matlab_toolkits import TNLLT
from evaluation.report.frame_sources import IndexFrames
from evaluation.scores import Evaluation
from tests.index_miniature import COMING, SEEN, SIZE, index_of, video

VIDEOS = (video("cup", SEEN, seed=1), video("dog", COMING, seed=2))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An index, and a tracker whose boxes and masks say the same: whole pixels near the truth."""
    index_of(tmp_path / "lasot-test.arrow", VIDEOS, "lasot")
    folder = tmp_path / "results" / "mine"
    (folder / "masks").mkdir(parents=True)
    for each in VIDEOS:
        boxes, lines = [], []
        for (x, y, width, height), present in zip(each.truth.boxes_xywh, each.truth.present, strict=True):
            mask = np.zeros((SIZE[1], SIZE[0]), bool)
            if present == PRESENT:
                left, top = int(x) + 2, int(y)
                mask[top : top + int(height), left : left + int(width)] = True
                boxes.append(f"{left},{top},{int(width)},{int(height)}")
            else:
                boxes.append("0,0,0,0")
            lines.append(encode_mask(mask))
        (folder / f"{each.name}.txt").write_text("\n".join(boxes))
        (folder / "masks" / f"{each.name}.txt").write_text("\n".join(lines))
    return tmp_path


def settings(root: Path, layout: str, **more: str) -> EvaluationSettings:
    return EvaluationSettings(
        data="lasot", indexes=str(root), results=str(root / "results"), layout=layout, **more
    )


def scored(root: Path, layout: str, protocol: object = got10k.PROTOCOL, **more: str) -> Evaluation:
    return evaluate_boxes(protocol, settings(root, layout, **more))


@pytest.mark.parametrize("protocol", [got10k.PROTOCOL, TNLLT])
def test_masks_score_as_their_boxes_do(root: Path, protocol: object) -> None:
    boxes, masks = (scored(root, layout, protocol) for layout in ("data", "masks"))
    assert [each.tracker for each in masks.trackers] == ["mine"]
    np.testing.assert_equal(masks.trackers[0].overall, boxes.trackers[0].overall)
    assert 40 < masks.trackers[0].overall[masks.measures.metrics[0].key] < 100


def test_a_picture_shows_the_box_around_a_mask(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "data_prep.video.frames.ImageFrames.read", lambda *_: np.zeros((*SIZE[::-1], 3), np.uint8)
    )
    boxes, masks = (IndexFrames.of(settings(root, layout))(1, 6, ("mine",)) for layout in ("data", "masks"))
    assert masks.results == boxes.results and masks.results["mine"] is not None
    assert IndexFrames.of(settings(root, "masks"))(1, 0, ("mine",)).results == {"mine": None}


def test_faults_of_masks_name_their_line(root: Path) -> None:
    path = root / "results" / "mine" / "masks" / "dog.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], "m1,2,3,4,5,x", *lines[4:]]))
    (root / "results" / "mine" / "masks" / "cup.txt").unlink()
    with pytest.raises(UserError) as told:
        scored(root, "masks")
    missing, wrong = sorted(str(told.value).splitlines())
    assert "cup.txt: no such file" in missing and f"{path}: line 4 is no mask" in wrong
    assert scored(root, "masks", missing="count").trackers[0].overall["ao"] < 50


def test_annotations_alone_do_not_tell_the_frames_sizes(root: Path) -> None:
    (root / "annos").mkdir()
    for each in VIDEOS:
        (root / "annos" / f"{each.name}.txt").write_text("1,2,3,4\n" * len(each.frames))
    told = EvaluationSettings(truth=str(root / "annos"), results=str(root / "results"), layout="masks")
    with pytest.raises(UserError, match="layout=masks: needs the sizes of frames"):
        evaluate_boxes(got10k.PROTOCOL, told)
