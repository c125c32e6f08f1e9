"""Parts of an archive: joined in their order, and none missing."""

from itertools import islice, product
from pathlib import Path
from random import Random
from string import ascii_lowercase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import UserError
from data_prep.unpack.parts import find_parts, in_order


def split_marks(alphabet: str) -> list[str]:
    """Marks as GNU split makes them, past where they grow longer."""
    last = alphabet[-1]
    short = ("".join(mark) for mark in product(alphabet, repeat=2))
    long = (f"{last}{''.join(mark)}" for mark in product(alphabet, repeat=3))
    longer = (f"{last * 2}{''.join(mark)}" for mark in product(alphabet, repeat=4))
    return [
        *(mark for mark in short if mark[0] != last),
        *(mark for mark in long if mark[1] != last),
        *islice(longer, 5),
    ]


SERIES = {
    "letters": [f"TNLLT_part_{mark}" for mark in split_marks(ascii_lowercase)[:800]],
    "letters without a name": [f"x{mark}" for mark in split_marks(ascii_lowercase)[:60]],
    "numbers": [f"TNLLT_part_{mark}" for mark in split_marks("0123456789")],
    "from one": [f"x.tar.gz.{number:03}" for number in range(1, 120)],
    "not padded": [f"set.part{number}.tar.gz" for number in range(13)],
    "of many": [f"set_{number}of12.bin" for number in range(1, 13)],
    "capitals": ["part_AA", "part_AB"],
    "alone": ["TNLLT.tar.gz"],
    "alone and a part": ["TNLLT_part_aa"],
}


@pytest.mark.parametrize("kind", SERIES)
def test_parts_come_in_order(kind: str) -> None:
    mixed = SERIES[kind].copy()
    Random(0).shuffle(mixed)
    assert in_order(mixed, "") == SERIES[kind]


@given(st.sampled_from([kind for kind in SERIES if "alone" not in kind]), st.data())
def test_a_missing_part_is_found(kind: str, data: st.DataObject) -> None:
    names = SERIES[kind][: data.draw(st.integers(2, len(SERIES[kind])))]
    gone = data.draw(st.integers(0, len(names) - 2))
    if kind in ("from one", "of many", "not padded", "numbers") and gone == 0 and len(names) == 2:
        return  # what stays is one file
    left = names[:gone] + names[gone + 1 :]
    if (kind == "numbers" and gone == 0) or (kind == "not padded" and gone == 0):
        assert in_order(left, "") == left, "a series may begin at 1"
    elif len(left) > 1:
        with pytest.raises(UserError, match="missing"):
            in_order(left, "")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["part_aa", "part_ab", "part_ad"], "part_ad: follows part_ab, part 'ac' is missing"),
        (["part_1", "part_2", "part_10"], "part_10: follows part_2, part '3' is missing"),
        (["part_ab", "part_ac"], "part_ab: is the first part found"),
        (["part_ba", "part_bb"], "part_ba: is the first part found"),
        (["TNLLT_part_02"], "TNLLT_part_02: is the first part found"),
        (["part_aa", "part_ab", "part_ab.crdownload"], "others that are not parts in a row"),
        (["part_aa", "part_aa.md5"], "others that are not parts in a row"),
    ],
)
def test_what_is_wrong_is_told(names: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        in_order(names, "part_*")


@pytest.mark.parametrize("pattern", ["x**", "x" * 300])
def test_a_pattern_that_is_none_is_told(pattern: str) -> None:
    with pytest.raises(UserError, match="cannot be looked for"):
        find_parts(pattern)


@pytest.mark.parametrize("fault", ["none", "empty", "folder"])
def test_what_is_no_part_is_refused(tmp_path: Path, fault: str) -> None:
    (tmp_path / "set_part_aa").write_bytes(b"x")
    if fault == "empty":
        (tmp_path / "set_part_ab").touch()
    elif fault == "folder":
        (tmp_path / "set_part_ab").mkdir()
    told = {"none": "no such file", "empty": "set_part_ab: is empty", "folder": "set_part_ab: is no file"}
    with pytest.raises(UserError, match=told[fault]):
        find_parts(str(tmp_path / ("other_*" if fault == "none" else "set_part_*")))
