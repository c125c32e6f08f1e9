"""An index leaves out the sequences of a list, and says so; a list of another split is refused."""

from pathlib import Path

import pytest

from configs.errors import UserError
from data_prep.index.build import build_index, index_path
from data_prep.index.store import About, Index, LeftOut
from data_prep.readers.tnllt import TNLLT
from tests.dataset_miniature import DOG, VIDEOS, assert_same
from tests.test_reader_tnllt import write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for video in VIDEOS:
        write(tmp_path / "set", video)
    return tmp_path / "set"


def made(root: Path, names: str | None) -> tuple[About, bool]:
    path = root.parent / "names.txt"
    if names is not None:
        path.write_text(names)
    return build_index(TNLLT, root, "all", root.parent, 1, None if names is None else path)


def test_what_is_listed_is_not_read_and_is_told(root: Path) -> None:
    (root / "car-1" / "groundtruth.txt").unlink()
    about, now = made(root, "car-1\n\n")
    assert now and about.sequences == 1
    assert about.left_out == (LeftOut("car-1", f"named in {root.parent / 'names.txt'}"),)
    assert_same(Index(index_path(root.parent, "tnllt", "all")).sequence(0), DOG)


def test_a_name_that_is_listed_twice_is_told(root: Path) -> None:
    about, _ = made(root, "car-1\ncar-1\n")
    assert [left.reason for left in about.left_out] == [f"named in {root.parent / 'names.txt'} 2 times"]


def test_those_that_cannot_be_read_are_told_too(root: Path) -> None:
    write(root, VIDEOS[0].__class__("cat", VIDEOS[0].boxes_xywh, "a cat"))
    (root / "cat" / "groundtruth.txt").write_text("")
    about, _ = made(root, "car-1")
    assert [left.name for left in about.left_out] == ["car-1", "cat"] and about.sequences == 1


def test_an_index_is_made_anew_when_the_list_changed(root: Path) -> None:
    assert made(root, None)[1] and not made(root, "")[1], "an empty list is none"
    assert made(root, "car-1\n")[1] and not made(root, "car-1\n")[1]
    assert made(root, "dog-12\n")[1] and made(root, None)[1]


def test_a_listed_sequence_that_comes_back_is_told(root: Path) -> None:
    (root / "car-1").rename(root / ".car-1")
    assert made(root, None)[0].left_out == ()
    (root / ".car-1").rename(root / "car-1")
    assert [left.name for left in made(root, "car-1")[0].left_out] == ["car-1"]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("dog-12\ncar_1\nx\n", r"names\.txt: lists car_1, x \(2 in all\), which the split .*mean car-1\?"),
        ("\n".join("abcdefg"), r"lists a, b, c, d, e, … \(7 in all\)"),
        ("dog-12\ncar-1\n", r"none of 2 sequences can be read; the first: named in"),
    ],
)
def test_a_wrong_list_is_refused(root: Path, names: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        made(root, names)


def test_a_missing_list_is_refused(root: Path) -> None:
    with pytest.raises(UserError, match=r"none\.txt: no such file; write it with task=check"):
        build_index(TNLLT, root, "all", root.parent, 1, root / "none.txt")
