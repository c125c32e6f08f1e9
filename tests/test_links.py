"""A folder of results may hold links that others made: nothing is written to where they lead."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from configs.errors import UserError
from configs.record import RECORD, write_record
from data_prep.files import append_text, is_file, is_folder, real_path
from data_prep.folders import LOCK, alone_in
from infer.config import InferSettings
from infer.runs.checks import check_settings, source_identity
from infer.runs.locks import FileLock
from infer.trackers.referral import ReferralConfig


def _lock(folder: Path) -> None:
    with alone_in(folder, "trains"):
        pass


WRITERS: dict[str, Callable[[Path], object]] = {
    LOCK: _lock,
    ".lock-trackers.ini": lambda folder: FileLock(folder / ".lock-trackers.ini").acquire(),
    "metrics.jsonl": lambda folder: append_text(folder / "metrics.jsonl", "{}\n"),
}


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize("name", WRITERS)
def test_a_link_is_refused(name: str, is_there: bool, tmp_path: Path) -> None:
    target, folder = tmp_path / "elsewhere", tmp_path / "out"
    folder.mkdir()
    if is_there:
        target.write_text("kept")
    (folder / name).symlink_to(target)
    with pytest.raises(UserError, match=name):
        WRITERS[name](folder)
    assert target.read_text() == "kept" if is_there else not target.exists()


@pytest.mark.parametrize("name", RECORD)
def test_the_record_replaces_a_link(name: str, tmp_path: Path) -> None:
    target, folder = tmp_path / "elsewhere", tmp_path / "out"
    target.write_text("kept")
    folder.mkdir()
    (folder / name).symlink_to(target)
    write_record(folder, OmegaConf.create({"a": 1}))
    assert target.read_text() == "kept" and not (folder / name).is_symlink()
    assert sorted(path.name for path in folder.iterdir()) == sorted(RECORD)


def test_lines_are_added_to_a_file(tmp_path: Path) -> None:
    for text in ("a\n", "b\n"):
        append_text(tmp_path / "lines", text)
    assert (tmp_path / "lines").read_text() == "a\nb\n"


def test_an_entry_that_links_to_itself_is_no_file_and_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "itself").symlink_to("itself")
    (tmp_path / "nowhere").symlink_to("gone")
    with os.scandir(tmp_path) as entries:
        kinds = {entry.name: (is_file(entry), is_folder(entry)) for entry in entries}
    assert kinds == {
        "file": (True, False),
        "folder": (False, True),
        "itself": (False, False),
        "nowhere": (False, False),
    }


def test_a_path_that_links_to_itself_is_no_surprise(tmp_path: Path) -> None:
    loop = tmp_path / "clip.mp4"
    loop.symlink_to(loop.name)
    (tmp_path / "other").symlink_to(tmp_path)
    assert real_path(loop) == loop and real_path(tmp_path / "other" / "x") == tmp_path.resolve() / "x"
    settings = InferSettings(
        video=str(loop), prompt="it", tracker=ReferralConfig(), out=str(tmp_path / "out")
    )
    assert source_identity(settings)["video"] == str(loop)
    with pytest.raises(UserError, match=r"clip\.mp4"):
        check_settings(settings)
