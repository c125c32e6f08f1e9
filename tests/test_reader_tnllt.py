"""TNLLT: its layout in miniature, and the official lists."""

from pathlib import Path

import numpy as np
import pytest

from configs.errors import UserError
from data_prep.readers.tnllt import TNLLT
from data_prep.sequence import ABSENT, PRESENT, UNKNOWN
from tests.dataset_miniature import CAR, DOG, VIDEOS, Video, assert_same, write_frames


def write(root: Path, video: Video) -> Path:
    folder = root / video.name
    write_frames(folder / "imgs", video, "{:05d}.png")
    (folder / "groundtruth.txt").write_text(video.lines())
    (folder / "language.txt").write_text(video.prompt)
    (folder / "absent_label.txt").write_text(
        "".join("01"[box is not None] + "\n" for box in video.boxes_xywh)
    )
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for video in VIDEOS:
        write(tmp_path, video)
    (tmp_path / "train_split.txt").write_text("dog-12\ncar-1")
    return tmp_path


def test_the_list_orders_the_sequences_and_all_takes_every_folder(root: Path) -> None:
    (root / ".unpacking").mkdir()
    assert [entry.name for entry in TNLLT.find(root, "train")] == ["dog-12", "car-1"]
    assert [entry.name for entry in TNLLT.find(root, "all")] == ["car-1", "dog-12"]


def test_sequences_are_read(root: Path) -> None:
    for entry, video in zip(TNLLT.find(root, "train"), (DOG, CAR), strict=True):
        assert_same(TNLLT.read(entry), video)


def test_zero_means_absent_whatever_the_box_says(root: Path) -> None:
    (root / "car-1" / "groundtruth.txt").write_text("2,3,8,6\n3,3,8,6\n4,4,8,6\n0,0,0,0\n6,4,9,7\n")
    truth = TNLLT.read(TNLLT.find(root, "train")[1]).truth
    assert truth is not None
    assert truth.present.tolist() == [PRESENT, PRESENT, ABSENT, UNKNOWN, PRESENT]
    assert truth.boxes_xywh[2].tolist() == [4, 4, 8, 6], "boxes stay as they stand in the file"


def test_without_flags_an_empty_box_is_absent(root: Path) -> None:
    (root / "car-1" / "absent_label.txt").unlink()
    assert_same(TNLLT.read(TNLLT.find(root, "train")[1]), CAR)


def test_words_that_change_with_time(root: Path) -> None:
    (root / "car-1" / "language.txt").write_text("0 the red car\n3 the car that leaves\n")
    sequence = TNLLT.read(TNLLT.find(root, "train")[1])
    assert sequence.expressions == ("the red car", "the car that leaves") and sequence.spans == (
        (0, 3),
        (3, 5),
    )


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("groundtruth.txt", "1,2,3,4\n1,2,3\n", r"groundtruth\.txt: line 2 is not four numbers"),
        ("groundtruth.txt", "1,2,3,4\n" * 9, r"imgs: 5 frames for 9 boxes"),
        ("absent_label.txt", "1\n1\n", r"absent_label\.txt: 2 flags for 5 boxes"),
        ("language.txt", None, r"language\.txt: no such file"),
    ],
)
def test_a_fault_is_one_line_with_file_and_mend(
    root: Path, name: str, content: str | None, told: str
) -> None:
    path = root / "car-1" / name
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=told):
        TNLLT.read(TNLLT.find(root, "train")[1])


def test_more_frames_than_boxes_are_left_and_told(root: Path) -> None:
    (root / "car-1" / "groundtruth.txt").write_text("2,3,8,6\n" * 3)
    (root / "car-1" / "absent_label.txt").write_text("1\n" * 3)
    sequence = TNLLT.read(TNLLT.find(root, "train")[1])
    assert len(sequence.frames) == 3 and "5 frames for 3 boxes" in sequence.notes[0]


def test_a_frame_that_is_there_twice_is_refused(root: Path) -> None:
    (root / "car-1" / "imgs" / "00003.JPG").write_bytes(b"")
    with pytest.raises(UserError, match=r"imgs: holds 00003\.(JPG|png) and 00003\.(JPG|png); remove"):
        TNLLT.read(TNLLT.find(root, "train")[1])


def test_a_missing_list_and_a_name_that_leaves_the_root_are_refused(root: Path) -> None:
    with pytest.raises(UserError, match=r"test_split\.txt: no such file"):
        TNLLT.find(root, "test")
    (root / "test_split.txt").write_text("../car-1\n")
    with pytest.raises(UserError, match="leaves its folder"):
        TNLLT.find(root, "test")


def test_the_official_lists(shared_data: Path) -> None:
    train, test = (
        [entry.name for entry in TNLLT.find(shared_data / "tnllt", split)] for split in ("train", "test")
    )
    assert (len(train), len(test)) == (150, 50) and not set(train) & set(test)
    assert np.unique(train).size == 150
