"""`python -m data_prep task=index` and `task=sample`, as a user meets them."""

import json
from pathlib import Path

import pytest

from configs.app import run_command
from data_prep.__main__ import main
from data_prep.config import DATA_SETS
from data_prep.readers.registry import READERS
from tests.dataset_miniature import VIDEOS
from tests.test_reader_tnllt import write


def run(*arguments: str) -> int:
    return run_command("data_prep", main, "", arguments)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for video in VIDEOS:
        write(tmp_path / "set", video)
    return tmp_path


INDEX = ("task=index", "data=[tnllt]", "split=all", "root=set", "workers=1")
SAMPLE = ("task=sample", "data=[tnllt]", "split=all", "workers=1", "n=30", "out=drawn")


def test_every_data_set_that_the_command_offers_has_a_reader() -> None:
    assert tuple(READERS) == DATA_SETS


def test_an_index_is_made_once_and_pairs_are_drawn_from_it(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*INDEX) == 0
    told = capsys.readouterr().out
    assert "index: outputs/indexes/tnllt-all.arrow (2 sequences, 0 left out; made in" in told
    assert run(*INDEX) == 0 and "the data have not changed" in capsys.readouterr().out
    assert run(*SAMPLE) == 0 and "pairs: drawn/pairs.jsonl (30 in" in capsys.readouterr().out
    whole = (here / "drawn" / "pairs.jsonl").read_text().splitlines()
    assert all(Path(json.loads(line)["search"]["image"]).is_file() for line in whole)
    assert run(*SAMPLE, "first=10", "n=20") == 0
    assert (here / "drawn" / "pairs.jsonl").read_text().splitlines() == whole[10:]
    assert run(*SAMPLE, "split=test", "splits=[all]") == 0, "each data set's own goes before split="
    assert (here / "drawn" / "pairs.jsonl").read_text().splitlines() == whole


def test_what_is_left_out_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "set" / "car-1" / "groundtruth.txt").write_text("")
    assert run(*INDEX) == 0
    told = capsys.readouterr().out
    assert "left out: car-1: " in told and "(1 sequences, 1 left out;" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("task=index", "data=[tnllt]"), "name one data set and its folder"),
        (("task=index", "data=[tnllt]", "root=nowhere"), "root=nowhere: no such folder"),
        (("task=index", "data=[tnllt]", "root=set", "split=val"), "split=val: tnllt has train, test, all"),
        (("task=index", "data=[tnllt]", "root=set"), "train_split.txt: no such file"),
        (("task=index", "data=[tnlt]", "root=set"), "data"),
        (("task=sample",), "name data sets that were indexed"),
        (("task=sample", "data=[tnl2k,tnllt,lasot]", "splits=[train,all]"), "give a split for each of tnl2k"),
        (("task=sample", "data=[got10k,tnllt]", "splits=[vot_train,all]"), "got10k-vot_train.arrow: no such"),
        (("task=sample", "data=[tnl2k]"), "tnl2k-train.arrow: no such index; make it with task=index"),
    ],
)
def test_a_mistake_is_one_line(
    here: Path, arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 1
    error = capsys.readouterr().err
    assert told in error and len(error.splitlines()) == 1
