"""Tracking one video file: `video=clip.mp4 prompt="the red cup"`."""

from pathlib import Path

from data_prep.frames import VideoFrames
from data_prep.sequence import Sequence
from data_prep.votsr.results import prompt_hash
from infer.checks import prompts_of
from infer.config import InferSettings
from infer.run_plan import RunPlan
from infer.session import Session
from infer.track_store import MaskStore


def video_plan(settings: InferSettings, out: Path) -> RunPlan:
    """A video file as a run; masks go to `out/masks/<video>_<hash>.txt` in VOTSr lines.

    Raises UserError for a video that cannot be read and for a missing prompt.
    """
    masks = out / "masks"

    def path_of(sequence: Sequence, prompt: str) -> Path:
        return masks / f"{sequence.name}_{prompt_hash(prompt)}.txt"

    def open_store(session: Session) -> MaskStore:
        return MaskStore(session, path_of)

    return RunPlan(
        [_as_sequence(settings)], masks, open_store, places={"masks": masks}, needs_pictures=settings.overlay
    )


def _as_sequence(settings: InferSettings) -> Sequence:
    """The video as a sequence whose prompts are those of `prompt=`."""
    assert settings.video is not None
    prompts = prompts_of(settings)
    frames = VideoFrames.open(Path(settings.video))
    return Sequence(Path(settings.video).stem, frames, prompts, frames.fps)
