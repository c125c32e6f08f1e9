"""Tracking one video file: `video=clip.mp4 prompt="the red cup"`."""

import time
from pathlib import Path

from data_prep.frames import VideoFrames
from data_prep.sequence import Sequence
from data_prep.votsr.results import prompt_hash, write_result
from infer.checks import prompts_of
from infer.config import InferSettings
from infer.pictures import Pictures
from infer.progress import RunProgress
from infer.session import Session, open_session
from infer.summary import RunSummary, TrackOutcome, write_summary
from infer.summary_table import print_table
from infer.track_lines import TrackLines, take_down


def track_video(settings: InferSettings, out: Path) -> int:
    """Track a video file; masks go to `out/masks/<video>_<hash>.txt` in VOTSr lines, pictures beside them.

    The video that plays is what is asked for, so it is written whatever `overlay` says. Raises UserError
    for a video that cannot be read, a missing prompt, or masks that cannot be written.
    """
    sequence = _as_sequence(settings)
    session = open_session(settings)
    pictures = Pictures(out)
    started = time.monotonic()
    tracks = _track(sequence, session, pictures)
    seconds = time.monotonic() - started
    for prompt, track in zip(sequence.prompts, tracks, strict=True):
        path = out / "masks" / f"{sequence.name}_{prompt_hash(prompt)}.txt"
        write_result(path, track.masks, len(track.masks))
    summary = RunSummary(_outcomes(sequence, tracks, seconds), len(tracks), seconds, pictures.warnings)
    write_summary(out / "summary.json", summary)
    places = {"pictures": pictures.write_overview(), "videos": out / "overlays", "masks": out / "masks"}
    print_table(summary, {**places, "summary": out / "summary.json"})
    return 1 if pictures.warnings else 0


def _as_sequence(settings: InferSettings) -> Sequence:
    """The video as a sequence whose prompts are those of `prompt=`."""
    assert settings.video is not None
    prompts = prompts_of(settings)
    frames = VideoFrames.open(Path(settings.video))
    return Sequence(Path(settings.video).stem, frames, prompts, frames.fps)


def _track(sequence: Sequence, session: Session, pictures: Pictures) -> list[TrackLines]:
    """Track all prompts together, drawing as it goes."""
    prompts = list(sequence.prompts)
    tracks = [TrackLines() for _ in prompts]
    with RunProgress(len(sequence.frames) * len(prompts), len(prompts)) as progress:
        progress.sequence(sequence.name, len(prompts))
        with pictures.of_sequence(sequence, prompts) as drawn:
            for step in session.engine.run(sequence.frames, [session.job(prompt) for prompt in prompts]):
                take_down(step, tracks)
                drawn.add(step)
                progress.advance(len(prompts))
            drawn.finish()
    return tracks


def _outcomes(sequence: Sequence, tracks: list[TrackLines], seconds: float) -> list[TrackOutcome]:
    counts = [(len(track.masks), track.absent) for track in tracks]
    return [
        TrackOutcome(sequence.name, prompt, total - absent, absent, None, seconds / len(counts), None)
        for prompt, (total, absent) in zip(sequence.prompts, counts, strict=True)
    ]
