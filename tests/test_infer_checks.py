"""Mistakes of `python -m infer` that need no model are told at once, without one being loaded."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from configs.app import FOLDER
from configs.errors import UserError
from data_prep.votsr.write import write_workspace
from infer.checks import check_settings, prompts_of
from infer.config import InferSettings

MISTAKES = [
    ({"workspace": "ws", "video": "clip.mp4"}, "workspace= and video= are both given; leave one out"),
    ({"video": "clip.mp4", "data": "tnllt"}, "video= and data= are both given; leave one out"),
    ({"prompt": "it"}, "prompt= goes with video=; the prompts of a workspace stand in its sequences"),
    (
        {"data": "tnllt", "prompt": "it"},
        "prompt= goes with video=; the prompts of a data set stand in its index",
    ),
    ({"video": "clip.mp4"}, 'video= needs prompt="…": say what to follow in it'),
    ({"video": "clip.mp4", "prompt": " ; "}, 'video= needs prompt="…": say what to follow in it'),
    ({"video": "gone.mp4", "prompt": "it"}, "gone.mp4: no such video; check video="),
    (
        {"video": "clip.mp4", "prompt": "it", "first_box": True},
        "first_box= goes with data=; for a video",
    ),
    ({"first_box": True}, "first_box= goes with data="),
    ({"workspace": "ws", "first": 2}, "first= goes with video="),
    ({"last": 2}, "last= goes with video="),
    ({"data": "tnllt", "box": "1,2,3,4"}, "box= goes with video="),
    ({"video": "clip.mp4", "prompt": "it", "first": 3, "last": 2}, "first= must not be behind last="),
    ({"video": "clip.mp4", "prompt": "it;he", "box": "1,2,3,4"}, "box= shows one target"),
    ({"video": "clip.mp4", "box": "1,2,3"}, "box=1,2,3: write x1,y1,x2,y2, four numbers in pixels"),
    ({"video": "clip.mp4", "box": "1,2,3,nan"}, "box=1,2,3,nan: x1,y1 must be its upper left corner"),
    ({"video": "clip.mp4", "box": "9,2,3,4"}, "box=9,2,3,4: x1,y1 must be its upper left corner"),
    ({"tracker_id": "a b"}, "tracker_id='a b' is no name that the toolkit takes"),
    ({"data": "tnllt", "tracker_id": "DEFAULT"}, "tracker_id='DEFAULT' is no name that the toolkit takes"),
    ({"workspace": "gone"}, "gone: no such workspace; check its path"),
    ({"workspace": "ws"}, "ws/config.yaml: "),
    ({"data": "tnllt", "split": "val"}, "tnllt-val.arrow: no such index; make it with task=index"),
]
PROGRAM = """
import runpy, sys
sys.argv[1:] = ["data=tnllt", "split=val"]
try:
    runpy.run_module("infer", run_name="__main__")
except SystemExit as end:
    print(end.code, "torch" in sys.modules)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ws").mkdir()
    (tmp_path / "clip.mp4").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(("given", "told"), MISTAKES)
def test_a_mistake_is_refused(here: Path, given: dict[str, str], told: str) -> None:
    with pytest.raises(UserError, match=re.escape(told)):
        check_settings(InferSettings(**given))


def test_the_command_tells_a_mistake_before_torch_is_imported(here: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(FOLDER.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "1 False\n", done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_what_is_right_passes(here: Path) -> None:
    write_workspace(here / "ws", ["cup"])
    check_settings(InferSettings())
    check_settings(InferSettings(workspace="ws", tracker_id="mine"))
    video = InferSettings(video="clip.mp4", prompt="the cup; it ;the cup;")
    check_settings(video)
    assert prompts_of(video) == ("the cup", "it")
