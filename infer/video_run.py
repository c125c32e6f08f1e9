"""Tracking one video file: `video=clip.mp4 prompt="the red cup"`."""

from pathlib import Path

from data_prep.sequence import Sequence
from data_prep.video_input import open_video
from data_prep.votsr.results import prompt_hash
from infer.checks import prompts_of
from infer.config import InferSettings
from infer.run_plan import RunPlan
from infer.session import Session
from infer.track_store import MaskStore


def video_plan(settings: InferSettings, out: Path) -> RunPlan:
    """A video file as a run; masks go to `out/masks/<video>_<hash>.txt` in VOTSr lines.

    Raises UserError for a video that cannot be read and for a missing prompt. One of which only a part can be
    read is tracked as far as that goes, and the exit status is 1.
    """
    masks = out / "masks"

    def path_of(sequence: Sequence, prompt: str) -> Path:
        return masks / f"{sequence.name}_{prompt_hash(prompt)}.txt"

    def open_store(session: Session) -> MaskStore:
        return MaskStore(session, path_of)

    assert settings.video is not None
    video = open_video(Path(settings.video))
    return RunPlan(
        [Sequence(video.name, video.frames, prompts_of(settings), video.fps)],
        masks,
        open_store,
        warnings=video.warnings,
        places={"masks": masks},
        input_is_damaged=bool(video.warnings),
        needs_pictures=settings.overlay,
    )
