"""One run of `python -m infer`: a workspace, a video, a data set, or the rendered demo, to its summary."""

import dataclasses
import time
from pathlib import Path

from data_prep.world.presets import PRESETS
from data_prep.world.render import render_workspace
from infer.checks import tracked_of
from infer.claims import Claim, claim_out, claim_results
from infer.config import InferSettings
from infer.data_run import data_plan
from infer.pictures import Pictures
from infer.run_plan import RunPlan
from infer.session import Session, open_session
from infer.summary import RunSummary, write_summary
from infer.summary_table import print_table
from infer.track_run import TrackRun
from infer.video_run import video_plan
from infer.votsr_run import workspace_plan

DEMO_SEQUENCES, DEMO_PROMPTS = 6, 3


def run(settings: InferSettings) -> int:
    """Track what the settings name; the exit status is 0 only where every track was written and packed.

    The settings are those that `infer.checks.check_settings` lets pass. Raises UserError where another
    run works in the same folders with other settings, or has left results there that this one would mix
    with its own.
    """
    out = Path(settings.out)
    is_demo = not (settings.workspace or settings.video or settings.data)
    with claim_out(out, tracked_of(settings), settings.overwrite, alone=is_demo):
        if is_demo:
            settings = _demo(settings, out)
        plan = _plan(settings, out)
        session = open_session(settings)
        fingerprint = {**session.fingerprint, **plan.identity}
        with claim_results(plan.results, fingerprint, settings.overwrite) as claim:
            return _run(plan, session, claim, out, settings.overlay)


def _demo(settings: InferSettings, out: Path) -> InferSettings:
    """Render the demo's workspace under `out`; its results are made anew each time."""
    root = out / "workspace"
    if not (root / "config.yaml").is_file():
        print(f"rendering a demo of {DEMO_SEQUENCES} sequences in {root}")
        render_workspace(root, PRESETS["demo"], DEMO_SEQUENCES, DEMO_PROMPTS)
    return dataclasses.replace(settings, workspace=str(root), overwrite=True)


def _plan(settings: InferSettings, out: Path) -> RunPlan:
    if settings.video is not None:
        return video_plan(settings, out)
    if settings.data is not None:
        return data_plan(settings)
    return workspace_plan(settings)


def _run(plan: RunPlan, session: Session, claim: Claim, out: Path, overlay: bool) -> int:
    """Track, complete and tell; the exit status."""
    pictures = Pictures(out) if overlay else None
    tracking = TrackRun(
        plan.sequences, plan.open_store(session), session.engine, pictures, claim, list(plan.problems)
    )
    started = time.monotonic()
    tracking.run()
    seconds = time.monotonic() - started
    picture_warnings = pictures.warnings if pictures else []
    warnings = [*plan.warnings, *claim.warnings, *picture_warnings]
    summary = plan.complete(RunSummary(tracking.outcomes, len(tracking.outcomes), seconds, warnings))
    _tell(plan, summary, pictures, out)
    incomplete = (plan.needs_zip and summary.zip is None) or (plan.needs_pictures and picture_warnings)
    return 1 if summary.failed or incomplete else 0


def _tell(plan: RunPlan, summary: RunSummary, pictures: Pictures | None, out: Path) -> None:
    """Write the overview and the summary, and print the table."""
    sheet = pictures.write_overview() if pictures else None
    places: dict[str, Path | str | None] = {
        "zip": summary.zip,
        **plan.places,
        "pictures": sheet,
        "videos": out / "overlays" if sheet else None,
        "summary": out / "summary.json",
        **plan.hints,
    }
    write_summary(out / "summary.json", summary)
    print_table(summary, places)
