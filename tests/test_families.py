"""Families of models are found by listing their package, and are read without torch."""

import dataclasses
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.code_identity import ROOT
from configs.plugins import PACKAGE, VARIABLE, load_plugins
from models.checkpoint_files import check_grounder_checkpoint, published_contract
from models.config import GROUNDERS, GrounderConfig
from models.families import FAMILIES, PUBLISHED_SIZES, register_family
from tests.tiny_models import save_grounder

TOY = '''
"""A family that is one file: Qwen2.5-VL by another name."""

import dataclasses

from models.families import PublishedSize, register_family
from models.families.qwen2_5_vl import FAMILY as QWEN

SIZE = PublishedSize("toy_vl", "owner/Toy-VL-1B", 1_000_000, {})
FAMILY = register_family(
    dataclasses.replace(QWEN, model_type="toy_vl", hub_prefix="owner/Toy-VL-", sizes={"toy_vl_1b": SIZE})
)
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file outside the packages that defines a family, imported as `plugins=[toy_vl.py]` does it."""
    path = tmp_path / "toy_vl.py"
    path.write_text(TOY)
    held, sizes = dict(FAMILIES), dict(PUBLISHED_SIZES)
    monkeypatch.setenv(VARIABLE, "")
    load_plugins([f"plugins=[{path}]"])
    yield path
    for registered, before in ((FAMILIES, held), (PUBLISHED_SIZES, sizes)):
        registered.clear()
        registered.update(before)
    del sys.modules[f"{PACKAGE}.toy_vl"]


def test_a_family_is_one_file_outside_the_package(toy: Path) -> None:
    assert published_contract("owner/Toy-VL-1B") == "qwen"
    assert GROUNDERS["toy_vl_1b"].checkpoint == "owner/Toy-VL-1B" and "toy_vl_1b" in list(GROUNDERS)
    folder = save_grounder(toy.with_name("weights"))
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"model_type": "qwen2_5_vl"', '"model_type": "toy_vl"'))
    check_grounder_checkpoint(GrounderConfig(str(folder)))


def test_a_size_of_another_family_is_not_replaced(toy: Path) -> None:
    other = dataclasses.replace(FAMILIES["toy_vl"], model_type="other_vl")
    other = dataclasses.replace(
        other, sizes={"toy_vl_1b": dataclasses.replace(PUBLISHED_SIZES["toy_vl_1b"], model_type="other_vl")}
    )
    with pytest.raises(ValueError, match="model=toy_vl_1b is a size of toy_vl already"):
        register_family(other)
    assert "other_vl" not in FAMILIES


def test_options_are_the_published_sizes() -> None:
    assert list(GROUNDERS) == ["nano", "sam3", *PUBLISHED_SIZES] and len(GROUNDERS) == len(list(GROUNDERS))
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
