"""A protocol and a mask head that are one file outside the packages, used from the command line."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from box_miniature import write_toolkit
from test_protocol_tnllt import ten_trackers

import infer.config  # noqa: F401  # registers the command
from configs.app import run_command
from configs.plugins import PACKAGE, VARIABLE
from evaluation.__main__ import main
from evaluation.protocols import registry
from evaluation.protocols.matlab_toolkits import OTB
from models.interfaces import Masking
from models.mask_head import registry as mask_heads
from models.mask_head.config import MaskHeadConfig
from tests.registries import forget_later

PROTOCOL = """
from evaluation.boxes.ope import OVERLAPS, OpeRules, has_area, has_no_area
from evaluation.boxes.protocol import OPE_METRICS, ope_protocol
from evaluation.protocols.registry import register_protocol

RULES = OpeRules(is_invalid=has_no_area, is_countable=has_area, overlaps=OVERLAPS, normalised=False)
METRICS = OPE_METRICS[:2]
MINE = register_protocol(ope_protocol("mine", RULES, "As I count.", "This test.", METRICS))
"""
OTHER_PROTOCOL = """
from collections.abc import Sequence
import numpy as np
from evaluation.scores import Benchmark, Evaluation, Measures, Metric, TrackerScores
from evaluation.protocols.registry import register_protocol

class Lengths:
    name = "lengths"

    def evaluate(self, settings):
        metric = Metric("lines", "Lines", unit="lines")
        measures = Measures("lengths", (metric,), (), "The lines of the results.", "This test.")
        lines = np.array([4.0, 6.0])
        scores = TrackerScores("me", {"lines": 5.0}, {"lines": lines})
        return Evaluation(measures, Benchmark("mine", ("a", "b"), np.array([0, 4, 10])), (scores,))

    def frame_source(self, settings):
        return None

register_protocol(Lengths())
"""
MASK_HEAD = """
from dataclasses import dataclass
from configs.schema import key
from models.mask_head.config import MaskHeadConfig
from models.mask_head.registry import register_mask_head

@dataclass(frozen=True)
class Boxes(MaskHeadConfig):
    grow: float = key(1.0, "by how much a box grows", minimum=0)

def check(config):
    from configs.errors import UserError
    raise UserError(f"mask_head.grow={config.grow}: checked")

@register_mask_head(check=check, boxes=Boxes(checkpoint="none"))
def load(config, device):
    return config, device
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Write a plugin; returns the argument that names it. What it registers is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "")
    registry.PROTOCOLS.load_package()
    forget_later(monkeypatch, registry.PROTOCOLS, mask_heads.MASK_HEADS)

    def write(text: str) -> str:
        (tmp_path / "mine.py").write_text(text)
        return "plugins=[mine.py]"

    yield write
    sys.modules.pop(f"{PACKAGE}.mine", None)


def test_a_box_protocol_is_one_file(plugin: Callable[[str], str], tmp_path: Path) -> None:
    truth, flags, trackers = ten_trackers()
    write_toolkit(tmp_path, truth, flags, trackers)
    given = ("truth=annos", "results=tracking_results", "trackers=[t0,t1]")
    assert run_command("evaluation", main, "", [plugin(PROTOCOL), "protocol=mine", "out=out", *given]) == 0
    found = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert found.keys() == {"t0", "t1"} and found["t0"].keys() >= {"success", "precision"}
    assert "As I count." in (tmp_path / "out" / "report.html").read_text()


def test_any_object_with_the_methods_is_a_protocol(
    plugin: Callable[[str], str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [plugin(OTHER_PROTOCOL), "protocol=lengths", "out=out"]
    assert run_command("evaluation", main, "", arguments) == 0
    assert json.loads((tmp_path / "out" / "scores.json").read_text()) == {"me": {"lines": 5.0}}
    assert run_command("evaluation", main, "", [arguments[0], "--help"]) == 0
    assert "got10k, lasot, lengths, otb" in " ".join(capfd.readouterr().out.split())


def test_a_name_that_is_taken_is_refused(
    plugin: Callable[[str], str], capfd: pytest.CaptureFixture[str]
) -> None:
    argument = plugin(PROTOCOL.replace('"mine"', '"otb"'))
    assert run_command("evaluation", main, "", [argument, "out=out"]) == 1
    assert "ValueError: protocol=otb is registered already" in capfd.readouterr().err
    assert registry.protocol_of("otb") is OTB


def test_a_mask_head_is_one_file(
    plugin: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from infer.__main__ import main as infer

    arguments = [plugin(MASK_HEAD), "mask_head=boxes", "mask_head.grow=1.5", "out=out"]
    assert run_command("infer", infer, "", arguments) == 1
    assert capfd.readouterr().err.splitlines()[-1] == "error: mask_head.grow=1.5: checked"
    config = mask_heads.MASK_HEADS["boxes"]
    device = torch.device("cpu")
    assert mask_heads.load_mask_head(config, device) == (config, device)


def test_the_mask_head_of_the_project_is_loaded_by_its_settings() -> None:
    head: Masking = mask_heads.load_mask_head(mask_heads.MASK_HEADS["nano"], torch.device("cpu"))
    assert head.identity()["dtype"] == "torch.float32"
    with pytest.raises(TypeError, match="must be objects of one dataclass"):
        mask_heads.register_mask_head(a=MaskHeadConfig("a"), b=3)(lambda *_: head)
