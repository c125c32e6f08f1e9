"""OTB99-Lang: its layout in miniature, with the ways in which copies name a second target."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs.errors import UserError
from data_prep.readers.otb99 import OTB99
from data_prep.sequence import Sequence
from tests.dataset_miniature import CAR, DOG, SIZE, Video, assert_same, grey_of, write_frames


def write_query(root: Path, part: str, name: str, words: str) -> None:
    folder = root / f"OTB_query_{part}"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.txt").write_text(words)


def write_video(
    root: Path, name: str, video: Video, boxes: str = "groundtruth_rect.txt", first: int = 1
) -> Path:
    folder = root / "OTB_videos" / name
    write_frames(folder / "img", video, "{:04d}.jpg", first)
    (folder / boxes).write_text(video.lines())
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_video(tmp_path, "Car", CAR)
    write_video(tmp_path, "Dog", DOG, first=247)
    write_query(tmp_path, "train", "Car", f"{CAR.prompt}\n")
    write_query(tmp_path, "test", "Dog", DOG.prompt)
    return tmp_path


def read(root: Path, name: str) -> Sequence:
    return OTB99.read(next(entry for entry in OTB99.find(root, "all") if entry.name == name))


def test_the_query_folders_are_the_splits(root: Path) -> None:
    (root / "OTB_query_test" / "._Dog.txt").write_bytes(b"\0\5\x16\7")
    for split, names in (("train", ["Car"]), ("test", ["Dog"]), ("all", ["Car", "Dog"])):
        assert [entry.name for entry in OTB99.find(root, split)] == names


def test_sequences_are_read(root: Path) -> None:
    assert_same(read(root, "Car"), CAR, "Car")
    assert_same(read(root, "Dog"), DOG, "Dog")


def test_boxes_by_tabs_with_a_line_by_blanks(root: Path) -> None:
    lines = CAR.lines("\t").splitlines()
    lines[1] = lines[1].replace("\t", " ")
    (root / "OTB_videos" / "Car" / "groundtruth_rect.txt").write_text("\n".join(lines))
    assert_same(read(root, "Car"), CAR, "Car")


@pytest.mark.parametrize(
    ("folder", "boxes", "query"),
    [
        ("Skating2-2", "groundtruth_rect.2.txt", "Skating2-2"),
        ("Skating2-2", "groundtruth_rect.txt", "Skating2-2"),
        ("Jogging", "groundtruth_rect.2.txt", "Jogging-2"),
        ("Jogging", "groundtruth_rect.txt", "Jogging-1"),
        ("Human4", "groundtruth_rect.2.txt", "Human4"),
        ("Human4", "groundtruth_rect.2.txt", "Human4_2"),
        ("Human4", "groundtruth_rect.txt", "Human4_2"),
    ],
)
def test_a_second_target_however_a_copy_names_it(root: Path, folder: str, boxes: str, query: str) -> None:
    path = write_video(root, folder, CAR, boxes)
    if boxes != "groundtruth_rect.txt":
        (path / "groundtruth_rect.1.txt").write_text("" if folder == "Human4" else "1,1,1,1\n" * 5)
    write_query(root, "test", query, CAR.prompt)
    assert_same(read(root, query), CAR, query)


def test_the_boxes_of_the_first_target_are_not_taken_for_the_second(root: Path) -> None:
    write_video(root, "Jogging", CAR)
    write_query(root, "train", "Jogging-2", "the man")
    with pytest.raises(UserError, match=r"Jogging: no groundtruth_rect\.2\.txt; restore it"):
        read(root, "Jogging-2")


@pytest.mark.parametrize("whole", [True, False])
def test_the_boxes_of_david_begin_late(root: Path, whole: bool) -> None:
    folder = root / "OTB_videos" / "David"
    (folder / "img").mkdir(parents=True)
    first = folder / "img" / f"{1 if whole else 300:04d}.jpg"
    Image.fromarray(np.zeros((SIZE[1], SIZE[0], 3), np.uint8)).save(first)
    for number in range(2 if whole else 301, 304):
        (folder / "img" / f"{number:04d}.jpg").hardlink_to(first)
    (folder / "img" / "0300.jpg").unlink()
    Image.fromarray(CAR.picture(8)).save(folder / "img" / "0300.jpg")
    (folder / "groundtruth_rect.txt").write_text("129,80,64,78\n" * 4)
    write_query(root, "train", "David", "the face")
    sequence = read(root, "David")
    assert [path.name for path in sequence.frames.paths] == [f"0{number}.jpg" for number in range(300, 304)]
    assert grey_of(sequence.frames.paths[0]) == 90
    assert [("boxes begin after 299 frames" in note) for note in sequence.notes] == ([True] if whole else [])


def test_more_frames_than_boxes_are_left_and_told(root: Path) -> None:
    (root / "OTB_videos" / "Car" / "groundtruth_rect.txt").write_text("2,3,8,6\n" * 3)
    sequence = read(root, "Car")
    assert len(sequence.frames) == 3 and "5 frames for 3 boxes" in sequence.notes[0]


def test_an_empty_text_is_no_prompt(root: Path) -> None:
    write_query(root, "train", "Car", "")
    assert read(root, "Car").expressions == ()


def test_faults_are_told(root: Path) -> None:
    (root / "OTB_videos" / "Car" / "groundtruth_rect.txt").write_text("")
    with pytest.raises(UserError, match=r"groundtruth_rect\.txt: holds no boxes"):
        read(root, "Car")
    write_query(root, "test", "Basketball", "the player")
    with pytest.raises(UserError, match=r"Basketball: no groundtruth_rect\.txt"):
        read(root, "Basketball")
    write_query(root, "test", "Car", "a car")
    with pytest.raises(UserError, match=r"OTB_query_test/Car\.txt: the same target as"):
        OTB99.find(root, "all")
    with pytest.raises(UserError, match=r"OTB_query_train: holds no queries; unpack"):
        OTB99.find(root / "OTB_videos", "train")
