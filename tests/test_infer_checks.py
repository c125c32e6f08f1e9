"""Mistakes of `python -m infer` that need no model are told at once, without one being loaded."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from configs.app import FOLDER, run_command
from configs.errors import UserError
from data_prep.votsr.textfiles import write_workspace
from infer.config import TRACKER_ID, InferSettings, run_name
from infer.runs.checks import check_settings, parse_expressions
from models.config import GROUNDERS, GrounderConfig
from models.devices import choose_device, choose_dtype
from models.mask_head.config import MASK_HEADS, MaskHeadConfig, Sam2MetaConfig

MISTAKES = [
    ({"workspace": "ws", "video": "clip.mp4"}, "workspace= and video= are both given; leave one out"),
    ({"video": "clip.mp4", "data": "tnllt"}, "video= and data= are both given; leave one out"),
    ({"prompt": "it"}, "prompt= goes with video=; the expressions of a workspace are in its sequences"),
    (
        {"data": "tnllt", "prompt": "it"},
        "prompt= goes with video=; the expressions of a data set are in its index",
    ),
    ({"video": "clip.mp4"}, 'video= needs prompt="…", a description of the target'),
    ({"video": "clip.mp4", "prompt": " ; "}, 'video= needs prompt="…", a description of the target'),
    ({"video": "gone.mp4", "prompt": "it"}, "gone.mp4: no such video; check video="),
    (
        {"video": "clip.mp4", "prompt": "it", "first_box": True},
        "first_box= goes with data=; for a video",
    ),
    ({"first_box": True}, "first_box= goes with data="),
    ({"workspace": "ws", "first": 2}, "first= goes with video="),
    ({"last": 2}, "last= goes with video="),
    ({"data": "tnllt", "box": "1,2,3,4"}, "box= goes with video="),
    ({"video": "clip.mp4", "prompt": "it", "first": 3, "last": 2}, "first= must not be greater than last="),
    ({"video": "clip.mp4", "prompt": "it;he", "box": "1,2,3,4"}, "box= shows one target"),
    ({"video": "clip.mp4", "box": "1,2,3"}, "box=1,2,3: write x1,y1,x2,y2, four numbers in pixels"),
    ({"video": "clip.mp4", "box": "1,2,3,nan"}, "box=1,2,3,nan: x1,y1 must be its upper left corner"),
    ({"video": "clip.mp4", "box": "9,2,3,4"}, "box=9,2,3,4: x1,y1 must be its upper left corner"),
    ({"tracker_id": "a b"}, "tracker_id='a b' is not a name that the toolkit accepts"),
    (
        {"data": "tnllt", "tracker_id": "DEFAULT"},
        "tracker_id='DEFAULT' is not a name that the toolkit accepts",
    ),
    ({"workspace": "gone"}, "gone: no such workspace; check its path"),
    ({"workspace": "ws"}, "ws/config.yaml: "),
    ({"data": "tnllt", "split": "val"}, "tnllt-val.arrow: no such index; make it with task=index"),
]
NANO, NANO_MASK_HEAD = GROUNDERS["nano"].checkpoint, MASK_HEADS["nano"].checkpoint
BAD_CHECKPOINTS = [
    ({"mask_head": MaskHeadConfig("./gone")}, "mask_head.checkpoint=./gone: no such folder"),
    ({"mask_head": MaskHeadConfig("ws")}, "mask_head.checkpoint=ws: the folder has no config.json"),
    ({"mask_head": MaskHeadConfig("")}, "mask_head.checkpoint=: is empty; name a folder, or a hub id"),
    ({"mask_head": Sam2MetaConfig("")}, "mask_head.checkpoint=: is empty; name a .pt file, or a hub id"),
    ({"model": GrounderConfig("")}, "model.checkpoint=: is empty; name a folder, or a hub id"),
    ({"mask_head": MaskHeadConfig(NANO)}, f"mask_head.checkpoint={NANO}: holds a 'qwen2_5_vl' model"),
    ({"model": GrounderConfig("./gone")}, "model.checkpoint=./gone: no such folder"),
    ({"model": GrounderConfig(NANO_MASK_HEAD)}, f"model.checkpoint={NANO_MASK_HEAD}: holds a 'sam2_video'"),
    ({"model": GrounderConfig(NANO, contract="instruct")}, "model.contract=instruct: differs from "),
]
SOURCES = [{}, {"workspace": "ws"}, {"video": "clip.mp4", "prompt": "it"}]
PROGRAM = """
import runpy, sys
sys.argv[1:] = GIVEN
try:
    runpy.run_module(COMMAND, run_name="__main__")
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


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("given", "told"), BAD_CHECKPOINTS)
def test_a_wrong_checkpoint_is_refused_before_it_loads(
    here: Path, given: dict[str, Any], source: dict[str, Any], told: str
) -> None:
    write_workspace(here / "ws", ["cup"])
    with pytest.raises(UserError, match=re.escape(told)):
        check_settings(InferSettings(**source, **given))


@pytest.mark.parametrize(
    ("command", "given"),
    [
        ("infer", ["data=tnllt", "split=val"]),
        ("infer", ["mask_head.checkpoint=./gone"]),
        ("train", ["model.checkpoint=./gone"]),
        ("train", ["task=merge", "model.checkpoint=./gone"]),
    ],
)
def test_the_command_tells_a_mistake_before_torch_is_imported(
    here: Path, command: str, given: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"COMMAND, GIVEN = {command!r}, {given!r}{PROGRAM}"],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(FOLDER.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "1 False\n", done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_results_of_two_names_have_two_folders(tmp_path: Path) -> None:
    """The second run would otherwise be refused, because it would replace the first."""
    places = [
        (str(tmp_path / "ws"), None, None),
        (None, "a/clip.mp4", None),
        (None, None, "tnllt"),
        (None, None, None),
    ]
    for workspace, video, data in places:
        folders = {run_name(workspace, video, data, "test", name) for name in (TRACKER_ID, "published")}
        assert len(folders) == 2
    assert run_name(None, None, None, "test", TRACKER_ID) == "demo"
    assert run_name(None, "a/clip.mp4", None, "test", TRACKER_ID) == "clip"


def test_what_is_right_passes(here: Path) -> None:
    write_workspace(here / "ws", ["cup"])
    check_settings(InferSettings())
    check_settings(InferSettings(workspace="ws", tracker_id="mine"))
    video = InferSettings(video="clip.mp4", prompt="the cup; it ;the cup;")
    check_settings(video)
    assert parse_expressions(video) == ("the cup", "it")


@pytest.mark.parametrize("command", ["infer", "train"])
@pytest.mark.parametrize(
    "override", ["device=gpu", "device=cuda:", "device=cuda:x", "device=cuda:-1", "model.dtype=half"]
)
def test_a_device_or_format_that_is_none_is_one_line(
    command: str, override: str, capsys: pytest.CaptureFixture[str]
) -> None:
    importlib.import_module(f"{command}.config")
    assert run_command(command, lambda settings: 0, "", [override]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {override}: must be one of auto, ") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gpu", "device=gpu: torch knows no such device; take auto, cpu, cuda or mps"),
        ("cuda", "device=cuda: this machine has no such GPU that torch can use; take device=auto"),
        ("cuda:0", "device=cuda:0: this machine has no such GPU that torch can use"),
        ("mps", "device=mps: this machine has no such GPU that torch can use; take device=auto"),
    ],
)
def test_a_device_that_is_not_there_is_one_line(
    name: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match=re.escape(told)):
        choose_device(name)
    assert choose_device("auto") == torch.device("cpu")


def test_devices_that_are_there_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    named = {name: choose_device(name) for name in ("auto", "cpu", "cuda", "cuda:1", "mps")}
    told = {name: str(device) for name, device in named.items()}
    assert told == {"auto": "cuda", "cpu": "cpu", "cuda": "cuda", "cuda:1": "cuda:1", "mps": "mps"}
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_80", "sm_90"])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    formats = {name: choose_dtype("auto", device) for name, device in named.items()}
    assert [name for name, dtype in formats.items() if dtype == torch.bfloat16] == ["auto", "cuda", "cuda:1"]
    with pytest.raises(UserError, match="device=cuda:2: the last GPU is cuda:1; take that"):
        choose_device("cuda:2")
