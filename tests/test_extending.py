"""The examples of docs/extending.md: each file adds what it says, from the command line."""

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_models import TINY
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLProcessor

from configs.plugins import VARIABLE
from data_prep.contract.contract import write_contract
from data_prep.video.frames import read_image
from data_prep.votsr.regions import decode_mask
from data_prep.world.presets import PRESETS
from data_prep.world.render import render_workspace
from tests.forkserver import FORKSERVER

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text()
FILES = dict(re.findall(r"^`(\w+\.py)`:\n\n```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
COMMANDS = [
    line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
]
PACKAGES = {"bash infer.sh": "infer", "bash train.sh": "train"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the page, and the inputs that its commands name in capitals."""
    folder = tmp_path_factory.mktemp("extending")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    render_workspace(folder / "WORKSPACE", PRESETS["demo"], 2, 1, 4)
    for sequence in sorted((folder / "WORKSPACE" / "sequences").glob("*/")):
        copy = folder / "VIDEOS" / "test" / sequence.name
        shutil.copytree(sequence / "color", copy / "frames")
        (copy / "expression.txt").write_text("the ball\n")
        size = read_image(next((copy / "frames").iterdir())).shape[1::-1]
        lines = next(sequence.glob("groundtruth_*")).read_text().split()
        (copy / "boxes.txt").write_text("".join(f"{box_line(line, size)}\n" for line in lines))
    save_qwen2_vl(folder / "CHECKPOINT")
    return folder


def save_qwen2_vl(folder: Path) -> None:
    """A tiny model of a family that is none of ours, with random weights."""
    tiny = TINY["qwen2_5_vl"]
    processor = tiny.build_processor()
    known = tiny.build_grounder(processor, width=32, layers=1, vision_layers=2).config
    text = {name: value for name, value in known.text_config.to_dict().items() if name != "model_type"}
    vision = {
        "depth": 2,
        "embed_dim": 32,
        "hidden_size": 32,
        "num_heads": 1,
        "mlp_ratio": 2,
        "patch_size": 14,
    }
    tokens = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    config = Qwen2VLConfig(
        text_config=text, vision_config=vision, tie_word_embeddings=True,
        **{name: getattr(known, name) for name in tokens},
    )  # fmt: skip
    Qwen2VLForConditionalGeneration(config).save_pretrained(folder)
    parts = ("image_processor", "tokenizer", "video_processor", "chat_template")
    Qwen2VLProcessor(**{name: getattr(processor, name) for name in parts}).save_pretrained(folder)
    write_contract(folder, tiny.contract)


def box_line(line: str, size: tuple[int, int]) -> str:
    """`x,y,width,height` of a mask in VOT's format."""
    mask = decode_mask(line, size)
    if mask is None or not mask.any():
        return "0,0,0,0"
    rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
    return f"{columns[0]},{rows[0]},{columns[-1] - columns[0] + 1},{rows[-1] - rows[0] + 1}"


def run(line: str, folder: Path) -> str:
    """Run a command of the page in a forked process, which has torch imported already; its output."""
    for script, package in PACKAGES.items():
        line = line.replace(script, f"python -m {package}")
    python, flag, package, *arguments = shlex.split(line)
    assert (python, flag) == ("python", "-m")
    log = folder / "log.txt"
    child = FORKSERVER.Process(target=run_module, args=(package, arguments, folder, log))
    child.start()
    child.join()
    output = log.read_text()
    assert child.exitcode == 0, output
    return output


def run_module(package: str, arguments: list[str], folder: Path, log: Path) -> None:
    """What `python -m package` does in a folder, with its output in a file. Ends the process."""
    with log.open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    os.chdir(folder)
    os.environ.pop(VARIABLE, None)
    sys.argv = [package, *arguments]
    runpy.run_module(package, run_name="__main__", alter_sys=True)


def test_the_page_has_an_example_for_each_row_of_its_table() -> None:
    rows = re.findall(r"^\| an? (.+?) \|", PAGE, re.MULTILINE)
    headings = re.findall(r"^## An? (.+)$", PAGE, re.MULTILINE)
    assert rows == headings
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        # A backend is a file of the package, and an example of one is in a test.
        assert "```python" in section or "tests/test_backends.py" in section


def test_the_commands_of_the_page_run_and_use_its_files(folder: Path) -> None:
    outputs = [run(line, folder) for line in COMMANDS]
    assert all(outputs)
    results = sorted((folder / "WORKSPACE" / "results" / "first_look" / "baseline").glob("*/*.txt"))
    assert len(results) == 2 and all(len(path.read_text().split()) == 4 for path in results)
    boxes = sorted((folder / "outputs" / "results" / "my_videos-test" / "first_look").glob("*.txt"))
    assert [len(path.read_text().split()) for path in boxes] == [4, 4]
    scores = json.loads((folder / "outputs" / "evaluation" / "mean_iou" / "scores.json").read_text())
    assert 20 < scores["first_look"]["iou"] <= 100
    assert any("family       qwen2_vl" in output for output in outputs)
    assert len(list((folder / "WORKSPACE" / "results" / "qwen2_vl" / "baseline").glob("*/*.txt"))) == 2
    run_without_weights = folder / "WORKSPACE" / "results" / "template_matching"
    fingerprint = json.loads((run_without_weights / "fingerprint.json").read_text())
    assert fingerprint["grounder_settings"] == {"max_distance": 90.0}
    assert any(line.startswith("m") for path in run_without_weights.glob("*/*/*.txt") for line in path.open())
    rows = [json.loads(line) for line in (folder / "exported" / "refertrack.jsonl").read_text().splitlines()]
    assert len(rows) == 8 and all(row.keys() == {"image", "expression", "box_xywh"} for row in rows)
    rows = [json.loads(line) for line in (folder / "presence" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "accuracy" in row] == [0, 2, 4]
    assert [path.name for path in sorted((folder / "presence").glob("*/weights.pt"))] == ["weights.pt"] * 2


@pytest.mark.parametrize("name", FILES)
def test_the_examples_follow_the_rules_of_the_tree(name: str) -> None:
    ruff = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--config",
        str(ROOT / "pyproject.toml"),
        "--ignore",
        "ARG001,ARG002",
        "-",
    ]
    checked = subprocess.run(ruff, input=FILES[name], text=True, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout
