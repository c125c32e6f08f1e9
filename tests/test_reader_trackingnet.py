"""TrackingNet: its chunks in miniature, its numbering from 0, its classes and its one test box."""

from pathlib import Path

import numpy as np
import pytest

from configs.errors import UserError
from data_prep.readers.trackingnet import TRACKINGNET
from data_prep.sequence import PRESENT, UNKNOWN, Sequence
from tests.dataset_miniature import CAR, DOG, Video, assert_same, write_frames
from tests.index_miniature import is_watched

# More than ten frames, since unpadded names sort wrongly from there on; corners outside the picture.
LONG = Video("-a_B1_0", tuple((side - 5.5, side - 4.25, 8, 6) for side in range(12)), "a potted plant")


def write(root: Path, chunk: str, video: Video, boxes: str | None = None) -> None:
    write_frames(root / chunk / "frames" / video.name, video, "{}.jpg", first=0)
    path = root / chunk / "anno" / f"{video.name}.txt"
    path.parent.mkdir(exist_ok=True)
    lines = "".join(f"  {line}\r\n" for line in video.lines().splitlines())
    path.write_bytes((lines if boxes is None else boxes).encode())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "TRAIN_10", CAR)
    write(tmp_path, "TRAIN_2", LONG)
    write(tmp_path, "TRAIN_2", DOG)
    write(tmp_path, "TEST", Video("test_0", CAR.boxes_xywh, ""), boxes="2.00,3.00,8.00,6.00")
    (tmp_path / "TRAIN_2" / "zips").mkdir()
    classes = "".join(f"{video.name}\t{video.prompt}\n" for video in (CAR, LONG, DOG))
    (tmp_path / "trackingnet_classmap.txt").write_text(classes)
    return tmp_path


def read(root: Path, name: str, split: str = "all") -> Sequence:
    return TRACKINGNET.read(next(entry for entry in TRACKINGNET.find(root, split) if entry.name == name))


def test_chunks_in_the_order_of_their_numbers(root: Path) -> None:
    train = ["-a_B1_0", "dog-12", "car-1"]
    assert [entry.name for entry in TRACKINGNET.find(root, "train")] == train
    assert [entry.name for entry in TRACKINGNET.find(root, "test")] == ["test_0"]
    assert [entry.name for entry in TRACKINGNET.find(root, "all")] == [*train, "test_0"]


@pytest.mark.parametrize("video", [CAR, DOG, LONG], ids=lambda video: video.name)
def test_sequences_are_read_with_their_class_as_prompt(root: Path, video: Video) -> None:
    sequence = read(root, video.name)
    assert_same(sequence, video)
    assert sequence.metadata["class"] == video.prompt


def test_without_a_class_there_is_no_prompt(root: Path) -> None:
    assert read(root, "test_0").expressions == (), "most test names are not in the map"
    (root / "trackingnet_classmap.txt").unlink()
    sequence = read(root, "car-1")
    assert sequence.expressions == () and sequence.metadata == {"chunk": "TRAIN_10"}


def test_the_test_chunk_gives_one_box(root: Path) -> None:
    sequence = read(root, "test_0", "test")
    assert sequence.truth is not None and len(sequence.frames) == 5 and sequence.notes == ()
    assert sequence.truth.boxes_xywh[0].tolist() == [2, 3, 8, 6]
    assert np.isnan(sequence.truth.boxes_xywh[1:]).all()
    assert sequence.truth.present.tolist() == [PRESENT] + 4 * [UNKNOWN]


def test_a_name_with_boxes_or_frames_alone_is_listed_and_told_when_read(root: Path) -> None:
    (root / "TRAIN_2" / "anno" / "boxes_0.txt").write_text("1,2,3,4\n")
    (root / "TRAIN_2" / "frames" / "empty_0").mkdir()
    write_frames(root / "TRAIN_2" / "frames" / "frames_0", CAR, "{}.jpg", first=0)
    for name, told in (
        ("boxes_0", r"boxes_0: no such folder of frames"),
        ("empty_0", r"empty_0: holds no images"),
        ("frames_0", r"frames_0\.txt: no such file"),
    ):
        with pytest.raises(UserError, match=told):
            read(root, name)


@pytest.mark.parametrize(
    ("boxes", "told"),
    [
        ("1,2,3,4\n1,2,3\n", r"car-1\.txt: line 2 is not four numbers"),
        ("1,2,3,4\n" * 9, r"frames/car-1: 5 frames for 9 boxes"),
    ],
)
def test_faulty_boxes_are_told(root: Path, boxes: str, told: str) -> None:
    (root / "TRAIN_10" / "anno" / "car-1.txt").write_text(boxes)
    with pytest.raises(UserError, match=told):
        read(root, "car-1")


def test_more_frames_than_boxes_are_left_and_told(root: Path) -> None:
    (root / "TRAIN_10" / "anno" / "car-1.txt").write_text("2,3,8,6\n")
    sequence = read(root, "car-1")
    assert len(sequence.frames) == 1 and "5 frames for 1 box;" in sequence.notes[0]


def test_a_name_in_two_chunks_is_refused(root: Path) -> None:
    write(root, "TRAIN_3", CAR)
    with pytest.raises(UserError, match="car-1 lies in 2 chunks"):
        TRACKINGNET.find(root, "train")


def test_missing_chunks_boxes_and_a_faulty_class_map_are_told(root: Path) -> None:
    with pytest.raises(UserError, match=r"anno: holds none of TRAIN_0, TRAIN_1"):
        (root / "TRAIN_2" / "anno" / "x").mkdir()
        TRACKINGNET.find(root / "TRAIN_2" / "anno", "train")
    with pytest.raises(UserError, match="no such folder"):
        TRACKINGNET.find(root / "nothing", "test")
    (root / "TRAIN_0").mkdir()
    with pytest.raises(UserError, match=r"TRAIN_0/anno: no such folder"):
        TRACKINGNET.find(root, "train")
    (root / "trackingnet_classmap.txt").write_text("car-1\tcar\n\ndog-12 dog\n")
    with pytest.raises(UserError, match=r"trackingnet_classmap\.txt: line 3 is not"):
        TRACKINGNET.find(root, "test")


@pytest.mark.parametrize("path", ["anno/dog-12.txt", "frames/dog-12"])
def test_boxes_and_frames_of_a_chunk_are_watched(root: Path, path: str) -> None:
    assert is_watched(root / "TRAIN_2" / path, TRACKINGNET, root, "train")
