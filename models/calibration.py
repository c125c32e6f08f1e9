"""The calibration of a grounder: the thresholds of trackers that depend on the checkpoint. Imports no torch.

How sure a grounder is that a target is visible differs from checkpoint to checkpoint: a model that was never
trained on absent targets claims nearly everything. `python -m train task=calibrate` fits these numbers and
writes them as `calibration.json` beside the contract. A key of a tracker that is null takes the number of the
calibration; a key that is given has priority.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from configs.errors import UserError
from data_prep.files import read_text, write_whole
from models.config import GroundingConfig

CALIBRATION_FILE = "calibration.json"
LARGEST_CALIBRATION = 1 << 16  # bytes
FITTED_ON = "fitted_on"
KEY = "model.calibration"

LIMITS: dict[str, tuple[float, float]] = {
    "activation_threshold": (0.0, 1.0),
    "visible_threshold": (0.0, 1.0),
    "logit_scale": (0.0, 100.0),
    "logit_bias": (-100.0, 100.0),
    "min_box_confidence": (0.0, 1.0),
}
"""Smallest and largest value of the numbers of a calibration."""


@dataclass(frozen=True)
class Calibration:
    """The numbers of trackers that depend on the checkpoint.

    The defaults are neutral: they take the probabilities of the model as they are. A target is visible where
    presence is more probable than absence, and an answer is worth its own log-odds.
    """

    activation_threshold: float = 0.5
    """Visible probability from which a target that was found by searching is tracked."""
    visible_threshold: float = 0.5
    """Visible probability from which a target counts as visible where every frame is decided by itself."""
    logit_scale: float = 1.0
    """Factor of the log-odds of an answer, after `logit_bias` was added."""
    logit_bias: float = 0.0
    """Added to the log-odds of an answer. Below 0 for a model that claims too much."""
    min_box_confidence: float = 0.5
    """Box confidence from which a box is relied on against the propagated mask."""
    fitted_on: Mapping[str, Any] = field(default_factory=dict)
    """What the numbers were fitted on: data, pairs, identity of the checkpoint, and figures."""

    def values(self) -> dict[str, float]:
        """The numbers alone."""
        return {name: getattr(self, name) for name in LIMITS}


NEUTRAL = Calibration()


def find_calibration(config: GroundingConfig) -> Calibration:
    """The calibration of a checkpoint: the file of `model.calibration`, else that in its folder.

    Without a file it is the neutral one. A folder of adapters needs its own file: training has changed the
    answers of the base weights. Raises UserError where the named file is missing, or a file is damaged.
    """
    if config.calibration is not None:
        return read_calibration(Path(config.calibration))
    path = Path(config.checkpoint) / CALIBRATION_FILE
    return read_calibration(path) if path.is_file() else NEUTRAL


def read_calibration(path: Path) -> Calibration:
    """The calibration in a file. Raises UserError where it is missing or not valid."""
    remedy = "fit it with python -m train task=calibrate"
    text = read_text(path, remedy, LARGEST_CALIBRATION)
    try:
        values: Any = json.loads(text)
        if not isinstance(values, dict):
            raise TypeError(f"a JSON object is expected, not a {type(values).__name__}")
        calibration = Calibration(**values)
        check_calibration(calibration)
    except (ValueError, TypeError, RecursionError) as fault:
        raise UserError(f"{path}: not a calibration ({fault}); {remedy}, or remove the file") from None
    return calibration


def check_calibration(calibration: Calibration) -> None:
    """Raise TypeError for a value of the wrong type, and ValueError for a number out of range."""
    for name, (smallest, largest) in LIMITS.items():
        value = getattr(calibration, name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise TypeError(f"{name} is {value!r}")
        if not smallest <= value <= largest:  # NaN is within no limits
            raise ValueError(f"{name} is {value}, not {smallest} to {largest}")
    if not isinstance(calibration.fitted_on, dict):
        raise TypeError(f"{FITTED_ON} is {calibration.fitted_on!r}")


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration, completely or not at all. Raises UserError where `path` cannot be written."""
    text = json.dumps(dataclasses.asdict(calibration), indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(path, text + "\n")


def is_of_other_weights(calibration: Calibration, checkpoint: str) -> bool:
    """Whether a calibration was fitted to other weights; `checkpoint` is the identity of those in use."""
    fitted = calibration.fitted_on.get("checkpoint")
    return isinstance(fitted, str) and fitted != checkpoint
