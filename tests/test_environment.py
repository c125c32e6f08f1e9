"""The script that makes the environment, run with a stub for Python; and the pins it installs."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("python", "python3", "python3.11", "python3.12")

STUB = """#!/usr/bin/env bash
# A Python that notes what pip is asked for. STUB_OLD=1: of an old version; STUB_FAIL: what cannot be had.
case "$1 $2" in
    "-c "*) exit "${STUB_OLD:-0}" ;;
    "--version "*) echo "Python 3.9.9" ;;
    "-m venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "-m pip")
        [ "$3" = install ] || exit 0
        echo "$*" >>calls
        sleep "${STUB_SECONDS:-0}"
        case "$*" in *"${STUB_FAIL:-nothing}"*)
            echo "Collecting one"
            echo "ERROR: No matching distribution found for one==1"
            exit 1 ;;
        esac ;;
    *) printf '%s\\n' "$@" ;;
esac
"""


PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


@pytest.fixture
def root(tmp_path):
    """A checkout of the scripts and pins alone, and the stub under every name that is looked for."""
    (tmp_path / "configs").mkdir()
    for name in (
        "configs/environment.sh",
        "configs/constraints.txt",
        "pyproject.toml",
        "infer.sh",
        "train.sh",
    ):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    for name in NAMES:
        stub = tmp_path / "bin" / name
        stub.write_text(STUB)
        stub.chmod(0o755)
    return tmp_path


def start(root: Path, *extras: str, **variables: str) -> subprocess.Popen[str]:
    script = (
        f"set -euo pipefail; source configs/environment.sh; use_environment {' '.join(extras)}; echo $PYTHON"
    )
    return subprocess.Popen(
        ["bash", "-c", script], cwd=root, text=True, env=environment(root, **variables), **PIPES
    )


def environment(root: Path, **variables: str) -> dict[str, str]:
    return {"PATH": f"{root / 'bin'}:{os.environ['PATH']}", **variables}


def use(root: Path, *extras: str, **variables: str) -> tuple[int, str, str]:
    """Status, stdout and stderr of a script that uses the environment."""
    process = start(root, *extras, **variables)
    out, err = process.communicate(timeout=60)
    return process.returncode, out.strip(), err


def installs(root: Path) -> list[str]:
    """The install commands since the last look."""
    calls = root / "calls"
    lines = calls.read_text().splitlines() if calls.exists() else []
    calls.unlink(missing_ok=True)
    return lines


def change(path: Path) -> None:
    path.write_text(path.read_text() + "# changed\n")


def test_an_old_python_is_one_line(root):
    status, _, err = use(root, STUB_OLD="1")
    assert status == 1
    assert err.startswith("error: Python 3.11 or newer is needed and Python 3.9.9 was found;")
    assert err.count("\n") == 1
    assert not (root / ".venv").exists()


def test_an_environment_is_made_once(root):
    status, out, err = use(root)
    assert (status, out) == (0, str(root / ".venv" / "bin" / "python"))
    assert re.fullmatch(r"(environment: .* \.\.\. \d+ s\n){4}", err)
    made = installs(root)
    assert all("--constraint configs/constraints.txt" in line for line in made)
    assert made[-1].endswith("--force-reinstall --no-deps opencv-python-headless")
    assert use(root) == (0, str(root / ".venv" / "bin" / "python"), "")
    assert installs(root) == []


def test_extras_are_added_and_kept(root):
    use(root, "train")
    assert any(line.endswith("--editable .[train]") for line in installs(root))
    use(root, "test")
    assert any(line.endswith("--editable .[test,train]") for line in installs(root))
    use(root, "train")
    use(root)
    assert installs(root) == []


@pytest.mark.parametrize("name", ["pyproject.toml", "configs/constraints.txt"])
def test_changed_pins_are_installed(root, name):
    use(root)
    installs(root)
    change(root / name)
    use(root)
    assert installs(root)


def test_a_failed_install_says_what_failed(root):
    status, _, err = use(root, STUB_FAIL="--editable")
    assert status == 1
    *_, what, where = err.splitlines()
    assert what == "ERROR: No matching distribution found for one==1"
    assert where.startswith("error: torch")
    assert where.endswith("failed; the whole log is outputs/environment.log")
    assert "Collecting one" in (root / "outputs" / "environment.log").read_text()


def test_a_half_made_environment_is_not_taken_for_a_whole_one(root):
    use(root)
    pins = (root / "pyproject.toml").read_text()
    change(root / "pyproject.toml")
    assert use(root, STUB_FAIL="--editable")[0] == 1
    (root / "pyproject.toml").write_text(pins)
    installs(root)
    assert use(root)[0] == 0
    assert installs(root)


def test_a_failed_install_without_an_error_line_shows_the_end_of_the_log(root):
    stub = root / "bin" / "python3.11"
    stub.write_text(STUB.replace("ERROR: No matching distribution found for one==1", "Killed"))
    assert "Killed" in use(root, STUB_FAIL="setuptools")[2]


def test_a_broken_environment_is_made_anew(root):
    use(root)
    (root / ".venv" / "bin" / "python").unlink()
    _, _, err = use(root)
    assert "making .venv" in err
    assert (root / ".venv" / "bin" / "python").exists()


def test_two_commands_at_once_install_once(root):
    both = [start(root, STUB_SECONDS="0.3") for _ in range(2)]
    for process in both:
        process.communicate(timeout=60)
    assert [process.returncode for process in both] == [0, 0]
    assert len(installs(root)) == 3


def test_an_environment_of_the_users_own_is_left_as_it_is(root):
    own = str(root / "bin" / "python3")
    assert use(root, "train", REFERTRACK_PYTHON=own) == (0, own, "")
    assert not (root / ".venv").exists()
    assert installs(root) == []


@pytest.mark.parametrize("variables", [{"REFERTRACK_PYTHON": "/no/such/python"}, {"STUB_OLD": "1"}])
def test_a_python_that_does_not_do_is_refused_by_name(root, variables):
    status, _, err = use(root, **{"REFERTRACK_PYTHON": str(root / "bin" / "python"), **variables})
    assert status == 1
    assert err.startswith("error: REFERTRACK_PYTHON=")
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["infer", "train"])
def test_a_script_hands_its_keys_on_as_they_are(root, tmp_path_factory, command):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    variables = environment(root, REFERTRACK_PYTHON=str(root / "bin" / "python"))
    words = ["prompt=the man's hat, (left)", "out=$HOME", "a=*"]
    done = subprocess.run(
        ["bash", str(root / f"{command}.sh"), *words],
        cwd=elsewhere,
        env=variables,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == ["-m", command, *words]


@pytest.mark.parametrize("command", ["infer", "train"])
def test_cdpath_leads_no_script_elsewhere(root, command):
    """CDPATH makes `cd` search other folders first, and print where it went."""
    (root / "other" / "checkout").mkdir(parents=True)
    (root / "checkout").symlink_to(root)
    python = str(root / "bin" / "python")
    variables = environment(root, REFERTRACK_PYTHON=python, CDPATH=str(root / "other"))
    script = ["bash", f"checkout/{command}.sh", "a=1"]
    done = subprocess.run(script, cwd=root, env=variables, capture_output=True, text=True)
    assert (done.stdout.splitlines(), done.stderr) == (["-m", command, "a=1"], "")


def test_everything_that_is_wanted_has_one_exact_pin():
    pins = [
        line for line in (ROOT / "configs" / "constraints.txt").read_text().splitlines() if line[:1] != "#"
    ]
    names = [plain(re.fullmatch(r"([\w.-]+)==[\w.]+", pin)[1]) for pin in pins]
    assert len(names) == len(set(names))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    # vLLM pins other versions of the same packages, so it is installed in an environment of its own.
    extras = [extra for name, extra in project["optional-dependencies"].items() if name != "vllm"]
    wanted = [*project["dependencies"], *(one for extra in extras for one in extra)]
    assert {plain(re.match(r"[\w.-]+", one)[0]) for one in wanted} <= set(names)


def test_both_builds_of_opencv_have_one_version():
    pins = dict(
        re.findall(
            r"^(opencv[\w-]+)==(.*)$", (ROOT / "configs" / "constraints.txt").read_text(), re.MULTILINE
        )
    )
    assert pins["opencv-python"] == pins["opencv-python-headless"]


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
