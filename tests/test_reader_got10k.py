"""GOT-10k: its layout in miniature, its flags, and its test split of one box."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs.errors import UserError
from data_prep.readers.got10k import GOT10K
from data_prep.sequence import ABSENT, PRESENT, UNKNOWN, Sequence, Truth
from tests.dataset_miniature import CAR, DOG, VIDEOS, Video, assert_same, write_frames

META = """[METAINFO]
url: https://youtu.be/{name}?t=1%20
begin: 00:00:24
anno_fps: 10Hz
object_class: {words}
motion_class: swimming
major_class: vehicle
root_class: object
motion_adverb: slowly
resolution: (32, 24)
"""


def write(root: Path, video: Video) -> Path:
    folder = root / "train" / video.name
    write_frames(folder, video)
    (folder / "groundtruth.txt").write_text(video.lines(absent="4.0000,4.0000,8.0000,6.0000"))
    for name, flags in (("absence", "01"), ("cover", "80"), ("cut_by_image", "01")):
        (folder / f"{name}.label").write_text("".join(flags[box is None] + "\n" for box in video.boxes_xywh))
    (folder / "meta_info.ini").write_text(META.format(name=video.name, words=video.prompt))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for video in VIDEOS:
        write(tmp_path, video)
    (tmp_path / "train" / "list.txt").write_text("dog-12\ncar-1")
    (tmp_path / "train" / "got-10k_train_concise").mkdir()
    return tmp_path


def read(root: Path, split: str = "train") -> Sequence:
    """The car: the last of the list."""
    return GOT10K.read(GOT10K.find(root, split)[-1])


def truth_of_car(root: Path) -> Truth:
    truth = read(root).truth
    assert truth is not None
    return truth


def write_test(root: Path, boxes: str) -> Path:
    folder = root / "test" / "GOT-10k_Test_000001"
    write_frames(folder, CAR)
    (folder / "groundtruth.txt").write_text(boxes)
    (root / "test" / "list.txt").write_text("GOT-10k_Test_000001\n")
    return folder


def test_the_list_orders_the_sequences_and_other_folders_are_none(root: Path) -> None:
    assert [entry.name for entry in GOT10K.find(root, "train")] == ["dog-12", "car-1"]


def test_sequences_are_read(root: Path) -> None:
    for entry, video in zip(GOT10K.find(root, "train"), (DOG, CAR), strict=True):
        assert_same(GOT10K.read(entry), video)


def test_what_the_ini_file_says(root: Path) -> None:
    sequence = read(root)
    assert sequence.fps == 10 and sequence.folder == root / "train" / "car-1"
    assert sequence.metadata["motion_adverb"] == "slowly" and sequence.metadata["resolution"] == "(32, 24)"
    assert sequence.metadata["url"] == "https://youtu.be/car-1?t=1%20"


def test_one_means_absent_and_so_does_no_cover(root: Path) -> None:
    folder = root / "train" / "car-1"
    (folder / "absence.label").write_text("0\n1\n0\n0\n0\n")
    (folder / "cover.label").write_text("8\n8\n0\n1\n8\n")
    (folder / "groundtruth.txt").write_text("2,3,8,6\n3,3,8,6\n4,4,8,6\n0,0,0,0\n6,4,9,7\n")
    truth = truth_of_car(root)
    assert truth.present.tolist() == [PRESENT, ABSENT, ABSENT, UNKNOWN, PRESENT]
    assert truth.boxes_xywh[2].tolist() == [4, 4, 8, 6], "boxes stay as they stand in the file"


def test_a_cover_that_was_never_labelled_is_not_gone_by_and_told(root: Path) -> None:
    (root / "train" / "car-1" / "cover.label").write_text("0\n" * 5)
    assert_same(read(root), CAR)
    assert "cover.label: 0 in every frame" in read(root).notes[0]


def test_a_target_that_is_absent_throughout_has_no_cover_and_no_note(root: Path) -> None:
    (root / "train" / "car-1" / "cover.label").write_text("0\n" * 5)
    (root / "train" / "car-1" / "absence.label").write_text("1\n" * 5)
    assert truth_of_car(root).present.tolist() == [ABSENT] * 5 and read(root).notes == ()


def test_the_test_split_gives_one_box_and_no_labels(root: Path) -> None:
    write_test(root, "2.0000,3.0000,8.0000,6.0000")
    sequence = read(root, "test")
    assert sequence.truth is not None and len(sequence.frames) == 5 and sequence.expressions == ()
    assert sequence.truth.boxes_xywh.shape == (5, 4) and sequence.truth.boxes_xywh.dtype == np.float32
    assert sequence.truth.boxes_xywh[0].tolist() == [2, 3, 8, 6]
    assert np.isnan(sequence.truth.boxes_xywh[1:]).all()
    assert sequence.truth.present.tolist() == [PRESENT] + 4 * [UNKNOWN] and sequence.notes == ()
    assert sequence.truth.present.dtype == np.int8


def test_the_whole_truth_of_a_test_sequence_is_read_too(root: Path) -> None:
    write_test(root, CAR.lines())
    sequence = read(root, "test")
    assert sequence.truth is not None and sequence.truth.present.tolist() == [1, 1, 0, 1, 1]
    with pytest.raises(UserError, match=r"GOT-10k_Test_000001: 5 frames for 9 boxes"):
        write_test(root / "more", "1,2,3,4\n" * 9)
        read(root / "more", "test")


def test_one_box_outside_the_test_split_is_one_frame(root: Path) -> None:
    folder = root / "train" / "car-1"
    (folder / "groundtruth.txt").write_text("2,3,8,6\n")
    for name in ("absence", "cover"):
        (folder / f"{name}.label").write_text("0\n")
    sequence = read(root)
    assert len(sequence.frames) == 1 and "5 frames for 1 box;" in sequence.notes[0]


def test_the_parts_without_vot_are_lines_of_the_list_counted_from_0(root: Path) -> None:
    (root / "got10k_vot_train_split.txt").write_text("1\n")
    (root / "got10k_vot_val_split.txt").write_text("0\n")
    assert [entry.name for entry in GOT10K.find(root, "vot_train")] == ["car-1"]
    assert_same(read(root, "vot_val"), DOG)


@pytest.mark.parametrize("line", ["2", "-1", "car-1"])
def test_what_is_no_line_of_the_list_is_refused(root: Path, line: str) -> None:
    (root / "got10k_vot_train_split.txt").write_text(f"0\n{line}\n")
    with pytest.raises(UserError, match=rf"got10k_vot_train_split\.txt: '{line}' is no line of train/list"):
        GOT10K.find(root, "vot_train")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("groundtruth.txt", "1,2,3,4\n1,2,3\n", r"groundtruth\.txt: line 2 is not four numbers"),
        ("groundtruth.txt", "1,2,3,4\n" * 9, r"car-1: 5 frames for 9 boxes"),
        ("absence.label", "1\n1\n", r"absence\.label: 2 flags for 5 boxes"),
        ("cover.label", "8\n" * 6, r"cover\.label: 6 flags for 5 boxes"),
        ("cover.label", None, r"cover\.label: no such file"),
        ("meta_info.ini", None, r"meta_info\.ini: no such file"),
        ("meta_info.ini", "object_class: car\n", r"meta_info\.ini: has no section \[METAINFO\]"),
        ("meta_info.ini", "[OTHER]\nobject_class: car\n", r"meta_info\.ini: has no section \[METAINFO\]"),
    ],
)
def test_a_fault_is_one_line_with_file_and_mend(
    root: Path, name: str, content: str | None, told: str
) -> None:
    path = root / "train" / "car-1" / name
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=told) as raised:
        read(root)
    assert "\n" not in str(raised.value)


def test_a_size_that_changes_within_a_video_is_told_not_read_over(root: Path) -> None:
    path = root / "train" / "car-1" / "00000003.jpg"
    Image.new("RGB", (24, 32)).save(path)
    with pytest.raises(UserError, match=r"00000003\.jpg: frame is 24x32 but the sequence is 32x24"):
        list(read(root).frames)


def test_missing_lists_and_names_that_leave_the_root_are_refused(root: Path) -> None:
    with pytest.raises(UserError, match=r"val/list\.txt: no such file"):
        GOT10K.find(root, "val")
    with pytest.raises(UserError, match=r"got10k_vot_val_split\.txt: no such file"):
        GOT10K.find(root, "vot_val")
    (root / "train" / "list.txt").write_text("../car-1\n")
    with pytest.raises(UserError, match="leaves its folder"):
        GOT10K.find(root, "train")
