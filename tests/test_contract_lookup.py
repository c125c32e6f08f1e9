"""The contract of a checkpoint that carries none: by its special tokens, its family, its base, its hub id."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from configs.errors import UserError
from data_prep.contract.contract import BUILT_IN, CONTRACT_FILE, Contract, write_contract
from models.checkpoint_files import (
    CONTRACTS_BY_TOKENS,
    added_tokens,
    check_grounder_checkpoint,
    find_contract,
)
from models.config import GrounderConfig
from models.families import FAMILIES
from models.grounder.grounder import Grounder
from tests.tiny_models import save_grounder
from train.checkpoint_info import info_of

TOKENS = sorted(CONTRACTS_BY_TOKENS["vptracker"])
VPTRACKER = BUILT_IN["vptracker"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of each family without a contract, in a folder of its `model_type`."""
    root = tmp_path_factory.mktemp("weights")
    for family in FAMILIES:
        save_grounder(root / family, with_contract=False, family=family)
    return root


def contract_of(checkpoint: Path | str, **settings: Any) -> Contract:
    return find_contract(GrounderConfig(str(checkpoint), **settings))


def edit(path: Path, **values: Any) -> None:
    held = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**held, **values}))


def adapters_over(base: Path | str, folder: Path) -> Path:
    folder.mkdir()
    edit(folder / "adapter_config.json", peft_type="LORA", base_model_name_or_path=str(base))
    save_file({"unused": np.zeros(1, np.float32)}, folder / "adapter_model.safetensors")
    return folder


# ---- families ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_without_contract_is_asked_as_its_family(weights: Path, family: str) -> None:
    expected = BUILT_IN[FAMILIES[family].contract]
    assert contract_of(weights / family) == expected
    check_grounder_checkpoint(GrounderConfig(str(weights / family)))
    # Its vocabulary is that of the small models, which has no token for an empty list.
    with pytest.raises(UserError, match=r"its tokenizer splits '\[\]") as refusal:
        Grounder.load(GrounderConfig(str(weights / family)), torch.device("cpu"))
    assert "\n" not in str(refusal.value)
    described = info_of(str(weights / family))
    assert described["family"] == family and described["contract"]["side_multiple"] == expected.side_multiple


def test_a_contract_in_the_folder_or_a_named_one_has_priority(weights: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(weights / "qwen2_5_vl", tmp_path / "copy")
    assert contract_of(copy, contract="short") == BUILT_IN["short"]
    write_contract(copy, BUILT_IN["short"])
    assert contract_of(copy) == BUILT_IN["short"]


def test_where_none_is_known_the_choices_are_listed(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(BUILT_IN, FAMILIES["qwen3_5"].contract)
    with pytest.raises(UserError, match=r"has no contract\.json.*model\.contract=") as refusal:
        contract_of(weights / "qwen3_5")
    line = str(refusal.value)
    assert "|".join(BUILT_IN) in line and str(weights / "qwen3_5") in line and "\n" not in line


# ---- special tokens ------------------------------------------------------------------------------


def in_added_tokens(folder: Path) -> None:
    edit(folder / "added_tokens.json", **{token: 1024 + index for index, token in enumerate(TOKENS)})


def in_tokenizer(folder: Path) -> None:
    values = json.loads((folder / "tokenizer.json").read_text())
    values["added_tokens"] += [{"id": 1024 + index, "content": token} for index, token in enumerate(TOKENS)]
    (folder / "tokenizer.json").write_text(json.dumps(values))


def in_config(**values: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "tokenizer_config.json", **values)


FORMS = {
    "added_tokens.json": in_added_tokens,
    "tokenizer.json": in_tokenizer,
    "additional_special_tokens": in_config(additional_special_tokens=TOKENS),
    "dictionaries": in_config(additional_special_tokens=[{"content": token} for token in TOKENS]),
    "extra_special_tokens": in_config(extra_special_tokens=["<|im_start|>", *TOKENS]),
    "added_tokens_decoder": in_config(
        added_tokens_decoder={str(index): {"content": token} for index, token in enumerate(TOKENS)}
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_vptracker_is_recognised_by_its_tokens(form: str, weights: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(weights / "qwen3_vl", tmp_path / "copy")
    FORMS[form](copy)
    assert contract_of(copy) == VPTRACKER
    assert set(TOKENS) <= added_tokens(copy)


def test_some_of_its_tokens_are_not_enough(weights: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(weights / "qwen3_vl", tmp_path / "copy")
    in_config(additional_special_tokens=TOKENS[1:])(copy)
    assert contract_of(copy) == BUILT_IN["qwen3"]


def test_files_of_another_form_add_no_tokens(weights: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(weights / "qwen3_vl", tmp_path / "copy")
    known = added_tokens(copy)
    in_config(additional_special_tokens=[1, None], extra_special_tokens={}, added_tokens_decoder=None)(copy)
    (copy / "tokenizer.json").write_text('{"added_tokens": [{"id": 1, "content": "<a>')
    assert added_tokens(copy) <= known


# ---- adapters ------------------------------------------------------------------------------------


def test_adapters_are_asked_as_what_is_under_them(weights: Path, tmp_path: Path) -> None:
    base = shutil.copytree(weights / "qwen3_vl", tmp_path / "base")
    adapters = adapters_over(base, tmp_path / "adapters")
    assert contract_of(adapters) == BUILT_IN["qwen3"]
    in_added_tokens(base)
    assert contract_of(adapters) == VPTRACKER
    other = Contract(side_multiple=32, digits=4)
    write_contract(base, other)
    assert contract_of(adapters) == other
    in_config(additional_special_tokens=TOKENS)(adapters)  # of a tokenizer that was saved with adapters
    assert contract_of(adapters) == VPTRACKER
    write_contract(adapters, Contract(side_multiple=32, digits=3))
    assert contract_of(adapters).digits == 3


# ---- hub ids -------------------------------------------------------------------------------------


def test_a_mirror_on_the_hub_is_known_once_it_is_downloaded(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    config = GrounderConfig("somebody/a-mirror")
    with pytest.raises(UserError, match=r"somebody/a-mirror: has no contract\.json"):
        find_contract(config)
    # A check before the download passes, since the family is not known yet.
    check_grounder_checkpoint(config)
    check_grounder_checkpoint(GrounderConfig(str(adapters_over("somebody/a-mirror", tmp_path / "adapters"))))
    cached = tmp_path / "models--somebody--a-mirror"
    shutil.copytree(weights / "qwen3_vl", cached / "snapshots" / "abc")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    assert find_contract(config) == BUILT_IN["qwen3"]
    assert contract_of(tmp_path / "adapters") == BUILT_IN["qwen3"]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # the variable was read at import
    with pytest.raises(UserError, match=r"its tokenizer splits '\[\]"):  # it has been read until there
        Grounder.load(config, torch.device("cpu"))
    write_contract(cached / "snapshots" / "abc", Contract(side_multiple=32, digits=4))
    assert (cached / "snapshots" / "abc" / CONTRACT_FILE).is_file() and find_contract(config).digits == 4
