"""Fingerprints of results: what they depend on, how two of them are compared, and which results may be kept.

A fingerprint is a JSON object in the folder of results (`infer.runs.claims`). All of its entries are compared
except those of `NOT_COMPARED`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.renamed_keys import current_name
from data_prep.files import read_text

CODE, OTHER_CODE = "code", "other_code"  # the code of the latest run, and of results that it accepted
# For information: the package versions of the latest run, and of earlier runs with kept results. They are not
# compared: an update of a package rarely changes more than the rounding of a number, and a run of many days
# must not end because of it.
PACKAGES, OTHER_PACKAGES = "packages", "other_packages"
NOT_COMPARED = {OTHER_CODE, PACKAGES, OTHER_PACKAGES}
# Classes of tracker settings that have been renamed. Fingerprints hold their names as `kind`.
RENAMED_KINDS = {"TrackerConfig": "ReferralConfig"}
Identity = Mapping[str, Any]


# ---- reading ----------------------------------------------------------------------------------------


def read_identity(path: Path) -> dict[str, Any] | None:
    """The identity in a file; None if there is none that can be read."""
    try:
        return dict(json.loads(read_text(path, "")))
    except (UserError, ValueError, TypeError, RecursionError):
        return None


def read_fingerprint(path: Path) -> dict[str, Any] | None:
    """A fingerprint, with the present names of settings that have been renamed since it was written.

    None if there is none that can be read.
    """
    fingerprint = read_identity(path)
    tracker = (fingerprint or {}).get("tracker")
    if fingerprint is None or not isinstance(tracker, dict):
        return fingerprint
    # Only names are translated. A setting that was added or removed still makes results other results.
    settings = {current_name(f"tracker.{name}").removeprefix("tracker."): tracker[name] for name in tracker}
    kind = settings.get("kind")
    return {**fingerprint, "tracker": {**settings, "kind": RENAMED_KINDS.get(str(kind), kind)}}


def as_json(identity: Identity) -> dict[str, Any]:
    """The identity as it is read back: JSON has lists where Python has tuples."""
    return dict(json.loads(json.dumps(dict(identity))))


# ---- comparing --------------------------------------------------------------------------------------


def differing_keys(held: Identity, wanted: Identity) -> list[str]:
    """The keys in which the results of two fingerprints differ."""
    keys = (held.keys() | wanted.keys()) - NOT_COMPARED
    return sorted(key for key in keys if held.get(key) != wanted.get(key))


def difference_to_file(path: Path, wanted: Identity) -> str | None:
    """How the fingerprint in a file differs from this one, in words; None if it does not."""
    held = read_fingerprint(path) or {}
    return _difference(held, wanted) if differing_keys(held, wanted) else None


def entries_of_kept(folder: Path, held: Identity | None, wanted: Identity, accept_code: bool) -> Identity:
    """The further entries of the fingerprint `wanted` if the results in `folder` are kept.

    `held` is the fingerprint of these results, None if they have none. Raises UserError if they must not be
    kept.
    """
    return {**_accepted_code(folder, held, wanted, accept_code), **_other_packages(held or {}, wanted)}


def _accepted_code(folder: Path, held: Identity | None, wanted: Identity, accept_code: bool) -> Identity:
    """`other_code` of the new fingerprint, if the existing results may be kept. Raises UserError if not."""
    differing = differing_keys(held or {}, wanted)
    other_code = _listed(held or {}, OTHER_CODE)
    if differing == [CODE] and held and accept_code:
        return {OTHER_CODE: [*other_code, held.get(CODE)]}
    if held and not differing:
        return {OTHER_CODE: other_code} if other_code else {}
    what = _difference(held, wanted) if held else "their fingerprint.json is missing"
    remedy = "take another tracker_id= or overwrite=true"
    if differing == [CODE] and held:
        remedy = "take another tracker_id=, overwrite=true, or accept_code=true to keep them"
    raise UserError(f"{folder}: holds results of another run ({what}); {remedy}")


def _other_packages(held: Identity, wanted: Identity) -> Identity:
    """`other_packages` of the new fingerprint: the versions with which kept results were made."""
    earlier = [*_listed(held, OTHER_PACKAGES), held.get(PACKAGES)]
    others = [versions for versions in earlier if versions and versions != wanted.get(PACKAGES)]
    unique = [versions for number, versions in enumerate(others) if versions not in others[:number]]
    return {OTHER_PACKAGES: unique} if unique else {}


def _listed(held: Identity, key: str) -> list[Any]:
    """A list of a fingerprint; empty where there is none, or something else in a damaged file."""
    value = held.get(key)
    return list(value) if isinstance(value, list) else []


def _difference(held: Identity, wanted: Identity) -> str:
    return "other " + ", ".join(differing_keys(held, wanted))
