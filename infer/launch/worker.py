"""A worker: loads the models, then tracks the sequences that the coordinator hands out.

It tracks and writes results with the code of a run in one process (`infer.runs.track_run`), and holds the
same claims, so other runs in the same folder share the sequences as usual.
"""

import dataclasses
import time
import warnings
from pathlib import Path

from configs.errors import UserError
from infer.config import InferSettings
from infer.engine.session import open_session
from infer.engine.timings import Work
from infer.launch.protocol import (
    Advanced,
    Channel,
    Ended,
    Finished,
    Noted,
    Opened,
    Refused,
    Returned,
    Waiting,
)
from infer.runs.claims import join_out, join_results
from infer.runs.run import make_plan, open_tracking, profiled_tracking, work_of
from infer.runs.tasks import SequenceTask, Track
from infer.runs.track_run import TrackRun

ADVANCED_EVERY = 0.5  # seconds between two messages about finished frames


def serve(settings: InferSettings, worker: int, channel: Channel) -> None:
    """Track as worker number `worker` until the coordinator says stop.

    A mistake of the user is sent to the coordinator, and ends this function.
    """
    # Warnings of libraries and of ours reach the user, who does not see the output of this process.
    warnings.showwarning = lambda message, *_args, **_named: channel.send(Noted(str(message), now=True))
    try:
        # 1. Plan and load as in one process. The coordinator compares the fingerprints of all workers.
        plan = make_plan(settings)
        session = open_session(settings)
        fingerprint = {**session.fingerprint, **plan.identity}
        channel.send(Opened(fingerprint, settings.engine.lanes_on(session.device_type)))
        # 2. The first task says that the coordinator has claimed the folders.
        tasks, work = ChannelTasks(channel), Work()
        if tasks.wait_for_first():
            with join_out(Path(settings.out)), join_results(plan.results, fingerprint) as claim:
                tasks.tracking = tracking = open_tracking(plan, session, claim, settings)
                # A trace is of one process; more would show the same.
                profile = dataclasses.replace(settings, profile=settings.profile and worker == 0)
                with profiled_tracking(tracking, profile) as on_round:
                    tracking.track(tasks, tasks, on_round)
                tasks.send_warnings()
                work = work_of(tracking)
        channel.send(Ended(work))
    except UserError as fault:
        channel.send(Refused(str(fault)))


class ChannelTasks:
    """Takes tasks from the coordinator and reports to it. Implements `TaskSource` and `TrackingProgress`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._first: Track | None = None
        self._has_ended = False  # the coordinator has said stop
        self._numbers: dict[str, int] = {}  # of the tasks that were taken and not finished, by sequence
        self._advanced: dict[str, int] = {}  # track-frames that the coordinator does not know of, by sequence
        self._last_message = time.monotonic()
        self.tracking: TrackRun | None = None  # set before `take` is called

    def wait_for_first(self) -> bool:
        """Wait for the first task. False if there is none."""
        self._first = self._receive(wait=True)
        return self._first is not None

    # ---- TaskSource ----

    def take(self, is_idle: bool) -> Track | None:
        """See `TaskSource`. An idle worker waits until the coordinator has a task, or says stop."""
        track, self._first = self._first, None
        track = track or self._receive(wait=is_idle)
        if track is not None:
            self._numbers[track.task.sequence] = track.task.number
        return track

    def put_back(self, task: SequenceTask) -> None:
        """See `TaskSource`."""
        self._forget(task)
        self._channel.send(Returned(task.number))

    def finish(self, task: SequenceTask) -> None:
        """See `TaskSource`. Sends the outcomes of the task, which leave this process with that."""
        assert self.tracking is not None
        self._send_advanced()
        self._forget(task)
        self.send_warnings()
        # Other tasks that are being tracked may have outcomes already: results of another run.
        outcomes = [each for each in self.tracking.outcomes if each.sequence == task.sequence]
        self.tracking.outcomes[:] = [
            each for each in self.tracking.outcomes if each.sequence != task.sequence
        ]
        overlays = self.tracking.overlays
        self._channel.send(
            Finished(
                task.number,
                task.sequence,
                tuple(outcomes),
                has_sheet=overlays is not None and overlays.has_sheet(task.sequence),
                overlays_failed=overlays is not None and overlays.have_failed,
                work=work_of(self.tracking),
            )
        )

    def send_warnings(self) -> None:
        """Send the warnings of the run so far, which leave this process with that."""
        assert self.tracking is not None
        overlays = self.tracking.overlays
        for texts in (self.tracking.warnings, overlays.warnings if overlays else []):
            while texts:
                self._channel.send(Noted(texts.pop(0)))

    # ---- TrackingProgress ----

    def advance(self, name: str, track_frames: int) -> None:
        """See `TrackingProgress`."""
        self._advanced[name] = self._advanced.get(name, 0) + track_frames
        if time.monotonic() - self._last_message >= ADVANCED_EVERY:
            self._send_advanced()

    def waiting(self, name: str) -> None:
        """See `TrackingProgress`."""
        self._channel.send(Waiting(name))

    def sequence(self, name: str, num_tracks: int) -> None:
        """See `TrackingProgress`: the coordinator has handed it out, and knows."""

    def finished(self, name: str) -> None:
        """See `TrackingProgress`: `finish` follows."""

    def postponed(self, name: str, track_frames: int) -> None:
        """See `TrackingProgress`: `put_back` follows."""

    def skip(self, track_frames: int) -> None:
        """See `TrackingProgress`: the coordinator counts what a finished task has not advanced."""

    def _receive(self, wait: bool) -> Track | None:
        command = None if self._has_ended else self._channel.receive(wait)
        if isinstance(command, Track):
            return command
        self._has_ended |= command is not None
        return None

    def _send_advanced(self) -> None:
        for name, track_frames in self._advanced.items():
            if name in self._numbers:
                self._channel.send(Advanced(self._numbers[name], track_frames))
        self._advanced.clear()
        self._last_message = time.monotonic()

    def _forget(self, task: SequenceTask) -> None:
        self._numbers.pop(task.sequence, None)
        self._advanced.pop(task.sequence, None)
