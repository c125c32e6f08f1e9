"""Families of models are found by listing their package, and are read without torch."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from configs.code_identity import ROOT
from models import families
from models.checkpoint_files import check_grounder_checkpoint, published_contract
from models.config import GROUNDERS, GrounderConfig
from models.families import FAMILIES, PUBLISHED_SIZES
from tests.tiny_models import save_grounder

TOY = '''
"""A family that is one file: Qwen2.5-VL by another name."""

import dataclasses

from models.families.family import PublishedSize
from models.families.qwen2_5_vl import FAMILY as QWEN

SIZE = PublishedSize("toy_vl", "owner/Toy-VL-1B", 1_000_000, {})
FAMILY = dataclasses.replace(QWEN, model_type="toy_vl", hub_prefix="owner/Toy-VL-", sizes={"toy_vl_1b": SIZE})
'''


def test_a_family_is_one_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy_vl.py").write_text(TOY)
    monkeypatch.setattr(families, "__path__", [*families.__path__, str(tmp_path)])
    found = families._discover()
    monkeypatch.delitem(sys.modules, "models.families.toy_vl")
    assert found.keys() == {*FAMILIES, "toy_vl"}
    monkeypatch.setitem(FAMILIES, "toy_vl", found["toy_vl"])
    assert published_contract("owner/Toy-VL-1B") == "qwen"
    folder = save_grounder(tmp_path / "weights")
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"model_type": "qwen2_5_vl"', '"model_type": "toy_vl"'))
    check_grounder_checkpoint(GrounderConfig(str(folder)))


def test_options_are_the_published_sizes() -> None:
    assert list(GROUNDERS) == ["nano", *PUBLISHED_SIZES]
    assert all(GROUNDERS[name].checkpoint == size.checkpoint for name, size in PUBLISHED_SIZES.items())
    for model_type, family in FAMILIES.items():
        assert family.model_type == model_type and importlib.util.find_spec(f"models.families.{model_type}")
        assert {size.model_type for size in family.sizes.values()} == {model_type}


def test_settings_and_interfaces_import_no_torch() -> None:
    code = (
        "import sys, models.config, models.checkpoint_files, models.interfaces, infer.trackers.requests\n"
        "assert not {'torch', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
