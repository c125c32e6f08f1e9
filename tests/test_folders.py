"""Folders that are written completely or not at all, and what killed processes leave of them."""

from pathlib import Path

import pytest

from data_prep.folders import tidy, whole_folder


def test_a_folder_is_there_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "best"
    with whole_folder(path) as temporary:
        (temporary / "a").write_text("one")
    with pytest.raises(KeyError), whole_folder(path) as temporary:
        (temporary / "a").write_text("two")
        raise KeyError
    assert (path / "a").read_text() == "one" and [each.name for each in tmp_path.iterdir()] == ["best"]


def test_what_a_killed_process_left_is_cleared_or_brought_back(tmp_path: Path) -> None:
    for name in (".part-best", ".old-best", ".old-gone"):
        (tmp_path / name).mkdir()
    (tmp_path / ".part-x.json").touch()
    (tmp_path / "best").mkdir()
    tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "gone"]


@pytest.mark.parametrize("name", [".old-best", ".old-gone", ".part-best"])
def test_a_link_is_removed_and_what_it_leads_to_is_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a").touch()
    folder = tmp_path / "run"
    (folder / "best").mkdir(parents=True)
    (folder / name).symlink_to(tmp_path / "elsewhere")
    tidy(folder)
    assert [path.name for path in folder.iterdir()] == ["best"] and (tmp_path / "elsewhere" / "a").is_file()
