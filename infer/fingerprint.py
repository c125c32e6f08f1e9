"""A run's identity: what its results follow from.

It lies as `fingerprint.json` beside a tracker's results. Results of the same fingerprint are kept
and completed; those of another are refused unless they may be overwritten.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from configs.errors import UserError
from data_prep.files import write_whole

FILE = "fingerprint.json"
CODE = ("infer.session", "infer.track_lines", "infer.retelling", "data_prep.frames")
"""Modules that make results; what they import belongs to the code that results follow from."""
REPORTS = ("infer.fingerprint", "models.identity")  # imported by them, without any effect on results
Fingerprint = dict[str, Any]


def settings_identity(settings: Any) -> Fingerprint:
    """A settings dataclass as plain values, with its kind."""
    return {"kind": type(settings).__name__, **dataclasses.asdict(settings)}


def claim(folder: Path, fingerprint: Fingerprint, overwrite: bool) -> None:
    """Make a results folder this run's own; what is left in it then is this run's and may be kept.

    With `overwrite` results that are there are removed first, so that a run that stops half-way never
    leaves some of each. Raises UserError, naming the keys that differ, where there are results of
    another fingerprint (or of none) and `overwrite` is false.
    """
    path = folder / FILE
    results = list(folder.rglob("*.txt"))
    held, wanted = _read(path), json.loads(json.dumps(fingerprint))  # as it is read: tuples are lists
    if results and not overwrite and held != wanted:
        differing = _differing(held, wanted) if held else "their fingerprint.json is missing"
        raise UserError(
            f"{folder}: holds results of another run ({differing}); "
            "take another tracker_id= or overwrite=true"
        )
    for result in results if overwrite else []:
        result.unlink()
    write_whole(path, json.dumps(fingerprint, indent=2) + "\n")


def _read(path: Path) -> Fingerprint | None:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return None


def _differing(held: Fingerprint, wanted: Fingerprint) -> str:
    keys = sorted(key for key in held.keys() | wanted.keys() if held.get(key) != wanted.get(key))
    return "other " + ", ".join(keys)
