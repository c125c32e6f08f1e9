"""One run of `python -m infer`: a workspace, a video, a data set or the rendered demo, up to its summary."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from data_prep.console import make_console
from data_prep.files import real_path
from data_prep.world.presets import PRESETS
from data_prep.world.render import render_workspace
from infer.config import InferSettings
from infer.engine.profile import profiled
from infer.engine.session import Session, open_session
from infer.engine.timings import Work
from infer.render.overlays import Overlays
from infer.runs.checks import source_identity
from infer.runs.claims import Claim, claim_out, claim_results
from infer.runs.data_set import data_plan
from infer.runs.plan import RunPlan
from infer.runs.records import TrackInputs, TrackRecords
from infer.runs.summary import RunSummary, TrackOutcome, write_summary
from infer.runs.summary_table import print_table
from infer.runs.timelines import write_timelines
from infer.runs.track_run import TrackRun
from infer.runs.tracks import RunTracks
from infer.runs.video import video_plan
from infer.runs.workspace import workspace_plan
from models.config import SHIPPED
from models.devices import peak_device_bytes

DEMO_SEQUENCES, DEMO_EXPRESSIONS = 6, 3
TRACE = "trace.json"  # in `out`, with profile=true
Tracking = Callable[[RunPlan, InferSettings], int]
"""Tracks what is planned and completes the run. Returns the exit status."""


def run(settings: InferSettings, track: Tracking | None = None) -> int:
    """Track what the settings name. The exit status is 0 only if every track was written and packed.

    `track` does the part that needs models; by default this process does (`infer.launch` has several).

    The settings must have passed `infer.runs.checks.check_settings`. Raises UserError if another run with
    other settings is working in the same folders, or has left results that this run would mix with its own.
    """
    out = Path(settings.out)
    is_demo = not (settings.workspace or settings.video or settings.data)
    # 1. Claim the output folder: nothing is written to the folder of another run.
    with claim_out(out, source_identity(settings), settings.overwrite, alone=is_demo):
        if is_demo:
            settings = _render_demo(settings)
        # 2. Read what is tracked before the models are loaded, because mistakes in it are found quickly.
        return (track or track_here)(make_plan(settings), settings)


def track_here(plan: RunPlan, settings: InferSettings) -> int:
    """Load the models into this process, track, and complete the run. Returns the exit status."""
    session = open_session(settings)
    # Claim the results folder. What is left in it has the same fingerprint and may be kept.
    fingerprint = {**session.fingerprint, **plan.identity}
    with claim_results(plan.results, fingerprint, settings.overwrite, settings.accept_code) as claim:
        tracking = open_tracking(plan, session, claim, settings)
        # Tracks that the plan could not read are the first outcomes.
        tracking.outcomes += plan.failed
        start_time = time.monotonic()
        with profiled_tracking(tracking, settings) as on_round:
            tracking.run(on_round)
        seconds = time.monotonic() - start_time
        return complete_run(plan, tracking, tracking.overlays, claim, settings, seconds, work_of(tracking))


def open_tracking(plan: RunPlan, session: Session, claim: Claim, settings: InferSettings) -> TrackRun:
    """The tracking part of a run for the models of a session."""
    out, store = Path(settings.out), plan.open_store(session)
    return TrackRun(
        plan.sequences,
        store,
        TrackRecords(out, settings.trace),
        TrackInputs(plan.results, store),
        session.engine,
        Overlays(out) if settings.overlay else None,
        claim,
        settings.engine,
        session.device_type,
    )


@contextmanager
def profiled_tracking(tracking: TrackRun, settings: InferSettings) -> Iterator[Callable[[], None] | None]:
    """A block in which a session tracks, with a trace if the settings ask for one.

    Yields what `tracking` must call after every batch. At the end the threads of the overlays have ended.
    """
    with ExitStack() as stack:
        if tracking.overlays is not None:
            stack.callback(tracking.overlays.close)
        trace = profiled(Path(settings.out) / TRACE, tracking.device_type)
        yield stack.enter_context(trace) if settings.profile else None


def work_of(tracking: TrackRun) -> Work:
    """What the models of this process have computed for a run."""
    engine, device_bytes = tracking.engine, peak_device_bytes(tracking.device_type)
    return Work.of(engine.timings, engine.grounding.statistics, tracking.num_frames, device_bytes)


def how_to_resume(settings: InferSettings) -> str:
    """How to make the tracks that are missing after an interrupt or a failure, for a message."""
    is_demo = settings.workspace == str(_demo_workspace(settings)) or not (
        settings.workspace or settings.video or settings.data
    )
    if is_demo:
        return "the demo always starts from the beginning"
    without = " without overwrite=true" if settings.overwrite else ""
    return f"finished tracks are kept; the same command{without} resumes with the rest"


def _demo_workspace(settings: InferSettings) -> Path:
    return Path(settings.out) / "workspace"


def _render_demo(settings: InferSettings) -> InferSettings:
    """Render the workspace of the demo under `out`. Its results are always made anew."""
    # Rendering takes time, so the workspace of an earlier demo is used again.
    root = _demo_workspace(settings)
    if not (root / "config.yaml").is_file():
        make_console().print(f"rendering a demo of {DEMO_SEQUENCES} sequences in {root}", soft_wrap=True)
        render_workspace(root, PRESETS["demo"], DEMO_SEQUENCES, DEMO_EXPRESSIONS)
    return dataclasses.replace(settings, workspace=str(root), overwrite=True)


def make_plan(settings: InferSettings) -> RunPlan:
    """Read what the settings name. Raises UserError if it cannot be read."""
    if settings.video is not None:
        return video_plan(settings, Path(settings.out))
    if settings.data is not None:
        return data_plan(settings)
    return workspace_plan(settings)


def complete_run(
    plan: RunPlan,
    tracking: RunTracks,
    overlays: Overlays | None,
    claim: Claim,
    settings: InferSettings,
    seconds: float,
    work: Work,
) -> int:
    """After tracking: join what was written, score, pack, write and print the summary. The exit status."""
    out = Path(settings.out)
    # 1. Write what needs all tracks: the joined records and the overview.
    places = {"tracks": tracking.join_records(), **_write_overview(overlays, tracking)}
    if settings.profile:
        places["trace"] = trace if (trace := out / TRACE).is_file() else None
    if settings.overlay and settings.trace:
        places["timelines"] = write_timelines(tracking)
    warnings = [*plan.warnings, *claim.warnings, *tracking.warnings]
    warnings += [*(overlays.warnings if overlays else []), *_advice(settings, tracking.outcomes)]
    warnings += _form_warnings(work)
    # 2. Score and pack, then write and print the summary.
    summary = plan.complete(
        RunSummary(tracking.outcomes, len(tracking.outcomes), seconds, warnings, work=work.figures())
    )
    write_summary(out / "summary.json", summary)
    hints = {**plan.hints, **({"resume": how_to_resume(settings)} if summary.failed else {})}
    print_table(
        summary,
        {"zip": summary.zip, **plan.places, **places, "summary": out / "summary.json", **hints},
    )
    # Overlays are the point of tracking a video, and the submission that of tracking a workspace.
    no_overlays = plan.needs_overlays and overlays is not None and overlays.have_failed
    no_zip = plan.needs_zip and summary.zip is None
    return 1 if summary.failed or plan.input_is_damaged or no_zip or no_overlays else 0


def _write_overview(overlays: Overlays | None, tracking: RunTracks) -> dict[str, Path | None]:
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


def _form_warnings(work: Work) -> list[str]:
    """How many answers of a server did not have the form of the contract."""
    if not work.ill_formed_answers:
        return []
    return [
        f"{work.ill_formed_answers} of {work.questions} answers do not have the form of the "
        "contract; check that model.contract= is that of the served model"
    ]
