"""The identity of a run: everything that its weights depend on. A run is resumed only if it is unchanged.

`settings.json` in a run's folder holds the settings of the run, and hashes of the other inputs: `data`
(annotations and images), `checkpoint` (the weights that it starts from, with their contract and processor)
and `code`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from configs.code_identity import code_identity
from configs.errors import UserError
from configs.renamed_keys import current_name
from data_prep.files import write_whole
from data_prep.identity import annotations_identity, index_frames_identity
from data_prep.index.store import Index
from models.identity import checkpoint_identity

SETTINGS = "settings.json"
DATA, CHECKPOINT, CODE, OTHER_CODE = "data", "checkpoint", "code", "other_code"
IRRELEVANT_MODULES = (
    "data_prep.folders", "data_prep.identity", "models.identity", "train.loop.checkpoints",
    "train.loop.identity", "train.loop.metrics", "train.loop.state_files", "train.sft.plots",
    "train.sft.saving", "train.sft.sources", "train.sft.validation",
)  # fmt: skip
"""Modules that training imports and that weights do not depend on: they store, report, or find the data.

A change of them must not prevent a run from being resumed.
"""
Identity = dict[str, Any]


def identity_of(
    settings: Mapping[str, Any],
    modules: tuple[str, ...],
    data: Mapping[str, str | None],
    checkpoint: str | None,
) -> Identity:
    """The identity of a run. `modules` are the modules that train. None stands for what is not known yet."""
    return {
        **settings,
        DATA: dict(data),
        CHECKPOINT: checkpoint,
        CODE: code_identity(modules, IRRELEVANT_MODULES),
    }


def identity_from_scratch(recipe: Any, module: str) -> Identity:
    """The identity of a run in `module` that starts from random weights, or from `recipe.initial`."""
    folder = getattr(recipe, "initial", "")
    initial = checkpoint_identity(folder) if folder else "none"
    # The loop is named too: the imports of a plugin are not followed.
    return identity_of({"recipe": asdict(recipe)}, (module, "train.loop.trainer"), {}, initial)


def data_identity(indexes: Mapping[str, Path]) -> dict[str, str | None]:
    """Hashes of the annotations and images of indexes, by the name of each index.

    They are None where an index does not exist yet. Raises UserError if one is damaged.
    """
    # Annotations and images have hashes of their own, so that a message can name which of them differ.
    found: dict[str, str | None] = {}
    for name, path in indexes.items():
        index = Index(path) if path.is_file() else None
        found[f"annotations of {name}"] = None if index is None else annotations_identity(index)
        found[f"frames of {name}"] = None if index is None else index_frames_identity(index)
    return found


def check_identity(folder: Path, identity: Identity, accept_code: bool = False) -> None:
    """Raise UserError, which names what differs, where a folder holds a run of another identity.

    With `accept_code`, a run that differs only in its code may be resumed: its `settings.json` then holds the
    hash of the present code, and as `other_code` those of earlier code.
    """
    held, wanted = read_identity(folder), _as_read(identity)
    if held is None:
        return
    # 1. Data and checkpoint are compared as far as they are known: videos may not be rendered yet, and the
    #    commit of weights from the hub is known after loading.
    held_data = dict(held[DATA]) if isinstance(held.get(DATA), dict) else {}
    wanted[DATA] = {name: value for name, value in wanted.get(DATA, {}).items() if value is not None}
    differing, remedies = [], ["take another out="]
    # 2. Collect what differs, with a remedy for each.
    if settings := sorted(_differing(_settings(held), _settings(wanted))):
        differing.append(f"other settings ({', '.join(settings)})")
    if data := [name for name in wanted[DATA] if held_data.get(name) != wanted[DATA][name]]:
        differing.append(f"other data ({', '.join(data)})")
        remedies.append("put the old data back")
    if wanted.get(CHECKPOINT) is not None and held.get(CHECKPOINT) != wanted[CHECKPOINT]:
        differing.append("other initial weights (files of the checkpoint have changed)")
        remedies.append("put the old files back")
    if held.get(CODE) != wanted.get(CODE):
        # `accept_code` is the user's statement that the change of the code does not matter.
        if accept_code and not differing:
            write_identity(folder, {**held, CODE: wanted[CODE], OTHER_CODE: _other_code(held)})
            return
        differing.append("other code")
        remedies.append("resume with this code by accept_code=true" if len(differing) == 1 else "")
    if differing:
        remedy = ", or ".join(filter(None, remedies))
        raise UserError(f"{folder}: holds a run of {' and '.join(differing)}; {remedy}")


def check_identity_exists(folder: Path, steps: Sequence[int]) -> None:
    """Raise UserError if a folder holds checkpoints (of `steps`), but no `settings.json`."""
    if steps and read_identity(folder) is None:
        raise UserError(
            f"{folder / SETTINGS}: is missing, and only it says of which run the checkpoints are; "
            "restore it, or take another out="
        )


def write_identity(folder: Path, identity: Identity) -> None:
    """Write `settings.json`: from now on only runs of this identity may use the folder."""
    write_whole(folder / SETTINGS, json.dumps(identity, indent=1) + "\n")


def with_earlier_code(folder: Path, identity: Identity) -> Identity:
    """An identity, with the hashes of earlier code (`other_code`) that the folder holds."""
    held = read_identity(folder) or {}
    return {**identity, OTHER_CODE: held[OTHER_CODE]} if OTHER_CODE in held else identity


def read_identity(folder: Path) -> Identity | None:
    """The identity of the run that a folder holds, by the present names of keys; None if it holds none.

    Raises UserError if it cannot be read.
    """
    path = folder / SETTINGS
    if not path.is_file():
        return None
    try:
        return _with_current_names(dict(json.loads(path.read_text("utf-8"))))
    except (OSError, ValueError, TypeError, RecursionError) as fault:
        raise UserError(
            f"{path}: cannot be read ({fault}); restore it, or take another out= (only it says of which "
            "run the folder is)"
        ) from None


def _with_current_names(identity: Identity) -> Identity:
    """An identity that an earlier version wrote, by the present names of keys."""
    # A renamed key must not make a run of an earlier version look like another run.
    renamed = dict(identity)
    if isinstance(recipe := identity.get("recipe"), dict):
        renamed["recipe"] = {
            current_name(f"recipe.{name}").removeprefix("recipe."): value for name, value in recipe.items()
        }
        if renamed["recipe"].get("evaluate_sampling") == "learned":
            renamed["recipe"]["evaluate_sampling"] = "train"
    if isinstance(
        data := identity.get(DATA), dict
    ):  # names end with a key: "frames of x (recipe.train_data)"
        renamed[DATA] = {
            re.sub(r"\(([^()]*)\)$", lambda key: f"({current_name(key[1])})", name): value
            for name, value in data.items()
        }
    return renamed


def _settings(identity: Identity) -> Identity:
    return {
        name: value for name, value in identity.items() if name not in (DATA, CHECKPOINT, CODE, OTHER_CODE)
    }


def _other_code(held: Identity) -> list[str]:
    return [*held.get(OTHER_CODE, []), held.get(CODE, "unknown")]


def _as_read(identity: Identity) -> Identity:
    """An identity as it is read from JSON: with lists in place of tuples."""
    # The held identity was read from JSON, which has no tuples and no keys but texts.
    return dict(json.loads(json.dumps(identity)))


def _differing(held: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of the keys that are in one of two settings only, or whose values differ."""
    found: list[str] = []
    for name in held.keys() | wanted.keys():
        one, other = held.get(name), wanted.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            found += _differing(one, other, f"{prefix}{name}.")
        elif one != other:
            found.append(prefix + name)
    return found
