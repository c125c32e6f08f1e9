"""What the coordinator of a run and its workers tell each other, and what a kind of workers must provide.

A worker is a process that has loaded the models. The coordinator is the process that was started by the user:

    coordinator ── Track(task), Stop ────────────────────────▶ worker
    coordinator ◀── Opened, Advanced, Finished, Died, … ── worker

All messages are picklable and small. Results do not pass through here: a worker writes them to the disk.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from infer.engine.timings import Work
from infer.runs.summary import TrackOutcome
from infer.runs.tasks import Track


@dataclass(frozen=True)
class Stop:
    """Nothing is left to track: end."""


Command = Track | Stop


@dataclass(frozen=True)
class Opened:
    """The worker has loaded its models. `lanes` is the number of sequences that it tracks at once."""

    fingerprint: dict[str, Any]
    lanes: int


@dataclass(frozen=True)
class Advanced:
    """Further track-frames of a task are finished."""

    number: int
    track_frames: int


@dataclass(frozen=True)
class Returned:
    """The worker does not track this task now. Another run does, or the memory did not suffice for it beside
    other sequences.
    """

    number: int


@dataclass(frozen=True)
class Waiting:
    """The worker waits for another run that tracks a sequence."""

    sequence: str


@dataclass(frozen=True)
class Finished:
    """A task has ended, and its results are on the disk or have failed.

    `has_sheet` says whether a contact sheet of the sequence was written, `overlays_failed` whether some
    overlays could not be made. `work` is what the worker has computed since its start, which is thus known
    also of a worker that dies later.
    """

    number: int
    sequence: str
    outcomes: tuple[TrackOutcome, ...]
    has_sheet: bool = False
    overlays_failed: bool = False
    work: Work = field(default_factory=Work)


@dataclass(frozen=True)
class Noted:
    """A warning for the user, in one line. With `now` it is shown at once, and else at the end of the run."""

    text: str
    now: bool = False


@dataclass(frozen=True)
class Ended:
    """The worker has done what it was asked, and ends: its last event. `work` is that of `Finished`."""

    work: Work = field(default_factory=Work)


@dataclass(frozen=True)
class Refused:
    """The worker has ended because of a mistake of the user, which would end every worker."""

    message: str


@dataclass(frozen=True)
class Died:
    """The worker has ended without having been asked to. `reason` says how, for example by a signal."""

    reason: str


Event = Opened | Advanced | Returned | Waiting | Finished | Noted | Ended | Refused | Died


class Workers(AbstractContextManager["Workers"], Protocol):
    """The workers of a run, numbered from 0. There is one implementation for each kind of launch.

    At the end of the `with` block all of them have ended; those that have not are ended there.
    """

    def start(self, worker: int) -> None:
        """Start a worker, or start it again after it has died."""
        ...

    def send(self, worker: int, command: Command) -> None:
        """Send a command to a worker. Nothing happens if it has died, which `wait` reports."""
        ...

    def wait(self) -> list[tuple[int, Event]]:
        """Wait for the next events, in order. `Died` is the last event of a worker until it is started
        again.
        """
        ...

    def log_path(self, worker: int) -> str:
        """The file to which the worker writes its log."""
        ...


class Channel(Protocol):
    """The side of a worker: how it receives commands and sends events."""

    def receive(self, wait: bool) -> Command | None:
        """The next command. None if there is none, which is possible only without `wait`."""
        ...

    def send(self, event: Event) -> None:
        """Send an event. May be called by any thread."""
        ...
