"""DTVLT's concise texts in place of the words of LaSOT, TNL2K and GOT-10k."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from configs.errors import UserError
from data_prep.index.build import build_index, state_of
from data_prep.index.store import Index
from data_prep.readers.concise import GOT10K_CONCISE, LASOT_CONCISE, TNL2K_CONCISE
from data_prep.readers.reader import Reader
from tests import test_reader_got10k, test_reader_lasot, test_reader_tnl2k
from tests.dataset_miniature import CAR, DOG, assert_same

TEXTS = "0 a red car\n3 a red car that turns\n100 after the end\n"


def write_lasot(root: Path) -> Path:
    test_reader_lasot.write(root, CAR)
    (root / "training_set.txt").write_text("car-1")
    (root / "testing_set.txt").write_text("car-1")
    return root / "lasot_train_concise"


def write_tnl2k(root: Path) -> Path:
    for split in ("train", "test"):
        test_reader_tnl2k.write(root / split, CAR)
    return root / "tnl2k_train_concise"


def write_got10k(root: Path) -> Path:
    test_reader_got10k.write(root, CAR)
    (root / "train" / "list.txt").write_text("car-1")
    (root / "train").rename(root / "val")
    test_reader_got10k.write(root, CAR)
    (root / "train" / "list.txt").write_text("car-1")
    (root / "got10k_vot_train_split.txt").write_text("0\n")
    return root / "train" / "got-10k_train_concise"


@pytest.mark.parametrize(
    ("reader", "write", "other"),
    [
        (LASOT_CONCISE, write_lasot, "test"),
        (TNL2K_CONCISE, write_tnl2k, "test"),
        (GOT10K_CONCISE, write_got10k, "val"),
    ],
    ids=lambda value: value.name if isinstance(value, Reader) else None,
)
def test_training_sequences_have_texts_and_others_their_own(
    tmp_path: Path, reader: Reader, write: Callable[[Path], Path], other: str
) -> None:
    texts = write(tmp_path)
    with pytest.raises(UserError, match=r"_train_concise: no such folder; unpack the concise texts of DTVLT"):
        reader.find(tmp_path, "train")
    texts.mkdir()
    (texts / "car-1.txt").write_text(TEXTS)
    (entry,) = entries = reader.find(tmp_path, "train")
    sequence = reader.read(entry)
    assert sequence.expressions == ("a red car", "a red car that turns", "after the end")
    assert sequence.spans == ((0, 3), (3, 5), (5, 5))
    assert_same(replace(sequence, expressions=(CAR.prompt,)), CAR)
    assert_same(reader.read(reader.find(tmp_path, other)[0]), CAR)
    if reader is GOT10K_CONCISE:
        assert len(reader.read(reader.find(tmp_path, "vot_train")[0]).expressions) == 3
    state = state_of(entries)
    (texts / "car-1.txt").write_text(f"{TEXTS}200 more\n")
    assert state_of(entries) != state, "an index is made anew"


def test_files_bear_the_names_of_the_folders_and_a_missing_one_is_told(tmp_path: Path) -> None:
    for name in ("a & b", "other"):
        test_reader_tnl2k.write(tmp_path / "train", DOG, name)
    (tmp_path / "tnl2k_train_concise").mkdir()
    (tmp_path / "tnl2k_train_concise" / "a & b.txt").write_text("0 a dog")
    about, _ = build_index(TNL2K_CONCISE, tmp_path, "train", tmp_path / "indexes", 2)
    (left,) = about.left_out
    assert left.name == "other" and "other.txt: no such file" in left.reason
    index = Index(tmp_path / "indexes" / "tnl2k_concise-train.arrow")
    assert index.sequence(0).name == "ab" and index.sequence(0).expressions == ("a dog",)
