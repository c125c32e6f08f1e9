"""Checks of the settings that need no model. They import no torch, so a mistake is reported at once."""

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
from infer.engine.backends.registry import check_backend
from infer.launch.config import check_launch
from infer.runs.claims import check_out
from models.calibration import find_calibration
from models.mask_head.registry import check_mask_head

EXPRESSIONS_ELSEWHERE = {
    "workspace": "the expressions of a workspace are in its sequences",
    "data": "the expressions of a data set are in its index",
}


def check_settings(settings: InferSettings) -> None:
    """Raise UserError for keys that exclude each other, have no effect or are missing, and missing files."""
    # 1. Keys: which source is tracked, and which keys have an effect with it.
    sources = [name for name in ("workspace", "video", "data") if getattr(settings, name) is not None]
    if len(sources) > 1:
        raise UserError(f"{'= and '.join(sources)}= are both given; leave one out")
    if settings.first_box and settings.data is None:
        remedy = "; for a video give box=x1,y1,x2,y2" if settings.video is not None else ""
        raise UserError(f"first_box= goes with data={remedy}")
    # 2. The source itself. Its contents are read later, when the run is planned.
    _check_source(settings)
    # 3. The package of the launch.
    check_launch(settings.launch)
    # 4. The folders of the checkpoints, without loading their weights.
    check_backend(settings)
    find_calibration(settings.model)
    check_mask_head(settings.mask_head)


def check_out_folder(settings: InferSettings) -> None:
    """Raise UserError if `out=` holds the results of a run over another source. Changes nothing there."""
    check_out(Path(settings.out), source_identity(settings), settings.overwrite)


def _check_source(settings: InferSettings) -> None:
    """Check what is to be tracked."""
    if settings.video is not None:
        _check_video(settings, Path(settings.video))
        return
    _check_no_video_keys(settings)
    check_tracker_id(settings.tracker_id)
    if settings.data is not None:
        read_about(index_path(Path(settings.indexes), settings.data, settings.split))
    elif settings.workspace is not None:
        _check_workspace(Path(settings.workspace), settings.pack)


def _check_video(settings: InferSettings, path: Path) -> None:
    expressions = parse_expressions(settings)
    if parse_box(settings) is not None and len(expressions) > 1:
        raise UserError("box= shows one target, but prompt= names several; give one, or run each by itself")
    if settings.first is not None and settings.last is not None and settings.first > settings.last:
        raise UserError(f"first={settings.first} last={settings.last}: first= must not be greater than last=")
    check_video_path(path)


def _check_no_video_keys(settings: InferSettings) -> None:
    """Raise UserError for keys that have an effect with `video=` only."""
    if settings.prompt is not None:
        elsewhere = EXPRESSIONS_ELSEWHERE["data" if settings.data else "workspace"]
        raise UserError(f"prompt= goes with video=; {elsewhere}")
    for name in ("first", "last", "box"):
        if getattr(settings, name) is not None:
            raise UserError(f"{name}= goes with video=")


def _check_workspace(root: Path, pack: bool) -> None:
    """Raise UserError for a workspace that cannot be read, or whose results could not be packed."""
    # The toolkit runs code that a stack file names, so only the names of its own stacks are accepted.
    stack = read_config(root).get("stack")
    if pack and isinstance(stack, str):
        check_referral_stack(root / "config.yaml", stack)


def source_identity(settings: InferSettings) -> dict[str, Any]:
    """What is tracked, as `out/run.json` holds it: an `out` folder belongs to one source."""
    if settings.video is not None:
        path = Path(settings.video)
        video: dict[str, Any] = {"video": str(real_path(path))}
        # Size and time show that the file was replaced. A missing file is reported when it is opened.
        if path.exists():
            about = path.stat()
            video |= {"bytes": about.st_size, "modified_ns": about.st_mtime_ns}
        return video
    if settings.data is not None:
        indexes = str(real_path(settings.indexes))
        source = {"data": settings.data, "split": settings.split, "indexes": indexes}
    else:
        source = {"workspace": str(real_path(settings.workspace)) if settings.workspace else "demo"}
    return {**source, "tracker_id": settings.tracker_id}


def parse_expressions(settings: InferSettings) -> tuple[str, ...]:
    """The expressions of `prompt=`, each once; a single empty one if only `box=` shows the target.

    Raises UserError if neither is given.
    """
    # Repeated expressions would write the same result file.
    texts = (text.strip() for text in (settings.prompt or "").split(";"))
    expressions = tuple(dict.fromkeys(filter(None, texts)))
    if not expressions and settings.box is None:
        raise UserError(
            'video= needs prompt="…", a description of the target, or box=x1,y1,x2,y2, its box in the first '
            "frame"
        )
    return expressions or ("",)


def parse_box(settings: InferSettings) -> Box | None:
    """The box of `box=`, xyxy in pixels of the frame. Raises UserError if it is not a box."""
    if settings.box is None:
        return None
    try:
        left, top, right, bottom = (float(side) for side in settings.box.strip("[] ").split(","))
    except ValueError:
        raise UserError(f"box={settings.box}: write x1,y1,x2,y2, four numbers in pixels") from None
    # The sum is finite only if all four numbers are.
    if not (isfinite(left + top + right + bottom) and left < right and top < bottom):
        raise UserError(f"box={settings.box}: x1,y1 must be its upper left corner, x2,y2 its lower right")
    return left, top, right, bottom
