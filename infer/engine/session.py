"""A session: the models and the tracker of a run, loaded from its settings, and the fingerprint of results.

The fingerprint holds everything that results depend on: weights, contract, tracker, number formats, device
and code. It is written to `fingerprint.json` beside the results of a tracker (`infer.runs.claims`). Results
with the same fingerprint are kept and completed; results with another one are refused or overwritten.
"""

import dataclasses
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch

from configs.code_identity import code_identity
from data_prep.contract.contract import contract_values
from infer.config import InferSettings
from infer.engine.backends.registry import open_backend
from infer.engine.engine import Engine
from infer.engine.profile import profiling_timings
from infer.trackers.expressions import empty_track
from infer.trackers.registry import build_tracker, with_calibration
from infer.trackers.requests import Tracker
from models.calibration import CALIBRATION_FILE, NEUTRAL, find_calibration, is_of_other_weights
from models.devices import choose_device, set_float32_precision
from models.interfaces import Grounding, Masking
from models.mask_head.registry import load_mask_head

# Modules that make results with every tracker, grounder and mask head.
CODE = (
    "infer.engine.session",
    "infer.engine.engine",
    "infer.engine.scheduler",
    "infer.engine.background",
    "infer.trackers.expressions",
    "data_prep.video.frames",
)
# Imported by them, but without effect on results.
REPORTS = (
    "models.identity",
    "data_prep.trace",
    "infer.engine.failures",
    "infer.engine.profile",
    "infer.engine.timings",
)
# Entries of a grounder's identity that have a place of their own in the fingerprint.
GROUNDER_ENTRIES = ("checkpoint", "dtype", "quantization", "box_threshold")
PACKAGES = ("torch", "transformers")  # their versions are part of the fingerprint, for information
Fingerprint = dict[str, Any]


@dataclass(frozen=True)
class Session:
    """The engine with its loaded models, the tracker, the fingerprint of their results, and their device."""

    engine: Engine
    tracker: Tracker
    fingerprint: Fingerprint
    device_type: str = "cpu"

    def tracker_of(self, expression: str) -> Tracker:
        """The tracker for an expression: for an empty one, a tracker that reports absence in every frame."""
        return self.tracker if expression.strip() else empty_track


def open_session(settings: InferSettings) -> Session:
    """Load the models and build the tracker. Raises UserError if one of them cannot be loaded."""
    # 1. Load the models.
    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = choose_device(settings.device)
    set_float32_precision(settings.engine.tf32)
    grounder = open_backend(settings, device)
    mask_head = load_mask_head(settings.mask_head, device)
    grounding, masking = grounder.identity(), mask_head.identity()
    # 2. Build the tracker, with the thresholds of the checkpoint where its keys are null. It cuts templates
    #    as the contract of the grounder says.
    calibration = find_calibration(settings.model)
    if is_of_other_weights(calibration, grounding["checkpoint"]):
        warnings.warn(
            f"{settings.model.checkpoint}: its calibration was fitted to other weights; fit it again with "
            "python -m train task=calibrate",
            stacklevel=2,
        )
    config = with_calibration(settings.tracker, calibration)
    if calibration is NEUTRAL and config != settings.tracker:  # a tracker whose keys are all given takes none
        warnings.warn(
            f"{settings.model.checkpoint}: has no {CALIBRATION_FILE}, so the tracker takes neutral "
            "thresholds; fit them with python -m train task=calibrate",
            stacklevel=2,
        )
    tracker = build_tracker(config, grounder.contract)
    # 3. Collect what the results depend on.
    fingerprint = {
        "grounder": grounding["checkpoint"],
        "contract": {"kind": "Contract", **contract_values(grounder.contract)},
        "mask_head": masking["checkpoint"],
        "tracker": settings_identity(config),
        "device": device.type,
        "dtypes": [grounding["dtype"], masking["dtype"]],
        "quantization": grounding.get("quantization"),
        "box_threshold": grounding.get("box_threshold"),
        "code": code_identity(code_modules(config, grounder, mask_head), REPORTS),
        "packages": {name: version(name) for name in PACKAGES},
    }
    # Further entries of the identity of the grounder, such as the address of a server.
    if others := {name: value for name, value in grounding.items() if name not in GROUNDER_ENTRIES}:
        fingerprint["grounder_settings"] = others
    # Only where it has an effect, so that results of a CPU do not depend on this key.
    if settings.engine.tf32 and device.type == "cuda":
        fingerprint["tf32"] = True
    timings = None
    if settings.profile:
        timings = profiling_timings(device.type)
        grounder.statistics.around = timings.around
    engine = Engine(grounder, mask_head, timings)
    return Session(engine, tracker, fingerprint, device.type)


def code_modules(tracker: Any, grounder: Grounding, mask_head: Masking) -> tuple[str, ...]:
    """The modules whose code, with that of all modules that they import, results depend on.

    `tracker` are the settings of a tracker; their class is defined in the tracker's module. Plugins are not
    among the modules, because `code_identity` adds them itself.
    """
    return (*CODE, *(type(each).__module__ for each in (tracker, grounder, mask_head)))


def settings_identity(settings: Any) -> Fingerprint:
    """The values of a settings dataclass, and the name of its class as `kind`."""
    return {"kind": type(settings).__name__, **dataclasses.asdict(settings)}
