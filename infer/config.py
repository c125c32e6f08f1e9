"""The settings of `python -m infer`. Imports no torch, so that `--help` is fast."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf

from configs.app import register
from configs.plugins import DOC as PLUGINS
from configs.schema import key
from data_prep.files import real_path
from data_prep.readers import data_sets
from infer.engine.backends.registry import BACKENDS
from infer.engine.config import EngineConfig, LocalConfig
from infer.launch.config import LAUNCHERS, LaunchConfig, LocalLaunchConfig
from infer.trackers.registry import TRACKERS
from models.config import DEVICES, GROUNDERS, NANO, GroundingConfig
from models.mask_head.config import MASK_HEADS, MaskHeadConfig

TRACKER_ID = "refertrack"  # the default name of results


@dataclass(frozen=True)
class InferSettings:
    """The keys of `python -m infer`."""

    workspace: str | None = key(
        None, "VOTSr workspace to track; without workspace=, video= and data= a demo is rendered and tracked"
    )
    video: str | None = key(
        None,
        "video file, animated image or folder of frames to track; prompt= describes the target",
    )
    # "prompt" is what VOTSr calls an expression.
    prompt: str | None = key(
        None,
        "video=: description of the target; several descriptions, separated by ';', are tracked separately",
    )
    first: int | None = key(None, "video=: first frame to track, counted from 1", minimum=1)
    last: int | None = key(None, "video=: last frame to track, inclusive", minimum=1)
    box: str | None = key(
        None,
        "video=: box of the target in the first tracked frame, x1,y1,x2,y2 in pixels of the upright frame; "
        "prompt= may then be left out",
    )
    data: str | None = key(
        None, "data set to track, from its index (python -m data_prep task=index)", choices=data_sets
    )
    split: str = key("test", "data=: split to track")
    indexes: str = key("outputs/indexes", "data=: folder that holds the indexes")
    first_box: bool = key(
        False, "data=: also give the tracker the true box of the first frame, as box benchmarks allow"
    )
    results: str = key(
        "outputs/results",
        "data=: folder of results; they are written to <results>/<data>-<split>/<tracker_id>/<sequence>.txt",
    )
    tracker_id: str = key(
        TRACKER_ID, "name of the results, which are written to <workspace>/results/<tracker_id>"
    )
    model: GroundingConfig = key(
        NANO, "the grounder that finds the target: a multimodal LLM, or the detector of SAM 3"
    )
    mask_head: MaskHeadConfig = key(
        MASK_HEADS["nano"], "the mask head, the SAM 2 that makes and propagates masks"
    )
    # Each tracker has its own class of settings, so the type is open.
    tracker: Any = key(MISSING, "the tracker, which decides when grounder and mask head are used")
    engine: EngineConfig = key(
        LocalConfig(), "the engine: where questions are answered, and how they are batched"
    )
    launch: LaunchConfig = key(
        LocalLaunchConfig(), "the processes that track: several of this machine, or of a Ray cluster"
    )
    device: str = key(
        "auto",
        "device of the models; auto: a CUDA GPU if there is one, else the CPU; cuda:N: GPU number N; mps: an "
        "Apple GPU",
        choices=(*DEVICES, "mps"),
    )
    threads: int = key(
        1, "CPU threads of torch; more are slower with small models; 0: torch's default", minimum=0
    )
    plugins: list[str] = key([], PLUGINS)
    # Several runs of a sweep, or over several videos, each get a folder of their own.
    out: str = key(
        "outputs/infer/${run_name:${workspace},${video},${data},${split},${tracker_id}}",
        "folder for everything except results of workspaces and data sets: summary, records, overlays",
    )
    pack: bool = key(True, "workspace=: pack the results with the VOT toolkit, and verify the zip")
    overwrite: bool = key(
        False, "track everything again, and replace existing results, also those of other settings"
    )
    accept_code: bool = key(
        False,
        "keep results that another version of the code made; fingerprint.json then names both versions",
    )
    profile: bool = key(
        False,
        "write trace.json, a trace of a few batches that https://ui.perfetto.dev opens; on a GPU also wait "
        "for it at the end of each part, so that seconds_by_part of summary.json is exact, which costs speed",
    )
    trace: bool = key(
        True,
        "write traces/*.jsonl: for each frame of a track its state, what was asked and answered, and why",
    )
    overlay: bool = key(
        True, "write a video per track, a video of all tracks of a sequence, and contact sheets"
    )


def run_name(workspace: str | None, video: str | None, data: str | None, split: str, tracker_id: str) -> str:
    """The default name of the folder of a run: what is tracked, and the name of the results.

    The demo and videos leave out the default name, so that their folders are short.
    """
    if workspace:
        return f"{real_path(workspace).name}-{tracker_id}"
    if data:
        return f"{data}-{split}-{tracker_id}"
    name = Path(video).stem if video else "demo"
    return name if tracker_id == TRACKER_ID else f"{name}-{tracker_id}"


# The groups are live mappings, so options that a plugin registers later are known when settings are composed.
TRACKERS.load_package()
BACKENDS.load_package()
OmegaConf.register_new_resolver("run_name", run_name, replace=True)
register(
    "infer",
    InferSettings,
    {
        "tracker": TRACKERS,
        "model": GROUNDERS,
        "mask_head": MASK_HEADS,
        "engine": BACKENDS,
        "launch": LAUNCHERS,
    },
)
