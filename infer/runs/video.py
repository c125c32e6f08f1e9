"""Tracking one video: `video=clip.mp4 prompt="the red cup"`."""

from pathlib import Path

from configs.errors import UserError
from data_prep.geometry import Box, Size, clamp
from data_prep.sequence import Sequence
from data_prep.video.inputs import open_video
from data_prep.votsr.results import prompt_hash
from infer.config import InferSettings
from infer.engine.session import Session
from infer.runs.checks import box_of, prompts_of
from infer.runs.plan import MaskStore, RunPlan


def video_plan(settings: InferSettings, out: Path) -> RunPlan:
    """A video as a run; masks go to `out/masks/<video>_<hash>.txt` in VOTSr lines, one a tracked frame.

    Raises UserError for a video that cannot be read, frames or a box that are not in it, and a missing
    prompt. One of which only a part can be read is tracked as far as that goes, and the exit status is 1.
    """
    assert settings.video is not None
    masks, prompts = out / "masks", prompts_of(settings)  # told before the video is decoded
    video = open_video(Path(settings.video), settings.first, settings.last)
    box_xyxy = _inside(box_of(settings), video.frames.size)

    def path_of(sequence: Sequence, prompt: str) -> Path:
        return masks / f"{sequence.name}_{prompt_hash(prompt)}.txt"

    def open_store(session: Session) -> MaskStore:
        return MaskStore(session, path_of, box_xyxy)

    return RunPlan(
        [Sequence(video.name, video.frames, prompts, video.fps)],
        masks,
        open_store,
        identity={"first": settings.first, "last": settings.last, "box": box_xyxy and list(box_xyxy)},
        warnings=video.warnings,
        places={"masks": masks},
        hints={"frames": video.about} if video.about else {},
        input_is_damaged=bool(video.warnings),
        needs_pictures=settings.overlay,
    )


def _inside(box_xyxy: Box | None, size: Size) -> Box | None:
    """The part of a given box inside the frame. Raises UserError where there is less than a pixel of it."""
    if box_xyxy is None:
        return None
    left, top, right, bottom = clamp(box_xyxy, size)
    if right - left < 1 or bottom - top < 1:
        told = ",".join(f"{side:g}" for side in box_xyxy)
        raise UserError(f"box={told}: lies outside the frames, which are {size[0]}x{size[1]}; correct it")
    return left, top, right, bottom
