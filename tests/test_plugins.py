"""Plugins: what they add to a command, what is refused, and how other processes find them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_command

from configs.app import run_command
from configs.code_identity import code_identity
from configs.errors import UserError
from configs.plugins import PACKAGE, VARIABLE, import_inherited_plugins, load_plugins, loaded_plugins

YAML = """
defaults:
  - tiny_schema
  - tracker: plain
  - _self_
hydra:
  output_subdir: null
  run:
    dir: ${out}
"""
ADDS_A_TRACKER = """
import tiny_command
from dataclasses import dataclass
from configs.schema import key

@dataclass(frozen=True)
class Wide:
    width: int = key(3, "how wide")

tiny_command.TRACKERS["wide"] = Wide()
"""
IN_ANOTHER_PROCESS = """
from data_prep.parallel import in_processes
from {package}.{name} import double

if __name__ == "__main__":
    assert list(in_processes(double, [1, 2], 2)) == [2, 4]
"""


@pytest.fixture(autouse=True)
def forget_plugins(monkeypatch: pytest.MonkeyPatch):
    """No plugin stays loaded after a test."""
    monkeypatch.setenv(VARIABLE, "")
    yield
    for name in [name for name in sys.modules if name.startswith(f"{PACKAGE}.")]:
        del sys.modules[name]


def plugin(folder: Path, text: str, name: str = "mine.py") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


def load(*paths: Path) -> None:
    load_plugins(["out=x", f"plugins=[{','.join(map(str, paths))}]"])


def test_a_plugin_adds_an_option_to_a_group(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tiny_command, "TRACKERS", dict(tiny_command.TRACKERS))
    tiny_command.register_settings()
    folder = tmp_path / "yaml"
    folder.mkdir()
    (folder / "tiny.yaml").write_text(YAML)
    path = plugin(tmp_path, ADDS_A_TRACKER)
    arguments = [f"plugins=[{path}]", "tracker=wide", "tracker.width=5", f"out={tmp_path / 'out'}"]
    seen = []

    def main(settings: tiny_command.Tiny) -> int:
        seen.append(settings.tracker.width)
        return 0

    assert run_command("tiny", main, "", arguments, folder) == 0
    assert seen == [5]
    assert run_command("tiny", main, "", [*arguments, "--help"], folder) == 0
    assert "deep, plain, wide" in capsys.readouterr().out


def test_plugins_of_a_yaml_file_are_refused(tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(YAML + "plugins: [mine.py]\n")
    assert run_command("tiny", tiny_command.main, "", [f"out={tmp_path / 'out'}"], tmp_path) == 1
    assert "plugins: mine.py: is named in a YAML file; name it on the command line" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("mine.txt", "", r"mine\.txt: is no Python file"),
        ("my-tracker.py", "", r"my-tracker\.py: is no Python file that can be imported; name it like"),
        ("bad.py", "import sys\n1 / 0\n", r"bad\.py:2: ZeroDivisionError"),
        ("odd.py", "\n\nx = (\n", r"odd\.py:3: SyntaxError"),
        ("missing.py", "import no_such_module_at_all\n", r"missing\.py:1: ModuleNotFoundError"),
    ],
)
def test_what_is_wrong_with_a_plugin_is_one_line(tmp_path, name, text, told):
    with pytest.raises(UserError, match=told):
        load(plugin(tmp_path, text, name))
    assert loaded_plugins() == ()


def test_a_missing_file_and_two_of_one_name_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"no\.py: no such file"):
        load(tmp_path / "no.py")
    with pytest.raises(UserError, match=r"b/mine\.py: .*a/mine\.py has the same name"):
        load(plugin(tmp_path / "a", ""), plugin(tmp_path / "b", ""))
    with pytest.raises(UserError, match=r"write 'plugins=\[my_tracker\.py\]'"):
        load_plugins(["plugins=mine.py"])


def test_neighbours_of_a_plugin_are_not_imported(tmp_path):
    plugin(tmp_path, "raise RuntimeError", "json.py")
    plugin(tmp_path, "raise RuntimeError", "neighbour.py")
    load(plugin(tmp_path, "import json\n"))
    with pytest.raises(UserError, match="No module named 'neighbour'"):
        load(plugin(tmp_path, "import neighbour\n", "other.py"))


def test_the_code_of_a_plugin_belongs_to_the_identity(tmp_path):
    entries = ("data_prep.geometry",)
    without = code_identity(entries)
    load(plugin(tmp_path / "a", "WIDTH = 1\n"))
    first = code_identity(entries)
    assert first != without
    del sys.modules[f"{PACKAGE}.mine"]
    load(plugin(tmp_path / "b", "WIDTH = 2\n"))
    assert code_identity(entries) not in (first, without)
    load_plugins([])
    assert code_identity(entries) == without


def test_processes_that_are_started_afresh_find_plugins(tmp_path):
    load(plugin(tmp_path, "def double(number):\n    return 2 * number\n", "doubling.py"))
    import_inherited_plugins()
    script = tmp_path / "script.py"
    script.write_text(IN_ANOTHER_PROCESS.format(package=PACKAGE, name="doubling"))
    root = Path(__file__).resolve().parent.parent
    # `configs` is imported first, as every command does it.
    script.write_text("import configs\n" + script.read_text())
    environment = os.environ | {"PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-P", str(script)], env=environment, check=True)
