"""From settings to a loaded engine, and to what starts a track."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch

from configs.code_identity import code_identity
from data_prep.contract.contract import contract_values
from infer.config import InferSettings
from infer.engine.engine import Engine
from infer.trackers.expressions import empty_track
from infer.trackers.registry import build_tracker
from infer.trackers.requests import StartTrack
from models.checkpoint import choose_device
from models.grounder.grounder import Grounder
from models.mask_head.registry import load_mask_head

CODE = ("infer.engine.session", "infer.engine.engine", "infer.trackers.expressions", "data_prep.video.frames")
"""Modules that make results with any tracker. The code that results follow from is these modules, the modules
of the tracker and of the mask head, and all modules that they import."""
REPORTS = ("models.identity",)
"""Modules that are imported by those of `CODE` and have no effect on results."""
Fingerprint = dict[str, Any]


@dataclass(frozen=True)
class Session:
    """Loaded models and the rules of the tracker."""

    engine: Engine
    start_track: StartTrack
    fingerprint: Fingerprint

    def job(self, words: str) -> tuple[str, StartTrack]:
        """Words and how to start their track; a prompt without words is absent throughout."""
        return words, self.start_track if words.strip() else empty_track


def open_session(settings: InferSettings) -> Session:
    """Load the models. Raises UserError in one line for what cannot be loaded."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = choose_device(settings.device)
    grounder = Grounder.load(settings.model, device)
    mask_head = load_mask_head(settings.mask_head, device)
    start = build_tracker(settings.tracker, grounder.contract)
    grounding, masking = grounder.identity(), mask_head.identity()
    fingerprint = {
        "grounder": grounding["checkpoint"],
        "contract": {"kind": "Contract", **contract_values(grounder.contract)},
        "mask_head": masking["checkpoint"],
        "tracker": settings_identity(settings.tracker),
        "device": device.type,
        "dtypes": [grounding["dtype"], masking["dtype"]],
        "box_floor": grounding["box_floor"],
        "code": code_identity(
            (*CODE, type(settings.tracker).__module__, type(mask_head).__module__), REPORTS
        ),
    }
    return Session(Engine(grounder, mask_head), start, fingerprint)


def settings_identity(settings: Any) -> Fingerprint:
    """A settings dataclass as plain values, with its kind."""
    return {"kind": type(settings).__name__, **dataclasses.asdict(settings)}
