"""`python -m models task=doctor`: what is recognised, and the fault of each broken checkpoint in one line."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from configs.app import run_command
from data_prep.contract.contract import BUILT_IN, read_contract, write_contract
from models.__main__ import DOC, main
from models.commands import doctor as doctor_module
from models.commands.doctor import doctor
from models.commands.doctor_questions import rendered_cases
from models.config import GROUNDERS, SHIPPED, GrounderConfig
from models.grounder.grounder import Grounder
from models.mask_head.config import MASK_HEADS
from models.serving.canary import read_canary
from tests.tiny_models import save_mask_head

CPU = torch.device("cpu")
NANO = SHIPPED / "nano_grounder"


@pytest.fixture
def nano(tmp_path: Path) -> Path:
    """A copy of the shipped grounder."""
    return Path(shutil.copytree(NANO, tmp_path / "nano"))


@pytest.fixture
def examined(
    nano: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[list[str], str]]:
    """Examine a grounder without a mask head; its faults, and what was printed."""
    monkeypatch.setattr(doctor_module, "_examine_mask_head", lambda *_: {})

    def examine(checkpoint: Path | str = nano, **settings: str) -> tuple[list[str], str]:
        status = doctor(GrounderConfig(str(checkpoint), **settings), None, tmp_path / "out", CPU)
        faults = json.loads((tmp_path / "out" / "doctor.json").read_text())["faults"]
        printed = capsys.readouterr().out
        assert status == (1 if faults else 0)
        assert all(f"fault: {fault}" in printed.splitlines() for fault in faults), "each is one line"
        return faults, printed

    return examine


Examine = Callable[..., tuple[list[str], str]]


def test_the_shipped_models_are_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(GROUNDERS["nano"], MASK_HEADS["nano"], tmp_path, CPU) == 0
    printed = capsys.readouterr().out
    for part in (
        "family       qwen2_5_vl",
        "contract     short",
        "visible ' true' = [298], absent ' false' = [300]",
        "a frame of 1920x1080 as 364x196 pixels, 91 tokens; a template as 4 tokens",
        "2.194 M parameters, float32, 8.369 MiB on cpu, attention sdpa",
        "MiB more for a batch of 8",
        "calibration  activation_threshold 0.813",
        "IoU with the true masks of 5 frames: 0.8",
        "prefill",
        "decode a token",
        "propagate a mask",
        "0 faults",
    ):
        assert part in printed
    assert json.loads((tmp_path / "doctor.json").read_text())["faults"] == []
    contract = read_contract(NANO)
    assert contract is not None
    known = read_canary(tmp_path / "canary.json", contract)
    assert known["visible"].visible > 0.9 > 0.5 > known["absent"].visible
    assert known["visible"].box_xyxy is not None and known["absent"].box_xyxy is None


def test_the_command_reports_by_its_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        f"model.checkpoint={tmp_path}/gone",
        f"mask_head.checkpoint={tmp_path}",
        f"out={tmp_path}/out",
    ]
    assert run_command("models", main, DOC, arguments) == 1
    printed = capsys.readouterr().out
    assert f"fault: model.checkpoint={tmp_path}/gone: no such folder, nor a hub id" in printed
    assert f"fault: mask_head.checkpoint={tmp_path}: the folder has no config.json" in printed
    assert printed.endswith("2 faults, 0 notes\n")


def test_the_cases_are_a_visible_an_absent_and_a_small_target() -> None:
    visible, absent, small = rendered_cases()
    assert absent.box_xyxy is None and absent.question.expression != visible.question.expression
    sides = [case.box_xyxy[2] - case.box_xyxy[0] for case in (visible, small)]
    assert sides[0] > 2 * sides[1] > 20


# ---- broken grounders ------------------------------------------------------------------------------


def test_a_vocabulary_that_is_larger_than_the_embeddings(nano: Path, examined: Examine) -> None:
    tokenizer = AutoTokenizer.from_pretrained(nano)
    tokenizer.add_tokens(["<x1>", "<x2>"])
    tokenizer.save_pretrained(nano)
    (fault,), _ = examined()
    assert "its tokenizer has 534 tokens, but the embeddings have 532 rows only" in fault


def test_a_missing_chat_template(nano: Path, examined: Examine) -> None:
    (nano / "chat_template.jinja").unlink()
    (fault,), _ = examined()
    assert "has no chat template; restore chat_template.jinja" in fault


def test_adapters_that_do_not_match(nano: Path, tmp_path: Path, examined: Examine) -> None:
    model = Grounder.load(GROUNDERS["nano"], CPU).model
    adapters = tmp_path / "adapters"
    get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(adapters)
    settings = json.loads((adapters / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = str(nano)
    (adapters / "adapter_config.json").write_text(json.dumps(settings))
    shutil.copy(nano / "contract.json", adapters)
    path = adapters / "adapter_model.safetensors"
    save_file({f"base_model.model.renamed.{name}": w for name, w in load_file(path).items()}, path)
    (fault,), printed = examined(adapters)
    assert "adapter weights are missing and 10 are unknown" in fault and "family       qwen2_5_vl" in printed


def test_a_shard_that_is_cut_short(nano: Path, examined: Examine) -> None:
    path = nano / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    (fault,), _ = examined()
    assert "model.safetensors is cut short" in fault


def test_a_contract_of_another_model(nano: Path, examined: Examine) -> None:
    write_contract(nano, BUILT_IN["instruct"])
    (fault,), printed = examined()
    assert fault.startswith("contract: the target of an easy question is not found")
    assert "but it is found when asked by short" in fault and "model.contract=short" in fault
    assert "contract     instruct (" in printed


def test_a_contract_of_another_unit(nano: Path, examined: Examine) -> None:
    contract = read_contract(nano)
    assert contract is not None
    write_contract(nano, replace(contract, coordinates="thousand"))
    (fault,), _ = examined()
    assert "fit if they are read as 'resized' instead of 'thousand'; the contract is not that of" in fault


def test_several_faults_are_all_named(nano: Path, examined: Examine) -> None:
    (nano / "chat_template.jinja").unlink()
    (nano / "calibration.json").write_text("[]")
    contract = read_contract(nano)
    assert contract is not None
    sides = {"side_multiple": 32, "search_size": (320, 224), "other_search_sizes": ()}
    write_contract(nano, replace(contract, **sides))
    faults, _ = examined()
    for part in ("calibration.json: not a calibration", "has no chat template", "its side_multiple is 32"):
        assert sum(part in fault for fault in faults) == 1
    assert len(faults) == 3


def test_weights_that_are_not_finite(nano: Path, examined: Examine) -> None:
    path = nano / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if name.endswith("layers.0.mlp.down_proj.weight"))
    weights[name] = torch.full_like(weights[name], float("nan"))
    save_file(weights, path, {"format": "pt"})
    (fault,), _ = examined()
    assert "is not a finite number; its weights are damaged" in fault


def test_a_model_that_claims_absent_targets_is_advised_to_calibrate(nano: Path, examined: Examine) -> None:
    calibration = json.loads((nano / "calibration.json").read_text())
    (nano / "calibration.json").write_text(json.dumps({**calibration, "visible_threshold": 0.001}))
    faults, printed = examined()
    assert not faults and "note:  presence: an absent target is claimed to be visible" in printed


def test_a_hub_id_that_is_not_available_is_one_line(
    examined: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (fault,), printed = examined("Qwen/Qwen2.5-VL-3B-Instruct")
    assert "the weights cannot be loaded" in fault and "without a network, download them" in fault
    assert "family       unknown before the weights are downloaded" in printed


def test_a_hub_id_in_the_cache_is_examined_like_a_folder(
    tmp_path: Path, examined: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "models--somebody--a-mirror" / "snapshots" / "abc"
    shutil.copytree(NANO, snapshot)
    (tmp_path / "models--somebody--a-mirror" / "refs").mkdir()
    (tmp_path / "models--somebody--a-mirror" / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    tokenizer = AutoTokenizer.from_pretrained(snapshot)
    tokenizer.add_tokens(["<x1>", "<x2>"])
    tokenizer.save_pretrained(snapshot)
    (fault,), printed = examined("somebody/a-mirror")
    assert f"family       qwen2_5_vl ({snapshot}" in printed and "contract     short (" in printed
    assert "its tokenizer has 534 tokens, but the embeddings have 532 rows only" in fault


# ---- broken mask heads -----------------------------------------------------------------------------


def test_a_mask_head_without_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_module, "_examine_grounder", lambda *_: {})
    head = replace(MASK_HEADS["nano"], checkpoint=str(save_mask_head(tmp_path / "head")))
    assert doctor(GROUNDERS["nano"], head, tmp_path / "out", CPU) == 1
    (fault,) = json.loads((tmp_path / "out" / "doctor.json").read_text())["faults"]
    assert fault.startswith("mask head: the mask of the true box has an IoU of 0.")
