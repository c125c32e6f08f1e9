"""One run of `python -m infer`: a workspace, a video, a data set, or the rendered demo, to its summary."""

import dataclasses
import time
from pathlib import Path
from typing import Any

from configs.errors import UserError
from data_prep.votsr.pack import pack
from data_prep.votsr.trackers_ini import ensure_tracker
from data_prep.votsr.workspace import Workspace, read_workspace
from data_prep.world.presets import PRESETS
from data_prep.world.render import render_workspace
from evaluation.votsr import all_absent_row, referral_figures, true_boxes_row
from evaluation.votsr_toolkit import toolkit_accuracy
from infer.config import InferSettings
from infer.data_run import track_data
from infer.fingerprint import claim
from infer.pictures import Pictures
from infer.session import open_session
from infer.summary import Figures, RunSummary, TrackOutcome, write_summary
from infer.summary_table import print_table
from infer.track_run import TrackRun
from infer.video_run import track_video
from infer.votsr_run import VotsrStore, problems_of

DEMO_SEQUENCES, DEMO_PROMPTS = 6, 3


def run(settings: InferSettings) -> int:
    """Track what the settings name; the exit status is 0 only where every track was written and packed.

    The settings are those that `infer.checks.check_settings` lets pass.
    """
    out = Path(settings.out)
    if settings.video is not None:
        return track_video(settings, out)
    if settings.data is not None:
        return track_data(settings, out)
    if settings.workspace is None:
        settings = _demo(settings, out)
    assert settings.workspace is not None
    return _run_workspace(settings, read_workspace(Path(settings.workspace)), out)


def _demo(settings: InferSettings, out: Path) -> InferSettings:
    """Render the demo's workspace under `out`; its results are made anew each time."""
    root = out / "workspace"
    if not (root / "config.yaml").is_file():
        print(f"rendering a demo of {DEMO_SEQUENCES} sequences in {root}")
        render_workspace(root, PRESETS["demo"], DEMO_SEQUENCES, DEMO_PROMPTS)
    return dataclasses.replace(settings, workspace=str(root), overwrite=True)


def _run_workspace(settings: InferSettings, workspace: Workspace, out: Path) -> int:
    session = open_session(settings)
    claim(workspace.root / "results" / settings.tracker_id, session.fingerprint, settings.overwrite)
    ensure_tracker(workspace.root / "trackers.ini", settings.tracker_id)
    pictures = Pictures(out) if settings.overlay else None
    store = VotsrStore(workspace.root, settings.tracker_id, session)
    tracking = TrackRun(workspace.sequences, store, session.engine, pictures, problems_of(workspace))
    started = time.monotonic()
    tracking.run()
    seconds = time.monotonic() - started
    warnings = [*workspace.warnings, *(pictures.warnings if pictures else [])]
    summary = RunSummary(tracking.outcomes, len(tracking.outcomes), seconds, warnings)
    summary = _scored(summary, workspace, settings.tracker_id)
    summary = _packed(summary, workspace, settings)
    _tell(summary, pictures, out)
    wanted = settings.pack and summary.zip is None
    return 1 if summary.failed or wanted else 0


def _scored(summary: RunSummary, workspace: Workspace, tracker_id: str) -> RunSummary:
    """The summary with the figures of the results, where there is truth and every track is written."""
    if summary.failed:
        return summary
    try:
        figures = referral_figures(workspace.root, tracker_id)
        official = toolkit_accuracy(workspace.root, tracker_id)
    except UserError as fault:
        return dataclasses.replace(summary, warnings=[*summary.warnings, f"not scored: {fault}"])
    if official["accuracy"] is None:
        return summary
    return dataclasses.replace(
        summary,
        outcomes=[_with_score(outcome, figures) for outcome in summary.outcomes],
        figures=dataclasses.replace(Figures.of(figures), referral_accuracy=official["accuracy"]),
        sequences=Figures.of_sequences(figures),
        references={
            "all absent": Figures.of(all_absent_row(workspace.root)),
            "true boxes, filled": Figures.of(true_boxes_row(workspace.root)),
        },
    )


def _with_score(outcome: TrackOutcome, figures: dict[str, Any]) -> TrackOutcome:
    prompts = figures["sequences"].get(outcome.sequence, {}).get("prompts", {})
    return dataclasses.replace(outcome, score=prompts.get(outcome.prompt, {}).get("accuracy"))


def _packed(summary: RunSummary, workspace: Workspace, settings: InferSettings) -> RunSummary:
    """The summary with the verified zip, if one is wanted and every track is written."""
    if not settings.pack or summary.failed:
        return summary
    try:
        return dataclasses.replace(summary, zip=pack(workspace.root, settings.tracker_id))
    except UserError as fault:
        return dataclasses.replace(summary, warnings=[*summary.warnings, f"not packed: {fault}"])


def _tell(summary: RunSummary, pictures: Pictures | None, out: Path) -> None:
    """Write the summary and print the table."""
    sheet = pictures.write_overview() if pictures else None
    places: dict[str, Path | str | None] = {
        "zip": summary.zip,
        "pictures": sheet,
        "videos": out / "overlays" if sheet else None,
        "summary": out / "summary.json",
    }
    write_summary(out / "summary.json", summary)
    print_table(summary, places)
