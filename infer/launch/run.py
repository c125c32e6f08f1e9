"""One run in one or several processes, as `launch=` says: from the settings to the exit status."""

import os
import time
from collections.abc import Sequence as Sequences
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch

from configs.terminal import echo
from infer.config import InferSettings
from infer.engine.timings import Work
from infer.launch.config import LocalLaunchConfig, RayLaunchConfig
from infer.launch.coordinator import Coordinator
from infer.launch.local_workers import Environment, LocalWorkers
from infer.launch.protocol import Workers
from infer.launch.ray_workers import RayWorkers, count_ray_workers, ray_cluster
from infer.render.overlays import Overlays
from infer.runs.claims import claim_results
from infer.runs.plan import RunPlan
from infer.runs.progress import RunProgress
from infer.runs.records import TrackInputs, TrackRecords
from infer.runs.run import complete_run, track_here
from infer.runs.run import run as run_with
from infer.runs.summary import TrackOutcome
from infer.runs.tasks import SequenceTask
from infer.runs.tracks import RunTracks
from infer.trackers.requests import Tracker
from models.devices import choose_device

VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"


def run(settings: InferSettings) -> int:
    """Track what the settings name, in the processes of `launch=`. See `infer.runs.run.run`."""
    return run_with(settings, _track)


def _track(plan: RunPlan, settings: InferSettings) -> int:
    """Track in this process, or start others that do. Returns the exit status."""
    with ExitStack() as stack:
        workers: Workers
        if isinstance(settings.launch, RayLaunchConfig):
            stack.enter_context(ray_cluster(settings))
            count = settings.launch.processes or count_ray_workers(settings)
            workers = RayWorkers(settings)
        else:
            environments = _local_environments(settings)
            count = len(environments)
            # One process, or one sequence: there is nothing to distribute.
            if min(count, len(plan.sequences)) <= 1:
                return track_here(plan, settings)
            workers = LocalWorkers(settings, environments)
        return track_on(workers, max(1, min(count, len(plan.sequences))), plan, settings)


def _local_environments(settings: InferSettings) -> Sequences[Environment]:
    """The variables of each process of this machine that is to track: which GPU it sees."""
    assert isinstance(settings.launch, LocalLaunchConfig)
    # A model that is distributed over all GPUs, and a GPU that is named, belong to one process.
    takes_one_process = getattr(settings.model, "device_map", "") == "auto" or ":" in settings.device
    is_one_a_gpu = choose_device(settings.device).type == "cuda" and not takes_one_process
    gpus = _visible_gpus() if is_one_a_gpu else []
    count = settings.launch.processes or max(1, len(gpus))
    return [{VISIBLE_GPUS: gpus[number % len(gpus)]} if gpus else {} for number in range(count)]


def _visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them: by numbers or by UUIDs."""
    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get(VISIBLE_GPUS, "").split(",") if name.strip()]
    return named[:count] or [str(number) for number in range(count)]


@dataclass
class _Notes:
    """Warnings of workers: those for the end of the run, and those that are shown at once, each only once."""

    at_end: list[str] = field(default_factory=list)
    shown: set[str] = field(default_factory=set)

    def add(self, text: str, now: bool) -> None:
        if now and text not in self.shown:
            self.shown.add(text)
            echo(f"warning: {text}", error=True)
        elif not now and text not in self.at_end:
            self.at_end.append(text)


def track_on(workers: Workers, count: int, plan: RunPlan, settings: InferSettings) -> int:
    """Track with `count` workers, which are started here. Returns the exit status."""
    out, notes = Path(settings.out), _Notes()
    coordinator = Coordinator(workers, count, settings.launch.attempts, notes.add)
    overlays = Overlays(out) if settings.overlay else None
    with ExitStack() as claims:
        if overlays is not None:
            claims.callback(overlays.close)
        with workers:
            # 1. The models are in the workers, so the fingerprint of the results comes from them.
            fingerprint = coordinator.open()
            claim = claims.enter_context(
                claim_results(plan.results, fingerprint, settings.overwrite, settings.accept_code)
            )
            # 2. Find what is left, and let the workers track it.
            store = plan.open_store(_NoTrackers())
            tracks = RunTracks(plan.sequences, store, TrackRecords(out), TrackInputs(plan.results, store))
            # Tracks that the plan could not read are the first outcomes.
            tracks.outcomes += plan.failed
            start_time = time.monotonic()
            work = _hand_out(coordinator, tracks, overlays)
            seconds = time.monotonic() - start_time
        # 3. The workers have ended. Complete the run as in one process.
        tracks.warnings += notes.at_end
        return complete_run(plan, tracks, overlays, claim, settings, seconds, work)


def _hand_out(coordinator: Coordinator, tracks: RunTracks, overlays: Overlays | None) -> Work:
    """Let the workers track what is left. Collects outcomes, and which overlays there are.

    Returns what the workers have computed.
    """
    tasks = tracks.find_remaining()
    num_tracks = sum(len(task.expressions) for task in tasks)

    def find_written(task: SequenceTask) -> list[TrackOutcome]:
        outcomes = tracks.find_written(task)
        # The contact sheet is written before the results.
        if outcomes and overlays is not None and overlays.sheet_path(task.sequence).is_file():
            overlays.add_sheet(task.sequence)
        return outcomes

    with RunProgress(sum(task.track_frames for task in tasks), num_tracks) as progress:
        for finished in coordinator.run(tasks, progress, find_written):
            tracks.outcomes += finished.outcomes
            if overlays is not None:
                overlays.have_failed |= finished.overlays_failed
                if finished.has_sheet:
                    overlays.add_sheet(finished.sequence)
    tracks.sort_outcomes()
    return coordinator.finish()


class _NoTrackers:
    """The trackers of a process that tracks nothing. Implements `infer.runs.plan.TrackerSource`."""

    @property
    def tracker(self) -> Tracker:
        """See `TrackerSource`."""
        raise AssertionError("the coordinator starts no track")

    def tracker_of(self, expression: str) -> Tracker:  # noqa: ARG002
        """See `TrackerSource`."""
        return self.tracker
