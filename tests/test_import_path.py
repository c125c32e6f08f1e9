"""Started in a folder with Python files of its own, no command imports any of them."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from configs.errors import UserError
from configs.import_path import PACKAGES, ROOT, check_one_checkout, safe_path_variables

FOREIGN = ("hydra", "yaml", "numpy", "PIL", "torch", "rich", "hydra_plugins/own", "multiprocessing/__init__")


def write_modules(folder: Path, *names: str) -> Path:
    """Modules that leave a mark where they are imported; the mark."""
    mark = folder / "mark"
    for name in names:
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"open({str(mark)!r}, 'a').write(__file__ + '\\n')\n")
    return mark


def run(folder: Path, *command: str, **variables: str) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment |= {"REFERTRACK_PYTHON": sys.executable, **variables}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("script", "given"), [("infer.sh", ""), ("train.sh", ":"), ("infer.sh", ".:/tmp:")])
def test_a_script_imports_nothing_from_the_folder_it_is_called_in(
    tmp_path: Path, script: str, given: str
) -> None:
    ours = [f"{name}/__init__" for name in PACKAGES]
    mark = write_modules(tmp_path, *FOREIGN, *ours, "pathlib", "json", "configs/app", "models/config")
    run(tmp_path, "bash", str(ROOT / script), "--help", PYTHONPATH=given)
    assert not mark.exists(), mark.read_text()


def test_nor_do_a_module_that_python_runs_and_the_processes_it_starts(tmp_path: Path) -> None:
    mark = write_modules(tmp_path, *FOREIGN, "models/__init__", "evaluation/__init__")
    keys = ("task=render", "sequences=2", "frames=2", "expressions=1", "workers=2", "out=world")
    run(tmp_path, sys.executable, "-m", "data_prep", *keys, PYTHONPATH=f"{ROOT}::relative")
    assert not mark.exists(), mark.read_text()
    assert (tmp_path / "world" / "config.yaml").is_file()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, []),
        ({"PYTHONPATH": ""}, []),
        ({"PYTHONPATH": ":"}, []),
        ({"PYTHONPATH": f"/a::b:.:{ROOT}:/c:"}, ["/a", "/c"]),
    ],
)
def test_what_a_child_is_told(given: dict[str, str], wanted: list[str]) -> None:
    told = safe_path_variables(given)
    assert told == {"PYTHONSAFEPATH": "1", "PYTHONPATH": ":".join([str(ROOT), *wanted])}


def test_packages_of_two_places_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_one_checkout()
    foreign = ModuleType("models")
    foreign.__path__ = [str(tmp_path / "models")]
    monkeypatch.setitem(sys.modules, "models", foreign)
    with pytest.raises(UserError, match=r"models: was imported instead of .*models; start the command in"):
        check_one_checkout()


def test_every_python_that_is_started_leaves_its_working_folder_out() -> None:
    sources = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    starting = [text for path in sources if "sys.executable" in (text := path.read_text("utf-8"))]
    assert len(starting) >= 2
    assert all('"-P"' in text or "safe_path_variables(" in text for text in starting)
