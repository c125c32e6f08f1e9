"""Settings of inference. Imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf

from configs.app import register
from configs.plugins import DOC as PLUGINS
from configs.schema import key
from data_prep.files import real_path
from data_prep.readers import data_sets
from infer.trackers.registry import TRACKERS, load_trackers
from models.config import DEVICES, GROUNDERS, MASK_HEADS, GrounderConfig, MaskHeadConfig


@dataclass(frozen=True)
class InferSettings:
    """Everything a run of `python -m infer` is told."""

    workspace: str | None = key(
        None, "VOTSr workspace to track; without any of workspace, video and data a demo is rendered"
    )
    video: str | None = key(
        None,
        "one video file, animated image or folder of frames to track; prompt= says what to follow in it",
    )
    prompt: str | None = key(None, "what to follow in video=; several prompts are split by ';'")
    first: int | None = key(None, "video=: first frame to track, counted from 1", minimum=1)
    last: int | None = key(None, "video=: last frame to track, itself included", minimum=1)
    box: str | None = key(
        None,
        "video=: the target's box in the first tracked frame, x1,y1,x2,y2 in pixels of the frame as it is "
        "shown; prompt= may then be left out",
    )
    data: str | None = key(
        None, "data set to track, from its index (python -m data_prep task=index)", choices=data_sets
    )
    split: str = key("test", "data=: which of its splits")
    indexes: str = key("outputs/indexes", "data=: folder of all indexes")
    first_box: bool = key(
        False, "data=: tell the tracker the target's box in the first frame too, as box benchmarks may"
    )
    results: str = key(
        "outputs/results", "data=: results go to <results>/<data>-<split>/<tracker_id>/<sequence>.txt"
    )
    tracker_id: str = key("refertrack", "name of the results: workspace/results/<tracker_id>")
    model: GrounderConfig = key(GROUNDERS["nano"], "the grounder")
    mask_head: MaskHeadConfig = key(MASK_HEADS["nano"], "the mask head")
    tracker: Any = key(MISSING, "who decides what to ask")
    device: str = key(
        "auto",
        "where the models compute; auto: a CUDA GPU where there is one, else the CPU; cuda:N: GPU number N; "
        "mps: an Apple GPU",
        choices=(*DEVICES, "mps"),
    )
    threads: int = key(1, "CPU threads; small models are slower with more; 0: torch's own choice", minimum=0)
    plugins: list[str] = key([], PLUGINS)
    out: str = key(
        "outputs/infer/${run_name:${workspace},${video},${data},${split},${tracker_id}}",
        "folder of everything but the results",
    )
    pack: bool = key(True, "pack the results of a workspace with the VOT toolkit, and verify the zip")
    overwrite: bool = key(False, "track again what is there, and replace results of other settings")
    accept_code: bool = key(
        False,
        "keep results that other code made; fingerprint.json then holds the identities of both codes",
    )
    overlay: bool = key(True, "write a video per track, one of all tracks of a sequence, and contact sheets")


def run_name(workspace: str | None, video: str | None, data: str | None, split: str, tracker_id: str) -> str:
    """The default name of a run's folder: what is tracked, and by what name."""
    if workspace:
        return f"{real_path(workspace).name}-{tracker_id}"
    if data:
        return f"{data}-{split}-{tracker_id}"
    return Path(video).stem if video else "demo"


load_trackers()
OmegaConf.register_new_resolver("run_name", run_name, replace=True)
register(
    "infer",
    InferSettings,
    {
        "tracker": TRACKERS,
        "model": GROUNDERS,
        "mask_head": MASK_HEADS,
    },
)
