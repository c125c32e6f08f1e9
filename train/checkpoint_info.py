"""`task=info`: describe the checkpoint of a grounder from its files, without loading weights."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open

from configs.errors import UserError
from configs.terminal import echo
from data_prep.contract.contract import BUILT_IN, contract_values
from data_prep.files import write_whole
from models.checkpoint_files import base_of, check_checkpoint, known_contract
from models.families import FAMILIES
from models.file_checks import ADAPTER_CONFIG, CONFIG, read_settings, weights_within
from models.grounder.grounder import KEY
from train.sft.saving import ABOUT, read_training_record

LISTED = 8  # settings of a recipe that are printed
Description = dict[str, Any]


def print_info(checkpoint: str, out: Path) -> None:
    """Print the description of a checkpoint, and write it to `out/info.json`.

    Raises UserError as `info_of` does.
    """
    described = info_of(checkpoint)
    write_whole(out / "info.json", json.dumps(described, indent=1) + "\n")
    for line in lines_of(described):
        echo(line)


def info_of(checkpoint: str) -> Description:
    """The description of a checkpoint, in plain values; for the folder of a run, of its best weights.

    Raises UserError if there is no checkpoint, or it is damaged.
    """
    folder = _folder(checkpoint)
    if not any((folder / name).is_file() for name in (CONFIG, ADAPTER_CONFIG)):
        within = weights_within(folder)
        if within is not None:  # the folder of a run
            return info_of(str(within))
    base = base_of(KEY, checkpoint)
    described: Description = {"checkpoint": checkpoint}
    # Adapters are described by their own files and the name of their base, complete weights by config.json.
    if base is None:
        check_checkpoint(KEY, str(folder), tuple(FAMILIES))
        described |= {"family": read_settings(KEY, folder / "config.json")["model_type"], **_size(folder)}
    else:
        described |= {"adapters": _adapters(folder), "base": base}
    contract = known_contract(checkpoint)
    described["contract"] = None if contract is None else contract_values(contract)
    described["training"] = read_training_record(folder)
    return described


def _folder(checkpoint: str) -> Path:
    """The folder of a checkpoint; for a hub id, the folder in the cache to which it was downloaded."""
    # A name with one slash may be a relative path or a hub id; an existing path wins.
    if Path(checkpoint).exists() or checkpoint.count("/") != 1:
        check = Path(checkpoint)
        if not check.is_dir():
            raise UserError(f"{KEY}={checkpoint}: no such folder, nor a hub id of the form owner/name")
        return check
    try:
        return Path(snapshot_download(checkpoint, local_files_only=True))
    except LocalEntryNotFoundError:
        raise UserError(f"{KEY}={checkpoint}: is not in the cache of the hub; download it first") from None


def _size(folder: Path) -> Description:
    """Numbers of parameters by dtype, and bytes on the disk."""
    counts: Counter[str] = Counter()
    for _, shape, kind in _tensors(folder):
        counts[kind] += math.prod(shape)
    return {"parameters": sum(counts.values()), "formats": dict(counts), "bytes": _bytes(folder)}


def _adapters(folder: Path) -> Description:
    settings = read_settings(KEY, folder / ADAPTER_CONFIG)
    tensors, tokens = list(_tensors(folder)), settings.get("trainable_token_indices")
    return {
        "kind": settings.get("peft_type"),
        "rank": settings.get("r"),
        "alpha": settings.get("lora_alpha"),
        "dropout": settings.get("lora_dropout"),
        # Each adapted map has one matrix A and one matrix B.
        "maps": sum(name.endswith("lora_A.weight") for name, _, _ in tensors),
        "new_tokens": len(tokens) if isinstance(tokens, list | dict) else 0,
        "parameters": sum(math.prod(shape) for _, shape, _ in tensors),
        "bytes": _bytes(folder),
    }


def _tensors(folder: Path) -> Iterator[tuple[str, list[int], str]]:
    """Name, shape and dtype of every weight. Raises UserError if there are none, or a file is damaged."""
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise UserError(f"{KEY}={folder}: holds no safetensors; name the folder with the weights")
    for path in paths:
        try:
            with safe_open(path, framework="numpy") as file:
                for name in file.keys():  # noqa: SIM118  # it is no mapping
                    # A slice reads the header only, not the weights.
                    part = file.get_slice(name)
                    yield name, part.get_shape(), part.get_dtype()
        except (OSError, SafetensorError) as fault:
            raise UserError(f"{path}: is damaged ({fault}); restore it") from None


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def lines_of(described: Description) -> Iterator[str]:
    """The description of a checkpoint as lines of text."""
    yield f"checkpoint   {described['checkpoint']}"
    if held := described.get("adapters"):
        yield (
            f"adapters     {held['kind']}  rank {held['rank']}  alpha {held['alpha']}  on {held['maps']} maps"
            f"  {held['parameters'] / 1e6:.3g} M parameters  {held['bytes'] / 2**20:.3g} MiB"
        )
        if held["new_tokens"]:
            yield f"             and embeddings of {held['new_tokens']} new tokens"
        yield f"base         {described['base']}"
    else:
        formats = ", ".join(sorted(described["formats"]))
        yield f"family       {described['family']}"
        size = f"{described['parameters'] / 1e6:.4g} M  {formats}  {described['bytes'] / 2**20:.4g} MiB"
        yield f"parameters   {size}"
    yield f"contract     {_contract_line(described['contract'])}"
    # The file may be of another program, so any form must be expected.
    try:
        yield from list(_training_lines(described["training"]))
    except (LookupError, TypeError, ValueError, AttributeError):
        yield f"training     {ABOUT} does not have the form that training writes"


def _contract_line(contract: Description | None) -> str:
    if contract is None:
        return "none; model.contract= must name one"
    # Contracts are compared by value, since a checkpoint does not store the name of its contract.
    token = contract["side_multiple"] ** 2
    named = [name for name, built in BUILT_IN.items() if _plain(contract_values(built)) == _plain(contract)]
    return (
        f"{named[0] if named else 'its own'}: wording {contract['wording']}, "
        f"boxes in {contract['coordinates']}, at most {contract['max_pixels'] // token} search tokens"
    )


def _plain(contract: Description) -> Description:
    # JSON has no tuples: they become lists, as in a contract that was read from a file.
    plain: Description = json.loads(json.dumps(contract))
    return plain


def _training_lines(training: Description | None) -> Iterator[str]:
    if training is None:
        yield f"training     unknown: it has no {ABOUT}"
        return
    yield f"trained on   {training['data']}  step {training['step']} of {training['steps']}"
    yield f"from         {training['model']}"
    if described := training.get("recipe"):
        # Nested settings and lists would fill the line; training.json holds them.
        words = [
            f"{name}={value}" for name, value in described.items() if isinstance(value, int | float | str)
        ]
        yield f"recipe       {', '.join(words[:LISTED])}, …"
    for title, metrics in training.get("metrics", {}).items():
        yield f"evaluated on {title}: " + "  ".join(
            f"{k} {v:.3g}" for k, v in metrics.items() if v is not None
        )
    if merged := training.get("merged"):
        yield f"merged       {merged[1]} into {merged[0]}"
