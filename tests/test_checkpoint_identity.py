"""What a checkpoint is: every file that an answer follows from counts, and for adapters their base too."""

import json
from pathlib import Path

import pytest

from configs.errors import UserError
from models import identity
from models.checkpoint_files import base_of
from models.identity import checkpoint_identity


def folder_of(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "base", config__json="{}", model__safetensors="weights")


def adapters_of(folder: Path, base: str) -> Path:
    config = json.dumps({"base_model_name_or_path": base})
    return folder_of(folder, adapter_config__json=config, adapter_model__safetensors="adapters")


def test_any_file_that_answers_follow_from_counts(base: Path) -> None:
    seen = {checkpoint_identity(str(base))}
    for name in ("model.safetensors", "config.json", "contract.json", "chat_template.jinja", "merges.txt"):
        (base / name).write_text(f"another {name}")
        seen.add(checkpoint_identity(str(base)))
    assert len(seen) == 6
    (base / "README.md").write_text("words")
    assert checkpoint_identity(str(base)) in seen


def test_adapters_count_with_the_weights_that_they_belong_to(base: Path, tmp_path: Path) -> None:
    adapters = adapters_of(tmp_path / "adapters", str(base))
    before = checkpoint_identity(str(adapters))
    assert before.endswith(f"+{checkpoint_identity(str(base))}")
    (base / "model.safetensors").write_text("others!")  # as many bytes
    assert checkpoint_identity(str(adapters)) != before


def test_a_base_on_the_hub_counts_with_its_commit(tmp_path: Path) -> None:
    adapters = adapters_of(tmp_path / "adapters", "Qwen/Qwen2.5-VL-7B-Instruct")
    assert checkpoint_identity(str(adapters), "abc").endswith("+Qwen/Qwen2.5-VL-7B-Instruct@abc")
    assert checkpoint_identity("Qwen/Qwen2.5-VL-7B-Instruct", "abc") == "Qwen/Qwen2.5-VL-7B-Instruct@abc"
    assert checkpoint_identity("Qwen/Qwen2.5-VL-7B-Instruct").endswith("@unknown")


def test_large_files_are_read_in_samples(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "MAX_WHOLE_FILE", 1000)
    monkeypatch.setattr(identity, "SAMPLE_BYTES", 10)
    path = base / "model.safetensors"
    path.write_bytes(bytes(5000))
    before = checkpoint_identity(str(base))
    path.write_bytes(bytes(4999) + b"x")
    assert checkpoint_identity(str(base)) != before


# ---- the base of adapters ------------------------------------------------------------------------


def test_a_relative_base_is_found_beside_the_adapters_or_here(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapters = adapters_of(tmp_path / "run" / "best", "../../base")
    monkeypatch.chdir("/")
    assert base_of("model.checkpoint", str(adapters)) == str(base)
    adapters_of(adapters, "base")
    assert base_of("model.checkpoint", str(adapters)) == "base"  # for a folder of the current one, or the hub
    monkeypatch.chdir(tmp_path)
    assert base_of("model.checkpoint", str(adapters)) == "base"
    assert checkpoint_identity(str(adapters)).endswith(f"+{checkpoint_identity(str(base))}")


def test_a_base_that_is_gone_or_is_adapters_is_named(tmp_path: Path) -> None:
    adapters = adapters_of(tmp_path / "adapters", "/gone/weights")
    with pytest.raises(UserError, match=r"adapter_config.json: its weights were in /gone/weights"):
        base_of("model.checkpoint", str(adapters))
    adapters_of(adapters, str(adapters))
    with pytest.raises(UserError, match="is a folder of adapters; merge those first"):
        base_of("model.checkpoint", str(adapters))


@pytest.mark.parametrize("text", ["{}", "[]", "[" * 100_000, '{"base_model_name_or_path": 3}', "\udcff"])
def test_an_adapter_config_without_a_base_is_named(tmp_path: Path, text: str) -> None:
    folder_of(tmp_path)
    (tmp_path / "adapter_config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"names no base_model_name_or_path|adapter_config.json is damaged"):
        base_of("model.checkpoint", str(tmp_path))
