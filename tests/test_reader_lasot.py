"""LaSOT and LaSOText: their layout in miniature, and the lists."""

from collections.abc import Callable
from pathlib import Path

import pytest

from configs.errors import UserError
from data_prep.readers.lasot import LASOT, LASOTEXT
from data_prep.readers.reader import Reader
from data_prep.sequence import ABSENT, PRESENT, UNKNOWN, Sequence
from tests.dataset_miniature import DOG, VIDEOS, Video, assert_same, write_frames

BOX = "0,0,9,9\n"  # an ordinary one, as most frames have where the target is absent


def write(root: Path, video: Video) -> Path:
    """The dog is hidden where it is absent, the car out of view."""
    folder = root / video.name.split("-")[0] / video.name
    write_frames(folder / "img", video)
    (folder / "groundtruth.txt").write_text(video.lines(absent=BOX.strip()))
    (folder / "nlp.txt").write_text(f" {video.prompt}")
    absent = ",".join("01"[box is None] for box in video.boxes_xywh)
    never = ",".join("0" for _ in video.boxes_xywh)
    (folder / "full_occlusion.txt").write_text(f"{absent if video is DOG else never}\n")
    (folder / "out_of_view.txt").write_text(f"{never if video is DOG else absent}\n")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for video in VIDEOS:
        write(tmp_path, video)
    (tmp_path / "training_set.txt").write_text("dog-12\r\ncar-1")
    return tmp_path


def read(root: Path, name: str, reader: Reader = LASOT) -> Sequence:
    return reader.read(next(entry for entry in reader.find(root, "all") if entry.name == name))


@pytest.mark.parametrize("reader", [LASOT, LASOTEXT])
def test_flags_decide_though_absent_frames_have_ordinary_boxes(root: Path, reader: Reader) -> None:
    for video in VIDEOS:
        sequence = read(root, video.name, reader)
        assert_same(sequence, video)
        assert sequence.metadata == {"class": video.name.split("-")[0]} and sequence.fps == 30


def test_a_frame_said_to_show_the_target_without_a_box_is_unknown(root: Path) -> None:
    (root / "car" / "car-1" / "groundtruth.txt").write_text(f"2,2,-1,-1\n{BOX * 4}")
    truth = read(root, "car-1").truth
    assert truth is not None
    assert truth.present.tolist() == [UNKNOWN, PRESENT, ABSENT, PRESENT, PRESENT]
    assert truth.boxes_xywh[0].tolist() == [2, 2, -1, -1], "boxes stay as they stand in the file"


def test_the_list_orders_the_sequences_and_all_takes_every_folder(root: Path) -> None:
    (root / "annos").mkdir()
    (root / "lasot_train_concise").mkdir()
    (root / "__MACOSX").mkdir()
    assert [entry.name for entry in LASOT.find(root, "train")] == ["dog-12", "car-1"]
    assert LASOT.find(root, "train")[1].folder == root / "car" / "car-1"
    for reader, split in ((LASOT, "all"), (LASOTEXT, "all"), (LASOTEXT, "test")):
        assert [entry.name for entry in reader.find(root, split)] == ["car-1", "dog-12"]
    (root / "training_set.txt").rename(root / "lasot_train_split.txt")
    assert len(LASOT.find(root, "train")) == 2


def test_a_missing_list_and_a_name_that_leaves_the_root_are_refused(root: Path) -> None:
    with pytest.raises(UserError, match=r"testing_set\.txt: no such file"):
        LASOT.find(root, "test")
    (root / "testing_set.txt").write_text("../car-1\n")
    with pytest.raises(UserError, match="leaves its folder"):
        LASOT.find(root, "test")


def test_folders_without_classes_are_refused(root: Path) -> None:
    with pytest.raises(UserError, match=r"car-1: holds no car-1-<number>; unpack the data set as"):
        LASOT.find(root / "car", "all")


def test_more_frames_than_boxes_are_left_and_told(root: Path) -> None:
    folder = root / "car" / "car-1"
    (folder / "groundtruth.txt").write_text(BOX * 3)
    for name in ("full_occlusion.txt", "out_of_view.txt"):
        (folder / name).write_text("0,0,0")
    sequence = read(root, "car-1")
    assert len(sequence.frames) == 3 and "5 frames for 3 boxes" in sequence.notes[0]


def test_words_may_lack_in_the_extension_alone(root: Path) -> None:
    (root / "car" / "car-1" / "nlp.txt").unlink()
    sequence = read(root, "car-1", LASOTEXT)
    assert sequence.expressions == () and "the sequence has no expression" in sequence.notes[0]
    with pytest.raises(UserError, match=r"nlp\.txt: no such file"):
        read(root, "car-1", LASOT)


def test_attributes_of_the_kit(root: Path) -> None:
    path = root / "annos" / "att" / "dog-12.txt"
    path.parent.mkdir(parents=True)
    path.write_text(",".join("1" + "0" * 12 + "1"))
    assert read(root, "dog-12").metadata == {"class": "dog", "attributes": "IV ARC"}


@pytest.mark.parametrize("name", ["full_occlusion.txt", "out_of_view.txt"])
@pytest.mark.parametrize(
    ("spoil", "told"),
    [(Path.unlink, "no such file"), (lambda path: path.write_text("0,1"), "2 flags for 5 boxes")],
)
def test_flags_must_be_there_for_every_box(
    root: Path, name: str, spoil: Callable[[Path], object], told: str
) -> None:
    spoil(root / "car" / "car-1" / name)
    with pytest.raises(UserError, match=rf"{name}: {told}"):
        read(root, "car-1")


def test_a_class_may_hold_hyphens(root: Path) -> None:
    (root / "training_set.txt").write_text("t-shirt-3")
    entry = LASOT.find(root, "train")[0]
    assert entry.folder == root / "t-shirt" / "t-shirt-3"
