"""Mistakes in the settings that need no model to be found. Imports no torch: they are told at once."""

from math import isfinite
from pathlib import Path
from typing import Any

from configs.errors import UserError
from data_prep.files import real_path
from data_prep.geometry import Box
from data_prep.index.build import index_path
from data_prep.index.store import read_about
from data_prep.video.inputs import check_video_path
from data_prep.votsr.textfiles import read_config
from data_prep.votsr.toolkit import check_referral_stack, check_tracker_id
from infer.config import InferSettings
from infer.runs.claims import check_out
from models.checkpoint_files import check_grounder_checkpoint
from models.mask_head.registry import check_mask_head

WORDS_STAND = {
    "workspace": "the prompts of a workspace stand in its sequences",
    "data": "the prompts of a data set stand in its index",
}


def check_settings(settings: InferSettings) -> None:
    """Raise UserError for what is given twice, given in vain, needed and not given, or not there."""
    given = [name for name in ("workspace", "video", "data") if getattr(settings, name) is not None]
    if len(given) > 1:
        raise UserError(f"{'= and '.join(given)}= are both given; leave one out")
    if settings.first_box and settings.data is None:
        told = "; for a video give box=x1,y1,x2,y2" if settings.video is not None else ""
        raise UserError(f"first_box= goes with data={told}")
    _check_source(settings)
    check_grounder_checkpoint(settings.model)
    check_mask_head(settings.mask_head)


def _check_source(settings: InferSettings) -> None:
    """What `check_settings` does for what is to be tracked."""
    if settings.video is not None:
        _check_video(settings, Path(settings.video))
        return
    _check_no_video(settings)
    check_tracker_id(settings.tracker_id)
    if settings.data is not None:
        read_about(index_path(Path(settings.indexes), settings.data, settings.split))
    elif settings.workspace is not None:
        _check_workspace(Path(settings.workspace), settings.pack)


def _check_video(settings: InferSettings, path: Path) -> None:
    prompts = prompts_of(settings)
    if box_of(settings) is not None and len(prompts) > 1:
        raise UserError("box= shows one target, but prompt= names several; give one, or run each by itself")
    if settings.first is not None and settings.last is not None and settings.first > settings.last:
        raise UserError(f"first={settings.first} last={settings.last}: first= must not be behind last=")
    check_video_path(path)


def _check_no_video(settings: InferSettings) -> None:
    """Raise UserError for keys that only a video obeys."""
    if settings.prompt is not None:
        raise UserError(f"prompt= goes with video=; {WORDS_STAND['data' if settings.data else 'workspace']}")
    for name in ("first", "last", "box"):
        if getattr(settings, name) is not None:
            raise UserError(f"{name}= goes with video=")


def _check_workspace(root: Path, pack: bool) -> None:
    """Raise UserError where a workspace cannot be read, or its results could not be packed afterwards."""
    stack = read_config(root).get("stack")
    if pack and isinstance(stack, str):
        check_referral_stack(root / "config.yaml", stack)


def tracked_of(settings: InferSettings) -> dict[str, Any]:
    """What a run tracks: what its `out` folder belongs to (`infer.runs.claims.claim_out`)."""
    if settings.video is not None:
        path = Path(settings.video)
        told: dict[str, Any] = {"video": str(real_path(path))}
        if path.exists():  # else it is refused when it is opened
            about = path.stat()
            told |= {"bytes": about.st_size, "modified_ns": about.st_mtime_ns}
        return told
    if settings.data is not None:
        indexes = str(real_path(settings.indexes))
        told = {"data": settings.data, "split": settings.split, "indexes": indexes}
    else:
        told = {"workspace": str(real_path(settings.workspace)) if settings.workspace else "demo"}
    return {**told, "tracker_id": settings.tracker_id}


def check_place(settings: InferSettings) -> None:
    """Raise UserError where `out=` holds the results of a run over something else.

    It leaves the folder as it is. What `check_settings` finds is not told here.
    """
    check_out(Path(settings.out), tracked_of(settings), settings.overwrite)


def prompts_of(settings: InferSettings) -> tuple[str, ...]:
    """What to follow in a video: the texts of `prompt=`, each once; one without words where a box shows it.

    Raises UserError where there is neither.
    """
    texts = (text.strip() for text in (settings.prompt or "").split(";"))
    prompts = tuple(dict.fromkeys(filter(None, texts)))
    if not prompts and settings.box is None:
        raise UserError('video= needs prompt="…": say what to follow in it, or show it with box=x1,y1,x2,y2')
    return prompts or ("",)


def box_of(settings: InferSettings) -> Box | None:
    """The box of `box=`, xyxy. Raises UserError where it is none."""
    if settings.box is None:
        return None
    try:
        left, top, right, bottom = (float(side) for side in settings.box.strip("[] ").split(","))
    except ValueError:
        raise UserError(f"box={settings.box}: write x1,y1,x2,y2, four numbers in pixels") from None
    if not (isfinite(left + top + right + bottom) and left < right and top < bottom):
        raise UserError(f"box={settings.box}: x1,y1 must be its upper left corner, x2,y2 its lower right")
    return left, top, right, bottom
