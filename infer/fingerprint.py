"""A run's identity: what its results follow from.

It lies as `fingerprint.json` beside a tracker's results (`infer.claims`). Results of the same fingerprint
are kept and completed; those of another are refused unless they may be overwritten.
"""

import dataclasses
from typing import Any

CODE = ("infer.session", "infer.track_lines", "infer.retelling", "data_prep.frames")
"""Modules that make results; what they import belongs to the code that results follow from."""
REPORTS = ("infer.fingerprint", "models.identity")  # imported by them, without any effect on results
Fingerprint = dict[str, Any]


def settings_identity(settings: Any) -> Fingerprint:
    """A settings dataclass as plain values, with its kind."""
    return {"kind": type(settings).__name__, **dataclasses.asdict(settings)}
