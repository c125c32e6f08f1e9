"""`python -m data_prep task=index` and `task=sample`, as a user meets them."""

import json
import sys
from pathlib import Path

import pytest

from configs.app import FOLDER, run_command
from configs.command_line import read_command_line
from configs.compose import composer
from configs.plugins import PACKAGE, VARIABLE
from data_prep.__main__ import main
from data_prep.exchange import export_formats
from data_prep.exchange.exporter import EXPORTERS
from data_prep.readers import data_sets
from data_prep.readers.reader import READERS, register_reader
from data_prep.readers.tnllt import TNLLT
from tests.dataset_miniature import VIDEOS
from tests.registries import forget_later
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


PLUGIN = """
from dataclasses import replace

from data_prep.readers.reader import register_reader
from data_prep.readers.tnllt import TNLLT, read


def find(root, split):
    return TNLLT.find(root, split)[:1]


MINE = register_reader(replace(TNLLT, name="{name}", find=find))
"""


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers and plugins that a test adds are forgotten after it."""
    data_sets()
    export_formats()
    forget_later(monkeypatch, READERS, EXPORTERS)
    monkeypatch.setenv(VARIABLE, "")
    for name in [name for name in sys.modules if name.startswith(f"{PACKAGE}.")]:
        monkeypatch.delitem(sys.modules, name)


def test_every_file_of_the_package_adds_its_data_sets() -> None:
    assert data_sets() == tuple(sorted(READERS)) and {"lasot", "lasotext", "votsr"} < set(READERS)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_file_outside_the_package_adds_a_data_set(
    here: Path, registered: None, capsys: pytest.CaptureFixture[str], workers: str
) -> None:
    (here / "my_set.py").write_text(PLUGIN.format(name="my_set"))
    index = ("task=index", "plugins=[my_set.py]", "data=[my_set]", "split=all", "root=set")
    assert run(*index, f"workers={workers}") == 0
    assert "index: outputs/indexes/my_set-all.arrow (1 sequence, 0 left out;" in capsys.readouterr().out
    assert run(*SAMPLE, "plugins=[my_set.py]", "data=[my_set]") == 0
    assert run(*SAMPLE, "data=[my_sett]") == 1
    assert "data=my_sett: must be one of" in capsys.readouterr().err


EXPORTER = """
from data_prep.exchange.exporter import Exporter, Record, register_exporter


def record(plan, pair):
    return Record({"image": pair.search, "text": pair.expression})


register_exporter(Exporter("my_format", record, side_files=lambda name: {"about.txt": name}))
"""


def test_a_file_outside_the_package_adds_an_export_format(
    here: Path, registered: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "my_format.py").write_text(EXPORTER)
    assert run(*INDEX) == 0
    export = ("task=export", *SAMPLE[1:], "plugins=[my_format.py]", "format=my_format")
    assert run(*export) == 0
    assert "records: " in capsys.readouterr().out
    rows = [json.loads(line) for line in (here / "drawn" / "refertrack.jsonl").read_text().splitlines()]
    assert len(rows) == 30 and all(Path(row["image"]).is_file() and row["text"] for row in rows)
    assert (here / "drawn" / "about.txt").read_text() == "refertrack.jsonl"


def test_two_files_cannot_define_one_data_set(
    here: Path, registered: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "my_set.py").write_text(PLUGIN.format(name="tnllt"))
    assert run(*INDEX, "plugins=[my_set.py]") == 1
    told = capsys.readouterr().err
    assert (
        "data=tnllt is registered already by data_prep.readers.tnllt, and now by refertrack_plugins.my_set"
        in told
    )
    register_reader(TNLLT)  # the same file again


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
    assert "left out: car-1: " in told and "(1 sequence, 1 left out;" in told


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        (("task=check", "data=[tnllt]", "split=all"), "check/tnllt-all"),
        (("task=check", "data=[lasot]"), "check/lasot-train"),
        (("task=sample", "data=[tnl2k,tnllt]"), "sample/tnl2k+tnllt-train"),
        (("task=look", "data=[got10k,tnllt]", "splits=[vot_train,all]"), "look/got10k+tnllt-vot_train+all"),
        (("task=export",), "export"),
        (("task=index", "data=[tnllt]"), "index"),
        (("task=render",), "render"),
    ],
)
def test_what_is_told_of_a_split_lies_in_a_folder_of_its_own(arguments: tuple[str, ...], folder: str) -> None:
    with composer("data_prep", FOLDER) as composing:
        _, (config,) = composing.jobs(read_command_line(arguments))
    assert config.out == f"outputs/data_prep/{folder}"


@pytest.mark.parametrize(
    ("layout", "data", "split", "below"), [("tnl2k", "tnl2k", "test", "test"), ("tnllt", "tnllt", "all", "")]
)
def test_a_rendered_set_of_boxes_is_read_and_never_mixed(
    layout: str,
    data: str,
    split: str,
    below: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    out = Path("world", below)
    small = ("task=render", f"layout={layout}", f"out={out}", "expressions=1", "frames=2", "workers=1")
    out.mkdir(parents=True)
    (out / "versions.json").write_text("{}")  # the record of a run that was refused
    assert run(*small, "sequences=1") == 0
    told = capsys.readouterr().out.splitlines()[-1]
    assert told.startswith(f"videos as {layout}: {out} (1 sequence")
    assert run("task=index", f"data=[{data}]", "root=world", f"split={split}", "workers=1") == 0
    assert "(1 sequence, 0 left out;" in capsys.readouterr().out
    assert run(*small, "sequences=2") == 1
    assert "holds demo-001 already; name an empty folder" in capsys.readouterr().err
    assert not (out / "demo-002").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "task: this key is required; give task=check|index|sample|look|export|unpack|"),
        (("frames=3",), "task: this key is required; give task=check|"),
        (("task=index", "data=[tnllt]", "decode=true"), "decode: no such key"),
        (("task=render", "prompts=2"), "prompts: has a new name; write expressions="),
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
