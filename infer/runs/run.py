"""One run of `python -m infer`: a workspace, a video, a data set or the rendered demo, up to its summary."""

import dataclasses
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from data_prep.console import make_console
from data_prep.files import real_path
from data_prep.world.presets import PRESETS
from data_prep.world.render import render_workspace
from infer.config import InferSettings
from infer.engine.profile import profiled
from infer.engine.session import Session, open_session
from infer.engine.timings import work_figures
from infer.render.overlays import Overlays
from infer.runs.checks import source_identity
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
from models.devices import peak_device_bytes
from models.interfaces import GroundingStatistics

DEMO_SEQUENCES, DEMO_EXPRESSIONS = 6, 3


def run(settings: InferSettings) -> int:
    """Track what the settings name. The exit status is 0 only if every track was written and packed.

    The settings must have passed `infer.runs.checks.check_settings`. Raises UserError if another run with
    other settings is working in the same folders, or has left results that this run would mix with its own.
    """
    out = Path(settings.out)
    is_demo = not (settings.workspace or settings.video or settings.data)
    # 1. Claim the output folder: nothing is written to the folder of another run.
    with claim_out(out, source_identity(settings), settings.overwrite, alone=is_demo):
        if is_demo:
            settings = _render_demo(settings, out)
        # 2. Read what is tracked before the models are loaded, because mistakes in it are found quickly.
        plan = _plan(settings, out)
        session = open_session(settings)
        # 3. Claim the results folder. What is left in it has the same fingerprint and may be kept.
        fingerprint = {**session.fingerprint, **plan.identity}
        with claim_results(plan.results, fingerprint, settings.overwrite, settings.accept_code) as claim:
            return _run(plan, session, claim, settings)


def _render_demo(settings: InferSettings, out: Path) -> InferSettings:
    """Render the workspace of the demo under `out`. Its results are always made anew."""
    # Rendering takes time, so the workspace of an earlier demo is used again.
    root = out / "workspace"
    if not (root / "config.yaml").is_file():
        make_console().print(f"rendering a demo of {DEMO_SEQUENCES} sequences in {root}", soft_wrap=True)
        render_workspace(root, PRESETS["demo"], DEMO_SEQUENCES, DEMO_EXPRESSIONS)
    return dataclasses.replace(settings, workspace=str(root), overwrite=True)


def _plan(settings: InferSettings, out: Path) -> RunPlan:
    if settings.video is not None:
        return video_plan(settings, out)
    if settings.data is not None:
        return data_plan(settings)
    return workspace_plan(settings)


def _run(plan: RunPlan, session: Session, claim: Claim, settings: InferSettings) -> int:
    """Track, complete the summary, write and print it. Returns the exit status."""
    out = Path(settings.out)
    # 1. Track. Tracks that the plan could not read are the first outcomes.
    overlays = Overlays(out) if settings.overlay else None
    store = plan.open_store(session)
    inputs, records = TrackInputs(plan.results, store), TrackRecords(out)
    tracking = TrackRun(
        plan.sequences,
        store,
        session.engine,
        overlays,
        claim,
        records,
        inputs,
        settings.engine,
        session.device_type,
        list(plan.failed),
    )
    trace = out / "trace.json"
    start_time = time.monotonic()
    with ExitStack() as stack:
        if overlays is not None:
            stack.callback(overlays.close)
        on_round = stack.enter_context(profiled(trace, session.device_type)) if settings.profile else None
        tracking.run(on_round)
    seconds = time.monotonic() - start_time
    engine = session.engine
    device_bytes = peak_device_bytes(session.device_type)
    work = work_figures(engine.timings, engine.grounding.statistics, tracking.num_frames, device_bytes)
    # 2. Write what needs all tracks: the joined records and the overview.
    places = {"tracks": tracking.join_records(), **_write_overview(overlays, tracking)}
    if settings.profile:
        places["trace"] = trace if trace.is_file() else None
    warnings = [*plan.warnings, *claim.warnings, *tracking.warnings]
    warnings += [*(overlays.warnings if overlays else []), *_advice(settings, tracking.outcomes)]
    warnings += _form_warnings(engine.grounding.statistics)
    # 3. Score and pack, then write and print the summary.
    summary = plan.complete(
        RunSummary(tracking.outcomes, len(tracking.outcomes), seconds, warnings, work=work)
    )
    write_summary(out / "summary.json", summary)
    print_table(
        summary,
        {"zip": summary.zip, **plan.places, **places, "summary": out / "summary.json", **plan.hints},
    )
    # Overlays are the point of tracking a video, and the submission that of tracking a workspace.
    no_overlays = plan.needs_overlays and overlays is not None and overlays.have_failed
    no_zip = plan.needs_zip and summary.zip is None
    return 1 if summary.failed or plan.input_is_damaged or no_zip or no_overlays else 0


def _write_overview(overlays: Overlays | None, tracking: TrackRun) -> dict[str, Path | None]:
    """Write the contact sheet of the run. Returns the places of contact sheet and videos."""
    kept = {outcome.sequence for outcome in tracking.outcomes if outcome.kept}
    sheet = overlays.write_overview(tracking.frame_sizes, kept) if overlays else None
    return {"contact sheet": sheet, "videos": overlays.out / "overlays" if overlays and sheet else None}


def _advice(settings: InferSettings, outcomes: Sequence[TrackOutcome]) -> list[str]:
    """If the small models found nothing at all, a warning that names models for ordinary video."""
    tracked = [outcome for outcome in outcomes if not outcome.failure and (outcome.expression or "").strip()]
    # Only the shipped models are known to fail on ordinary video.
    is_small = real_path(settings.model.checkpoint).is_relative_to(SHIPPED)
    if not is_small or not tracked or any(outcome.num_present for outcome in tracked):
        return []
    return [
        "nothing was found: the small models were trained on rendered scenes only; for ordinary video take "
        "model=qwen2_5_vl_7b mask_head=sam2_1_large"
    ]


def _form_warnings(statistics: GroundingStatistics) -> list[str]:
    """How many answers of a server did not have the form of the contract."""
    if not statistics.ill_formed_answers:
        return []
    return [
        f"{statistics.ill_formed_answers} of {statistics.questions} answers do not have the form of the "
        "contract; check that model.contract= is that of the served model"
    ]
