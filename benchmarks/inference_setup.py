"""The models and settings of the sides of `python -m benchmarks inference`."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.inference_forced import Script, save_models
from benchmarks.inference_published import PublishedLoop
from benchmarks.inference_sides import EngineSide, PublishedSide
from data_prep.sequence import Sequence as Video
from infer.config import InferSettings
from infer.trackers.per_frame import PerFrameConfig
from infer.trackers.referral import ReferralConfig
from models.config import NANO, GrounderConfig
from models.devices import choose_dtype
from models.mask_head.config import MASK_HEADS, MaskHeadConfig

CERTAIN = 0.5  # visible probability from which the decision of greedy decoding is "visible"


@dataclass(frozen=True)
class Setup:
    """The three sides. `is_forced`: answers and masks are those of a script.

    `loading_seconds` is the time in which the models of one side were loaded.
    """

    sides: tuple[PublishedSide, EngineSide, EngineSide]
    loading_seconds: float
    is_on_gpu: bool = False
    is_forced: bool = False


def nano_setup(root: Path, out: Path, device: torch.device, dtype: str = "auto") -> Setup:
    """The small models with their own answers and masks."""
    checkpoint, masks = NANO.checkpoint, MASK_HEADS["nano"].checkpoint
    return _setup(root, out, device, dtype, checkpoint, masks, None)


def forced_setup(
    shape: str, root: Path, out: Path, videos: Sequence[Video], device: torch.device, dtype: str
) -> Setup:
    """Models with random weights, whose answers and masks are replaced by the truth of the videos."""
    grounder, masks = save_models(out, shape)
    return _setup(root, out, device, dtype, grounder, masks, Script(videos))


def _setup(
    root: Path,
    out: Path,
    device: torch.device,
    dtype: str,
    grounder: str,
    masks: str,
    script: Script | None,
) -> Setup:
    """The sides with the weights of two folders."""
    mask_head = MaskHeadConfig(masks, dtype=dtype)
    now: Callable[[], float] = time.perf_counter if device.type == "cuda" else time.thread_time

    def side(name: str, tracker: Any, box_threshold: float, decode: str, second_look: str) -> EngineSide:
        model = GrounderConfig(
            grounder, dtype=dtype, box_threshold=box_threshold, decode=decode, second_look=second_look
        )
        return EngineSide(_settings(root, out, name, tracker, model, mask_head, device), now, script)

    begun = time.perf_counter()
    # `generate` decodes no box where the decision is "not visible"; neither does this threshold.
    engine = side("engine", PerFrameConfig(CERTAIN, repeat_last=True), CERTAIN, "greedy", "off")
    seconds = time.perf_counter() - begun
    referral = side("referral", ReferralConfig(), NANO.box_threshold, NANO.decode, NANO.second_look)
    contract = engine.contract
    answer = None if script is None else partial(script.answer, contract=contract)
    loop = PublishedLoop(grounder, masks, contract, device, choose_dtype(dtype, device), answer)
    sides = PublishedSide("published", loop, root, now), engine, referral
    return Setup(sides, seconds, device.type == "cuda", script is not None)


def _settings(
    root: Path, out: Path, name: str, tracker: Any, model: Any, mask_head: Any, device: torch.device
) -> InferSettings:
    return InferSettings(
        workspace=str(root),
        tracker_id=name,
        tracker=tracker,
        model=model,
        mask_head=mask_head,
        device=device.type,
        threads=0 if device.type == "cuda" else 1,
        out=str(out / name),
    )
