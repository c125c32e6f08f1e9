"""Tracking one video file: `video=clip.mp4 prompt="the red cup"`."""

import time
from pathlib import Path

from configs.errors import UserError
from data_prep.files import write_whole
from data_prep.frames import VideoFrames
from data_prep.sequence import Sequence
from data_prep.votsr.regions import ABSENT, encode_mask
from data_prep.votsr.results import prompt_hash
from infer.config import InferSettings
from infer.pictures import Pictures
from infer.progress import RunProgress
from infer.session import open_session
from infer.summary import RunSummary, TrackOutcome, write_summary
from infer.summary_table import print_table


def track_video(settings: InferSettings, out: Path) -> int:
    """Track a video file; masks go to `out/masks/<video>_<hash>.txt` in VOTSr lines, pictures beside them.

    The video that plays is always written: it is what is asked for. Raises UserError for a video that
    cannot be read or a missing prompt.
    """
    assert settings.video is not None
    prompts = list(dict.fromkeys(text.strip() for text in (settings.prompt or "").split(";") if text.strip()))
    if not prompts:
        raise UserError('video= needs prompt="…": say what to follow in it')
    frames = VideoFrames.open(Path(settings.video))
    sequence = Sequence(Path(settings.video).stem, frames, tuple(prompts), frames.fps)
    session = open_session(settings)
    pictures = Pictures(out)
    lines: list[list[str]] = [[] for _ in prompts]
    started = time.monotonic()
    with RunProgress(len(frames) * len(prompts), len(prompts)) as progress:
        progress.sequence(sequence.name, len(prompts))
        with pictures.of_sequence(sequence, prompts) as drawn:
            for step in session.engine.run(frames, [session.job(prompt) for prompt in prompts]):
                for track_lines, report in zip(lines, step.reports, strict=True):
                    track_lines.append(encode_mask(report.mask))
                drawn.add(step)
                progress.advance(len(prompts))
            drawn.finish()
    seconds = time.monotonic() - started
    outcomes = []
    for prompt, track_lines in zip(prompts, lines, strict=True):
        name = f"{sequence.name}_{prompt_hash(prompt)}.txt"
        write_whole(out / "masks" / name, "".join(f"{line}\n" for line in track_lines))
        absent = track_lines.count(ABSENT)
        outcomes.append(
            TrackOutcome(sequence.name, prompt, len(track_lines) - absent, absent, None, seconds, None)
        )
    summary = RunSummary(outcomes, len(outcomes), seconds, pictures.warnings)
    write_summary(out / "summary.json", summary)
    places = {"pictures": pictures.write_overview(), "videos": out / "overlays", "masks": out / "masks"}
    print_table(summary, {**places, "summary": out / "summary.json"})
    return 1 if pictures.warnings else 0
