"""Tracking a VOTSr workspace: `workspace=PATH`. Results are scored where there is truth, and packed."""

import dataclasses
from pathlib import Path
from typing import Any

from configs.errors import UserError
from data_prep.sequence import Sequence
from data_prep.votsr.pack import pack
from data_prep.votsr.results import result_path
from data_prep.votsr.toolkit import ensure_tracker
from data_prep.votsr.workspace import Workspace, read_workspace
from evaluation.votsr import all_absent_row, referral_figures, toolkit_accuracy, true_boxes_row
from infer.config import InferSettings
from infer.runs.locks import locked
from infer.runs.plan import MaskStore, RunPlan, TrackerSource
from infer.runs.summary import Figures, RunSummary, TrackOutcome


def workspace_plan(settings: InferSettings) -> RunPlan:
    """The run over a workspace. Raises UserError if it cannot be read."""
    assert settings.workspace is not None
    workspace = read_workspace(Path(settings.workspace))
    root, tracker_id = workspace.root, settings.tracker_id

    def path_of(sequence: Sequence, expression: str) -> Path:
        return result_path(root, tracker_id, sequence.name, expression)

    def open_store(session: TrackerSource) -> MaskStore:
        # Runs of several trackers may add their sections to the same file at once.
        with locked(root / "trackers.ini"):
            ensure_tracker(root / "trackers.ini", tracker_id)
        return MaskStore(session, path_of)

    def complete(summary: RunSummary) -> RunSummary:
        return _packed(_scored(summary, workspace, tracker_id), workspace, settings)

    return RunPlan(
        workspace.sequences,
        root / "results" / tracker_id,
        open_store,
        failed=workspace_failures(workspace),
        warnings=workspace.warnings,
        complete=complete,
        needs_zip=settings.pack,
    )


def workspace_failures(workspace: Workspace) -> list[TrackOutcome]:
    """The sequences and expressions of a workspace that cannot be tracked, with their reasons."""
    return [
        TrackOutcome.of_failure(problem.sequence, problem.prompt, problem.reason)
        for problem in workspace.problems
    ]


def _scored(summary: RunSummary, workspace: Workspace, tracker_id: str) -> RunSummary:
    """The summary with the figures of the results, if every track is written and there is truth."""
    if summary.failed:
        return summary
    # Two computations: our figures have more detail, the toolkit's is the official one.
    try:
        figures = referral_figures(workspace.root, tracker_id)
        official = toolkit_accuracy(workspace.root, tracker_id)
    except UserError as fault:
        return dataclasses.replace(summary, warnings=[*summary.warnings, f"not scored: {fault}"])
    if official["accuracy"] is None:  # the workspace has no truth
        return summary
    unscored = [f"{name}: no annotated frame; it is not scored" for name in figures["without_truth"]]
    return dataclasses.replace(
        summary,
        warnings=[*summary.warnings, *figures["notes"], *unscored],
        outcomes=[_with_score(outcome, figures) for outcome in summary.outcomes],
        figures=dataclasses.replace(Figures.of(figures), referral_accuracy=official["accuracy"]),
        sequences=Figures.of_sequences(figures),
        references={
            "all absent": Figures.of(all_absent_row(workspace.root)),
            "true boxes, filled": Figures.of(true_boxes_row(workspace.root)),
        },
    )


def _with_score(outcome: TrackOutcome, figures: dict[str, Any]) -> TrackOutcome:
    # `prompts` is VOTSr's name for expressions.
    prompts = figures["sequences"].get(outcome.sequence, {}).get("prompts", {})
    return dataclasses.replace(outcome, score=prompts.get(outcome.expression, {}).get("accuracy"))


def _packed(summary: RunSummary, workspace: Workspace, settings: InferSettings) -> RunSummary:
    """The summary with the verified submission, if one is wanted and every track is written."""
    if not settings.pack or summary.failed:
        return summary
    try:
        # A second run over these results waits here, and then finds the archive of the first one.
        with locked(workspace.root / "packed.zip"):
            return dataclasses.replace(summary, zip=pack(workspace.root, settings.tracker_id))
    except UserError as fault:
        return dataclasses.replace(summary, warnings=[*summary.warnings, f"not packed: {fault}"])
