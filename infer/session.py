"""From settings to a loaded engine, and to what starts a track."""

from dataclasses import dataclass
from typing import Any

import torch

from configs.code_identity import code_identity
from configs.errors import UserError
from data_prep.prompts import Contract, contract_values
from infer.baselines import empty_track, per_frame_tracker
from infer.config import InferSettings, PerFrameConfig, TrackerConfig
from infer.engine import Engine
from infer.fingerprint import CODE, REPORTS, Fingerprint, settings_identity
from infer.requests import StartTrack
from infer.tracker import referral_tracker
from models.checkpoint import choose_device, choose_dtype
from models.grounder.grounder import Grounder
from models.mask_head.sam2 import MaskHead


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
    dtype = choose_dtype(settings.mask_head.dtype, device)
    mask_head = MaskHead.load(settings.mask_head.checkpoint, device, dtype)
    start = tracker_of(settings.tracker, grounder.contract)
    grounding, masking = grounder.identity(), mask_head.identity()
    fingerprint = {
        "grounder": grounding["checkpoint"],
        "contract": {"kind": "Contract", **contract_values(grounder.contract)},
        "mask_head": masking["checkpoint"],
        "tracker": settings_identity(settings.tracker),
        "device": device.type,
        "dtypes": [grounding["dtype"], masking["dtype"]],
        "box_floor": grounding["box_floor"],
        "code": code_identity(CODE, REPORTS),
    }
    return Session(Engine(grounder, mask_head), start, fingerprint)


def tracker_of(settings: Any, contract: Contract) -> StartTrack:
    """The tracker that a group option stands for."""
    if isinstance(settings, TrackerConfig):
        return referral_tracker(settings, contract)
    if isinstance(settings, PerFrameConfig):
        return per_frame_tracker(settings.visible_above, settings.repeat_last, contract)
    raise UserError(f"tracker={settings!r}: no such tracker")
