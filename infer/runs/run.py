"""One run of `python -m infer`: a workspace, a video, a data set, or the rendered demo, to its summary."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

from data_prep.console import make_console
from data_prep.files import real_path
from data_prep.world.presets import PRESETS
from data_prep.world.render import render_workspace
from infer.config import InferSettings
from infer.engine.session import Session, open_session
from infer.render.overlays import Pictures
from infer.runs.checks import tracked_of
from infer.runs.claims import Claim, claim_out, claim_results
from infer.runs.data_set import data_plan
from infer.runs.plan import RunPlan
from infer.runs.records import TrackInputs, TrackRecords
from infer.runs.summary import RunSummary, TrackOutcome, write_summary
from infer.runs.summary_table import print_table
from infer.runs.track_run import TrackRun
from infer.runs.video import video_plan
from infer.runs.workspace import workspace_plan
from models.config import SHIPPED

DEMO_SEQUENCES, DEMO_PROMPTS = 6, 3


def run(settings: InferSettings) -> int:
    """Track what the settings name; the exit status is 0 only where every track was written and packed.

    The settings are those that `infer.runs.checks.check_settings` lets pass. Raises UserError where another
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
        with claim_results(plan.results, fingerprint, settings.overwrite, settings.accept_code) as claim:
            return _run(plan, session, claim, settings)


def _demo(settings: InferSettings, out: Path) -> InferSettings:
    """Render the demo's workspace under `out`; its results are made anew each time."""
    root = out / "workspace"
    if not (root / "config.yaml").is_file():
        make_console().print(f"rendering a demo of {DEMO_SEQUENCES} sequences in {root}", soft_wrap=True)
        render_workspace(root, PRESETS["demo"], DEMO_SEQUENCES, DEMO_PROMPTS)
    return dataclasses.replace(settings, workspace=str(root), overwrite=True)


def _plan(settings: InferSettings, out: Path) -> RunPlan:
    if settings.video is not None:
        return video_plan(settings, out)
    if settings.data is not None:
        return data_plan(settings)
    return workspace_plan(settings)


def _run(plan: RunPlan, session: Session, claim: Claim, settings: InferSettings) -> int:
    """Track, complete and tell; the exit status."""
    out = Path(settings.out)
    pictures = Pictures(out) if settings.overlay else None
    store, problems = plan.open_store(session), list(plan.problems)
    inputs, records = TrackInputs(plan.results, store), TrackRecords(out)
    tracking = TrackRun(plan.sequences, store, session.engine, pictures, claim, records, inputs, problems)
    started = time.monotonic()
    tracking.run()
    seconds = time.monotonic() - started
    places = {"tracks": tracking.join_records(), **_pictures(pictures, tracking)}
    warnings = [*plan.warnings, *claim.warnings, *tracking.warnings]
    warnings += [*(pictures.warnings if pictures else []), *_advice(settings, tracking.outcomes)]
    summary = plan.complete(RunSummary(tracking.outcomes, len(tracking.outcomes), seconds, warnings))
    write_summary(out / "summary.json", summary)
    print_table(
        summary,
        {"zip": summary.zip, **plan.places, **places, "summary": out / "summary.json", **plan.hints},
    )
    no_pictures = plan.needs_pictures and pictures is not None and pictures.have_failed
    no_zip = plan.needs_zip and summary.zip is None
    return 1 if summary.failed or plan.input_is_damaged or no_zip or no_pictures else 0


def _pictures(pictures: Pictures | None, tracking: TrackRun) -> dict[str, Path | None]:
    """Write the overview; where the pictures of a run lie."""
    kept = {outcome.sequence for outcome in tracking.outcomes if outcome.kept}
    sheet = pictures.write_overview(tracking.frame_sizes, kept) if pictures else None
    return {"pictures": sheet, "videos": pictures.out / "overlays" if pictures and sheet else None}


def _advice(settings: InferSettings, outcomes: Sequence[TrackOutcome]) -> list[str]:
    """Where the small models found nothing at all: which models know ordinary video."""
    asked = [outcome for outcome in outcomes if not outcome.failure and (outcome.prompt or "").strip()]
    is_small = real_path(settings.model.checkpoint).is_relative_to(SHIPPED)
    if not is_small or not asked or any(outcome.frames_present for outcome in asked):
        return []
    return [
        "nothing was found: the small models have only seen rendered scenes; for ordinary video take "
        "model=qwen2_5_vl_7b mask_head=sam2_1_large"
    ]
