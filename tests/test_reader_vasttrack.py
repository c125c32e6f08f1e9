"""VastTrack: its layout in miniature, merged and apart, and what its files vary in."""

from dataclasses import replace
from pathlib import Path

import pytest

from configs.errors import UserError
from data_prep.readers.vasttrack import VASTTRACK
from data_prep.sequence import Sequence
from tests.dataset_miniature import CAR, DOG, Video, assert_same, write_frames

MAGPIE = replace(DOG, name="Red-Billed Blue Magpie-3")
TRAIN_3, TRAIN_10 = replace(CAR, name="Train-3"), replace(CAR, name="Train-10")


def write(root: Path, video: Video) -> Path:
    folder = root / video.name.rpartition("-")[0] / video.name
    write_frames(folder / "imgs", video, "{:05d}.jpg")
    (folder / "Groundtruth.txt").write_text(video.lines())
    (folder / "nlp.txt").write_text(f"{video.prompt} \n")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Both splits in one root; the class `Train` is in both."""
    for video in (MAGPIE, TRAIN_3, TRAIN_10):
        write(tmp_path, video)
    (tmp_path / "vasttrack_test_list.txt").write_text("Train-10\nRed-Billed Blue Magpie-3")
    return tmp_path


def names(root: Path, split: str) -> list[str]:
    return [entry.name for entry in VASTTRACK.find(root, split)]


def read_train(root: Path) -> Sequence:
    return VASTTRACK.read(VASTTRACK.find(root, "train")[0])


def test_in_one_root_the_lists_tell_the_splits_apart(root: Path) -> None:
    assert names(root, "test") == ["Train-10", "Red-Billed Blue Magpie-3"]
    assert names(root, "train") == ["Train-3"]
    assert names(root, "all") == ["Red-Billed Blue Magpie-3", "Train-10", "Train-3"]
    (root / "vasttrack_train_split.txt").write_text("Train-3\nRed-Billed Blue Magpie-3\n")
    assert names(root, "train") == ["Train-3", "Red-Billed Blue Magpie-3"]


def test_splits_in_folders_need_no_list(tmp_path: Path) -> None:
    write(tmp_path / "train", TRAIN_3)
    write(tmp_path / "test", TRAIN_10)
    write(tmp_path / "test", MAGPIE)
    assert names(tmp_path, "train") == ["Train-3"]
    assert names(tmp_path, "test") == ["Red-Billed Blue Magpie-3", "Train-10"]
    assert names(tmp_path, "all") == ["Red-Billed Blue Magpie-3", "Train-10", "Train-3"]
    (tmp_path / "vasttrack_test_list.txt").write_text("Train-10\n")
    assert_same(VASTTRACK.read(VASTTRACK.find(tmp_path, "test")[0]), TRAIN_10)


def test_one_split_in_a_folder_is_not_taken_for_a_class(tmp_path: Path) -> None:
    write(tmp_path / "train", TRAIN_3)
    assert names(tmp_path, "all") == names(tmp_path, "train") == ["Train-3"]
    with pytest.raises(UserError, match=r"test: no such folder"):
        VASTTRACK.find(tmp_path, "test")


def test_sequences_are_read(root: Path) -> None:
    for entry, video in zip(VASTTRACK.find(root, "all"), (MAGPIE, TRAIN_10, TRAIN_3), strict=True):
        assert_same(VASTTRACK.read(entry), video)


def test_the_class_ends_at_the_last_hyphen(root: Path) -> None:
    sequence = VASTTRACK.read(VASTTRACK.find(root, "all")[0])
    assert sequence.metadata == {"class": "Red-Billed Blue Magpie"}


def test_spellings_of_the_boxes_and_the_frames(root: Path) -> None:
    folder = root / "Train" / "Train-3"
    (folder / "Groundtruth.txt").rename(folder / "groundtruth.txt")
    (folder / "imgs").rename(folder / "img")
    assert_same(read_train(root), TRAIN_3)


def test_a_sequence_without_words_is_read_and_told(root: Path) -> None:
    path = root / "Train" / "Train-3" / "nlp.txt"
    path.write_text(" \n")
    assert read_train(root).expressions == () and read_train(root).notes == ()
    path.unlink()
    sequence = read_train(root)
    assert sequence.expressions == () and "nlp.txt: no such file" in sequence.notes[0]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("Groundtruth.txt", "1,2,3,4\n1,2,3\n", r"Groundtruth\.txt: line 2 is not four numbers"),
        ("Groundtruth.txt", "1,2,3,4\n" * 9, r"imgs: 5 frames for 9 boxes"),
        ("Groundtruth.txt", None, r"Groundtruth\.txt: no such file"),
        ("nlp.txt", b"caf\xe9", r"nlp\.txt: not UTF-8"),
    ],
)
def test_a_fault_is_one_line_with_file_and_mend(
    root: Path, name: str, content: str | bytes | None, told: str
) -> None:
    path = root / "Train" / "Train-3" / name
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=told):
        read_train(root)


def test_more_frames_than_boxes_are_left_and_told(root: Path) -> None:
    (root / "Train" / "Train-3" / "Groundtruth.txt").write_text("2,3,8,6\n")
    sequence = read_train(root)
    assert len(sequence.frames) == 1 and "5 frames for 1 box;" in sequence.notes[0]


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_list_is_named(root: Path, split: str) -> None:
    (root / "vasttrack_test_list.txt").unlink()
    with pytest.raises(UserError, match=r"vasttrack_test_list\.txt: no such file"):
        VASTTRACK.find(root, split)


@pytest.mark.parametrize("listed", [True, False])
def test_folders_named_after_the_archives_hold_classes(tmp_path: Path, listed: bool) -> None:
    """A class may be in two of them."""
    for part, video in (("part-1", TRAIN_3), ("part-12", TRAIN_10), ("part-12", MAGPIE)):
        write(tmp_path / "train" / part, video)
    if listed:
        (tmp_path / "vasttrack_train_split.txt").write_text("Train-10\nTrain-3\nTrain-99\nNo\n")
        assert names(tmp_path, "train") == ["Train-10", "Train-3", "Train-99", "No"]
        for missing in VASTTRACK.find(tmp_path, "train")[2:]:
            with pytest.raises(UserError, match=rf"{missing.name}/Groundtruth\.txt: no such file"):
                VASTTRACK.read(missing)
    for entry in VASTTRACK.find(tmp_path, "train")[: 2 if listed else 3]:
        video = next(video for video in (TRAIN_3, TRAIN_10, MAGPIE) if video.name == entry.name)
        assert_same(VASTTRACK.read(entry), video)


def test_folders_that_are_no_classes(root: Path) -> None:
    """The kit's and an archiver's are passed over, others are told."""
    for name in ("annos/absent", "__MACOSX/Train"):
        (root / name).mkdir(parents=True)
    assert len(names(root, "all")) == 3
    with pytest.raises(UserError, match=r"Train/Train-10: holds no Train-10-<number>; unpack the data set"):
        VASTTRACK.find(root / "Train", "all")


@pytest.mark.parametrize("name", ["../Train-3", "/Train-3", "Train-3/../../x", "Train-/../.."])
def test_names_that_leave_the_root_are_refused(root: Path, name: str) -> None:
    (root / "vasttrack_test_list.txt").write_text(f"{name}\n")
    with pytest.raises(UserError, match="leaves its folder"):
        VASTTRACK.find(root, "test")
