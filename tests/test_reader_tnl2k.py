"""TNL2K: its layout in miniature, with the evaluation kit's flags and lists."""

from pathlib import Path

import pytest

from configs.errors import UserError
from data_prep.readers.tnl2k import TNL2K
from data_prep.sequence import ABSENT, PRESENT, UNKNOWN, Sequence
from tests.dataset_miniature import CAR, DOG, VIDEOS, Video, assert_same, write_frames


def write(place: Path, video: Video, name: str = "", pattern: str = "{:05d}.jpg") -> Path:
    folder = place / (name or video.name)
    write_frames(folder / "imgs", video, pattern)
    (folder / "groundtruth.txt").write_text(video.lines())
    (folder / "language.txt").write_text(f"{video.prompt} ")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One sequence to train, with unpadded numbers, and two to test, one of which has the same name."""
    write(tmp_path / "train", CAR, pattern="{}.png")
    for video in VIDEOS:
        write(tmp_path / "test", video)
    return tmp_path


def write_kit(root: Path, name: str, flags: str) -> None:
    (root / "annos" / "absent").mkdir(parents=True, exist_ok=True)
    (root / "annos" / "absent" / f"{name}.txt").write_text("".join(f"{flag} \n" for flag in flags))


def names(root: Path, split: str) -> list[str]:
    return [entry.name for entry in TNL2K.find(root, split)]


def read(root: Path, split: str, name: str) -> Sequence:
    return TNL2K.read(next(entry for entry in TNL2K.find(root, split) if entry.name == name))


def presence(sequence: Sequence) -> list[int]:
    assert sequence.truth is not None
    return sequence.truth.present.tolist()


def test_sequences_are_read(root: Path) -> None:
    assert_same(read(root, "train", "car-1"), CAR)
    assert_same(read(root, "test", "dog-12"), DOG)


def test_frames_stand_by_their_numbers_whether_padded_or_not(tmp_path: Path) -> None:
    long = Video("long", ((1, 1, 2, 2),) * 11, "a thing")
    write(tmp_path / "train", long, pattern="{}.png")
    assert_same(read(tmp_path, "train", "long"), long)


def test_a_name_of_both_splits_is_told_apart_in_all(root: Path) -> None:
    assert names(root, "train") == ["car-1"] and names(root, "test") == ["car-1", "dog-12"]
    assert names(root, "all") == ["car-1", "car-1_test", "dog-12"]
    assert_same(read(root, "all", "car-1_test"), CAR, "car-1_test")


def test_parts_as_the_archives_unpack_and_corrections_that_are_no_sequences(root: Path) -> None:
    (root / "train").rename(root / "part")
    (root / "TNL2K_train").mkdir()
    (root / "part").rename(root / "TNL2K_train" / "TNL2k_train_subset_p9")
    write(root / "TNL2K_train" / "TNL2k_train_subset_p10", DOG)
    (root / "TNL2K_train" / "revised_annotations" / "dog-12").mkdir(parents=True)
    assert names(root, "train") == ["car-1", "dog-12"]
    assert_same(read(root, "train", "car-1"), CAR)


def test_the_list_orders_and_has_lost_blanks_and_ampersands(root: Path) -> None:
    write(root / "train", DOG, "monitor_man & bag & bike")
    assert names(root, "train") == ["car-1", "monitor_manbagbike"], "names are the same without the list"
    (root / "TNL2K_train_set.txt").write_text("monitor_manbagbike\r\ncar-1")
    assert names(root, "train") == ["monitor_manbagbike", "car-1"]
    assert_same(read(root, "train", "monitor_manbagbike"), DOG, "monitor_manbagbike")


def test_what_the_list_names_and_is_not_there_is_told_by_its_name_when_it_is_read(root: Path) -> None:
    (root / "TNL2K_testing_set.txt").write_text("car-1\nno-such\n")
    (root / "test" / "empty").mkdir()
    assert names(root, "test") == ["car-1", "no-such"]
    with pytest.raises(UserError, match=r"test/no-such/groundtruth\.txt: no such file"):
        read(root, "test", "no-such")
    (root / "TNL2K_testing_set.txt").unlink()
    assert names(root, "test") == ["car-1", "dog-12", "empty"]
    with pytest.raises(UserError, match=r"test/empty/groundtruth\.txt: no such file"):
        read(root, "test", "empty")
    (root / "TNL2K_testing_set.txt").write_text("../car-1\n")
    with pytest.raises(UserError, match="leaves its folder"):
        TNL2K.find(root, "test")


@pytest.mark.parametrize(
    "place",
    [
        "TNL2K_train",
        "TNL2K_train_subset",
        "TNL2K_train_subset/train_data",
        "train/TNL2k_train_subset_p2",
        "TNL2k_train_subset_p2",
    ],
)
def test_names_of_the_training_sets_folder(root: Path, place: str) -> None:
    (root / place).parent.mkdir(exist_ok=True)
    (root / "train").rename(root / "kept")
    (root / place).mkdir(parents=True)
    (root / "kept" / "car-1").rename(root / place / "car-1")
    (root / "kept").rmdir()
    assert_same(read(root, "train", "car-1"), CAR)
    if place.endswith("_p2"):
        write((root / place).parent / "TNL2k_train_subset_p1", DOG)
        assert names(root, "train") == ["car-1", "dog-12"]
    assert names(root, "test") == ["car-1", "dog-12"]


def test_a_sequence_must_be_there_once(root: Path) -> None:
    write(root / "train", CAR, "car -1")
    with pytest.raises(UserError, match="the same sequence as"):
        TNL2K.find(root, "train")
    with pytest.raises(UserError, match=r"train: no such folder"):
        TNL2K.find(root / "test", "train")


def test_one_means_absent_whatever_the_box_says(root: Path) -> None:
    write_kit(root, "car-1", "01100")
    (root / "test" / "car-1" / "groundtruth.txt").write_text("2,3,8,6\n3,3,8,6\n0,0,0,0\n5,4,8,0\n6,4,9,7\n")
    sequence = read(root, "test", "car-1")
    assert presence(sequence) == [PRESENT, ABSENT, ABSENT, UNKNOWN, PRESENT]
    assert sequence.truth is not None
    assert sequence.truth.boxes_xywh[1].tolist() == [3, 3, 8, 6], "boxes stay as they stand in the file"
    assert presence(read(root, "all", "car-1_test")) == presence(sequence)


def test_the_kit_speaks_of_the_test_set_alone(root: Path) -> None:
    write_kit(root, "car-1", "11111")
    assert presence(read(root, "train", "car-1")) == [PRESENT, PRESENT, ABSENT, PRESENT, PRESENT]


def test_flags_beside_the_sequence(root: Path) -> None:
    (root / "train" / "car-1" / "absent_label.txt").write_text("1\n0\n1\n0\n0\n")
    assert presence(read(root, "train", "car-1")) == [ABSENT, PRESENT, ABSENT, PRESENT, PRESENT]


def test_one_flag_too_many_is_left_and_told_and_more_are_refused(root: Path) -> None:
    write_kit(root, "dog-12", "10000")
    sequence = read(root, "test", "dog-12")
    assert_same(sequence, DOG)
    assert "5 flags for 4 boxes" in sequence.notes[0]
    for flags in ("100", "100000"):
        write_kit(root, "dog-12", flags)
        with pytest.raises(UserError, match=rf"absent/dog-12\.txt: {len(flags)} flags for 4 boxes"):
            read(root, "test", "dog-12")


def test_attributes_of_the_kit(root: Path) -> None:
    path = root / "annos" / "att" / "dog-12_attribute.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"1\r\n" + b"0\r\n" * 15 + b"1\r\n")
    assert read(root, "test", "dog-12").metadata == {"attributes": "CM MS"}
    path.write_text("1\n0\n")
    with pytest.raises(UserError, match=r"dog-12_attribute\.txt: 2 flags for 17 attributes"):
        read(root, "test", "dog-12")


def test_more_boxes_than_frames_point_to_the_corrections(root: Path) -> None:
    (root / "train" / "car-1" / "groundtruth.txt").write_text("1,2,3,4\n" * 9)
    with pytest.raises(UserError, match=r"9 boxes for 5 frames; put the file of revised_annotations\.zip"):
        read(root, "train", "car-1")
    (root / "train" / "car-1" / "groundtruth.txt").write_bytes(
        CAR.lines().replace("\n", "\r\n").encode()[:-2]
    )
    assert_same(read(root, "train", "car-1"), CAR)


def test_an_empty_text_is_no_prompt(root: Path) -> None:
    (root / "train" / "car-1" / "language.txt").write_text("\n")
    assert read(root, "train", "car-1").expressions == ()


@pytest.mark.parametrize("separator", [",", " "])
def test_boxes_in_place_of_words_are_refused(root: Path, separator: str) -> None:
    (root / "train" / "car-1" / "language.txt").write_text(CAR.lines(separator))
    with pytest.raises(UserError, match=r"language\.txt: contains numbers instead of text"):
        read(root, "train", "car-1")


def test_a_damaged_picture_is_named_when_it_is_read(root: Path) -> None:
    (root / "test" / "dog-12" / "imgs" / "00003.jpg").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=r"00003\.jpg: frame cannot be read"):
        list(read(root, "test", "dog-12").frames)
