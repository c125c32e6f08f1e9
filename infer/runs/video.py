"""Tracking one video: `video=clip.mp4 prompt="the red cup"`."""

from pathlib import Path

from configs.errors import UserError
from data_prep.geometry import Box, Size, clamp
from data_prep.sequence import Sequence
from data_prep.video.inputs import open_video
from data_prep.votsr.results import prompt_hash
from infer.config import InferSettings
from infer.runs.checks import parse_box, parse_expressions
from infer.runs.plan import MaskStore, RunPlan, TrackerSource


def video_plan(settings: InferSettings, out: Path) -> RunPlan:
    """The run over one video. Masks go to `out/masks/<video>_<hash>.txt`, one line per tracked frame.

    Of a damaged video everything that can be read is tracked, and the exit status is 1. Raises UserError for
    a video that cannot be read, for frames or a box that lie outside it, and for a missing expression.
    """
    assert settings.video is not None
    masks = out / "masks"
    # Mistakes in the settings are reported before the video is decoded, which may take long.
    expressions = parse_expressions(settings)
    video = open_video(Path(settings.video), settings.first, settings.last)
    box_xyxy = _clipped(parse_box(settings), video.frames.size)

    def path_of(sequence: Sequence, expression: str) -> Path:
        return masks / f"{sequence.name}_{prompt_hash(expression)}.txt"

    def open_store(session: TrackerSource) -> MaskStore:
        return MaskStore(session, path_of, box_xyxy)

    # A video is one sequence; each expression is a track of it.
    return RunPlan(
        [Sequence(video.name, video.frames, expressions, video.fps)],
        masks,
        open_store,
        # The results of another part of the video, or of another box, are other results.
        identity={"first": settings.first, "last": settings.last, "box": box_xyxy and list(box_xyxy)},
        warnings=video.warnings,
        places={"masks": masks},
        hints={"frames": video.about} if video.about else {},
        input_is_damaged=bool(video.warnings),
        needs_overlays=settings.overlay,
    )


def _clipped(box_xyxy: Box | None, size: Size) -> Box | None:
    """The part of the given box that lies in the frame of `size` (width, height).

    Raises UserError if that part is less than one pixel wide or high.
    """
    if box_xyxy is None:
        return None
    left, top, right, bottom = clamp(box_xyxy, size)
    if right - left < 1 or bottom - top < 1:
        given = ",".join(f"{side:g}" for side in box_xyxy)
        raise UserError(f"box={given}: lies outside the frames, which are {size[0]}x{size[1]}; correct it")
    return left, top, right, bottom
