"""Indexes: what readers give is what an index gives back; made anew only when the data changed."""

import dataclasses
import os
from pathlib import Path
from random import Random

import numpy as np
import pytest

from configs.errors import UserError
from data_prep.index.build import build_index, index_path, row_of, state_of
from data_prep.index.store import Index, LeftOut
from data_prep.readers.reader import Entry
from data_prep.readers.tnllt import TNLLT
from data_prep.sequence import ABSENT, PRESENT, UNKNOWN
from data_prep.video.frames import VideoFrames
from tests.dataset_miniature import CAR, VIDEOS, assert_same
from tests.index_miniature import COMING, SEEN, index_of, video
from tests.test_reader_tnllt import write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for each in VIDEOS:
        write(tmp_path / "data", each)
    return tmp_path / "data"


def made(root: Path, workers: int = 1) -> tuple[Index, bool]:
    folder = root.parent / "indexes"
    _, now = build_index(TNLLT, root, "all", folder, workers)
    return Index(index_path(folder, "tnllt", "all")), now


@pytest.mark.parametrize("workers", [1, 2])
def test_an_index_gives_back_what_the_reader_gave(root: Path, workers: int) -> None:
    index, now = made(root, workers)
    assert now and len(index) == len(VIDEOS)
    for number, each in enumerate(VIDEOS):
        assert_same(index.sequence(number), each)


def test_arrays_lie_behind_one_another(tmp_path: Path) -> None:
    videos = [
        video("a", (1, 0, -1), ["x", "y"]),
        video("b", (1,) * 4, []),
        video("c", (0, 1), ["z"], [(1, 2)]),
    ]
    index = index_of(tmp_path / "small.arrow", videos)
    assert index.starts.tolist() == [0, 3, 7, 9] and index.expression_starts.tolist() == [0, 2, 2, 3]
    assert index.present.tolist() == [PRESENT, ABSENT, UNKNOWN, 1, 1, 1, 1, 0, 1]
    assert np.array_equal(index.boxes_xywh[3:7], videos[1].truth.boxes_xywh)
    assert index.expressions.to_pylist() == ["x", "y", "z"]
    assert index.expression_spans.tolist() == [[0, 3], [0, 3], [1, 2]]
    assert not index.boxes_xywh.flags.owndata, "a view of the file, not a copy"


def test_unchanged_data_are_not_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(root)
    monkeypatch.setattr("data_prep.index.build._read", None)
    assert not made(root)[1]


@pytest.mark.parametrize("change", ["boxes", "a frame more", "a sequence less", "another version"])
def test_changed_data_are(root: Path, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made(root)
    if change == "boxes":
        path = root / "car-1" / "groundtruth.txt"
        path.write_text(path.read_text().replace("5,4,8,6", "5,4,8,7"))
    elif change == "a frame more":
        (root / "car-1" / "imgs" / "00006.png").write_bytes(b"")
    elif change == "a sequence less":
        (root / "dog-12").rename(root / ".dog-12")
    else:
        for module in ("build", "store"):
            monkeypatch.setattr(f"data_prep.index.{module}.VERSION", 0)
    assert made(root)[1]


def test_a_folder_of_many_entries_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RefCOCO's 40,000 references share a folder of 80,000 images."""
    listed: list[Path] = []
    monkeypatch.setattr("data_prep.index.build._lines", lambda folder: listed.append(folder) or ())
    entries = [Entry(str(number), tmp_path) for number in range(9)]
    first = state_of([*entries, Entry("9", tmp_path / "other")])
    assert listed == [tmp_path, tmp_path / "other"] and state_of(entries) != first


def test_a_data_set_that_moved_is_indexed_anew(root: Path) -> None:
    made(root)
    moved = root.with_name("moved")
    root.rename(moved)
    index, now = made(moved)
    assert now and index.about.root == str(moved)


def test_what_cannot_be_read_is_left_out_and_told(root: Path) -> None:
    (root / "car-1" / "groundtruth.txt").write_text("1,2,3\n")
    (root / "dog-12" / "imgs" / "00009.png").write_bytes(
        (root / "dog-12" / "imgs" / "00001.png").read_bytes()
    )
    index, _ = made(root)
    (left,) = index.about.left_out
    assert left.name == "car-1" and "line 1 is not four numbers" in left.reason
    assert isinstance(left, LeftOut) and len(index) == 1
    assert "5 frames for 4 boxes" in index.about.notes[0]


def test_a_name_that_is_listed_twice_is_indexed_once_and_told(root: Path) -> None:
    names = root / "train_split.txt"
    names.write_text("car-1\ndog-12\ncar-1\n")
    about, _ = build_index(TNLLT, root, "train", root.parent, 1)
    assert about.sequences == 2 and "car-1: is 2 times in the list of train (lines" in about.notes[0]
    names.write_text("car-1\ndog-12\n")
    about, now = build_index(TNLLT, root, "train", root.parent, 1)
    assert now and about.notes == (), "what is told is not left from an earlier list"


def test_a_frame_whose_name_is_not_utf8_is_told(root: Path) -> None:
    path = root / "car-1" / "imgs" / "00005.png"
    path.rename(os.fsdecode(os.fsencode(path).replace(b"5.", b"5\xe9.")))
    (left,) = made(root)[0].about.left_out
    assert left.name == "car-1" and "00005\\xe9.png: the name is not UTF-8; rename it" in left.reason


def test_an_index_that_cannot_be_written_is_one_line_and_leaves_the_old_one(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, _ = made(root)
    before = index.path.read_bytes()
    (root / "car-1" / "language.txt").write_text("another car")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(
            UserError, match=r"tnllt-all\.arrow: cannot be written \(No space left on device\)"
        ):
            made(root)
    assert index.path.read_bytes() == before and list(index.path.parent.iterdir()) == [index.path]
    (root.parent / "file").write_text("x")
    with pytest.raises(UserError, match=r"tnllt-all\.arrow: cannot be written \(Not a directory\)"):
        build_index(TNLLT, root, "all", root.parent / "file" / "indexes", 1)


def test_no_index_is_written_of_nothing(root: Path) -> None:
    for each in VIDEOS:
        (root / each.name / "groundtruth.txt").unlink()
    with pytest.raises(
        UserError, match=r"none of 2 sequences can be read; the first: .*groundtruth\.txt: no such"
    ):
        made(root)
    assert not (root.parent / "indexes").exists()


def test_a_missing_or_broken_index_says_how_to_make_it(tmp_path: Path) -> None:
    path = tmp_path / "tnl2k-all.arrow"
    command = f"python -m data_prep task=index 'data=[tnl2k]' split=all root=FOLDER indexes={tmp_path}"
    with pytest.raises(UserError, match="no such index") as without:
        Index(path)
    assert str(without.value) == f"{path}: no such index; make it with task=index ({command})"
    for other in ("tnl2k-train", "tnl2k-test", "tnl2k_concise-val", "lasot-test"):
        (tmp_path / f"{other}.arrow").touch()
    with pytest.raises(UserError, match=r"\); of tnl2k there are split=test, train$"):
        Index(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match=r"tnl2k-all\.arrow: not an index"):
        Index(path)


def test_a_broken_index_is_made_anew(root: Path) -> None:
    index, _ = made(root)
    index.path.write_bytes(b"")
    assert made(root)[1]


def test_frames_in_a_video_file_are_refused(tmp_path: Path) -> None:
    filmed = dataclasses.replace(video("a", (1,)), frames=VideoFrames(tmp_path / "a.mp4", (32, 24), 1, 25.0))
    with pytest.raises(UserError, match="a: its frames lie in a video file; extract them"):
        row_of(filmed, tmp_path)


def test_paths_in_an_index_do_not_depend_on_where_one_stands(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    build_index(TNLLT, Path(root.name), "all", Path("indexes"), 1)
    monkeypatch.chdir(os.sep)
    assert_same(Index(index_path(root.parent / "indexes", "tnllt", "all")).sequence(0), CAR)


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_index_is_read_as_it_was_or_refused_in_one_line(seed: int, tmp_path: Path) -> None:
    path, random, refused = tmp_path / "small-train.arrow", Random(seed), 0
    index_of(path, [video("a", SEEN), video("b", COMING, ("a dog", "the dog"), seed=1)])
    whole = path.read_bytes()
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(random.randint(1, 4)):
            damaged[random.randrange(len(damaged))] = random.randrange(256)
        if random.random() < 0.3:
            at = random.randrange(len(damaged))
            damaged[at:at] = random.randbytes(random.randint(1, 9))
        path.write_bytes(damaged)
        try:
            index = Index(path)
            read = [index.sequence(number) for number in range(len(index))]
        except UserError as fault:
            refused += 1
            assert str(path) in str(fault) and "\n" not in str(fault)
            continue
        assert len(read) == 2
        assert [len(each.frames) for each in read] == [len(each.truth.present) for each in read]
    assert refused > 5
