"""The progress of a run: a live bar in a terminal, and a plain line every few seconds elsewhere."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from configs.terminal import LONGEST_NAME, counted
from data_prep.console import make_console, one_line

LINE_EVERY = 10.0  # seconds between plain lines


class TrackingProgress(Protocol):
    """What tracking reports while it goes on. Several sequences may be in progress at once."""

    def sequence(self, name: str, num_tracks: int) -> None:
        """A sequence starts."""
        ...

    def finished(self, name: str) -> None:
        """The tracks of a sequence are finished."""
        ...

    def postponed(self, name: str, track_frames: int) -> None:
        """A sequence will be tracked again later. Takes off the track-frames that were counted for it."""
        ...

    def advance(self, name: str, track_frames: int) -> None:
        """Count finished track-frames of a sequence."""
        ...

    def skip(self, track_frames: int) -> None:
        """Take track-frames that will not be tracked off the total."""
        ...

    def waiting(self, name: str) -> None:
        """This run is waiting for another one that tracks a sequence."""
        ...


class RunProgress:
    """Shows finished tracks, the current sequences, the speed, and the time left.

        with RunProgress(total_track_frames, total_tracks) as progress:
            progress.sequence(name, len(expressions))
            progress.advance(name, len(expressions))  # after each frame
            progress.finished(name)

    A track-frame is one frame of one track. Several sequences may be in progress at once.
    """

    def __init__(
        self,
        total_track_frames: int,
        total_tracks: int | None = None,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._total_tracks = total_track_frames, total_tracks
        self._console = console or make_console()
        self._clock = clock
        self._done = self._tracks_done = 0
        self._open: dict[str, int] = {}  # names of sequences in progress, with the number of their tracks
        self._name = ""
        self._start_time = self._last_line = clock()
        # A log file gets plain lines: a live bar would fill it with control characters.
        self._bar = self._make_bar() if self._console.is_terminal else None

    def __enter__(self) -> Self:
        # The clock starts here, not with the constructor: models may be loaded in between.
        self._start_time = self._last_line = self._clock()
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._refresh()
            self._bar.stop()
        elif kind is None and self._done:
            self._console.print(self._line(), soft_wrap=True)

    def sequence(self, name: str, num_tracks: int) -> None:
        """See `TrackingProgress`."""
        self._open[name] = num_tracks
        self._name = self._names()
        self._update(always=True)

    def finished(self, name: str) -> None:
        """See `TrackingProgress`."""
        self._tracks_done += self._open.pop(name, 0)
        # Without another sequence its name stays until the next one starts.
        if self._open:
            self._name = self._names()

    def postponed(self, name: str, track_frames: int) -> None:
        """See `TrackingProgress`."""
        self._open.pop(name, None)
        self._done -= track_frames

    def advance(self, name: str, track_frames: int) -> None:  # noqa: ARG002
        """See `TrackingProgress`."""
        self._done += track_frames
        self._update(always=False)

    def skip(self, track_frames: int) -> None:
        """See `TrackingProgress`."""
        self._total -= track_frames

    def waiting(self, name: str) -> None:
        """See `TrackingProgress`."""
        self._name = f"waiting for another run: {one_line(name, LONGEST_NAME)}"
        self._update(always=True)

    def _names(self) -> str:
        """The sequence that was started last, and how many others are in progress."""
        *others, last = self._open
        return one_line(last, LONGEST_NAME) + (f" and {len(others)} more" if others else "")

    def _update(self, always: bool) -> None:
        """Update the bar. Without one, print a line if the last one is old enough, or `always`."""
        if self._bar is not None:
            self._refresh()
        elif always or self._clock() - self._last_line >= LINE_EVERY:
            self._last_line = self._clock()
            self._console.print(self._line(), soft_wrap=True)

    def _tracks(self) -> str:
        if self._total_tracks is None:
            return counted(self._tracks_done, "track")
        return f"{self._tracks_done}/{counted(self._total_tracks, 'track')}"

    def _line(self) -> str:
        """The progress as plain text. Speed and time left are known after the first track-frame."""
        share = self._done / self._total if self._total else 1.0
        parts = [f"{share:4.0%}", self._tracks()]
        seconds = self._clock() - self._start_time
        if self._done and seconds > 0:
            speed = self._done / seconds
            left = max(0, self._total - self._done) / speed
            parts += [f"{speed:.1f} track-frames/s", f"{_duration(left)} left"]
        return "  ".join([*parts, self._name])

    def _refresh(self) -> None:
        assert self._bar is not None
        task = self._bar.task_ids[0]
        self._bar.update(
            task, total=self._total, completed=self._done, tracks=self._tracks(), description=self._name
        )

    def _make_bar(self) -> Progress:
        # markup=False: a name such as [red] is text, not a style of rich.
        bar = Progress(
            TextColumn("{task.fields[tracks]}", markup=False),
            BarColumn(bar_width=None),
            _Speed(),
            TimeRemainingColumn(compact=True),
            TextColumn(
                "{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")
            ),
            console=self._console,
            expand=True,
        )
        bar.add_task("", total=self._total, tracks=self._tracks())
        return bar


class _Speed(ProgressColumn):
    """Track-frames per second over the last half minute."""

    def render(self, task: Task) -> Text:
        # None until rich has seen two updates.
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} track-frames/s")


def _duration(seconds: float) -> str:
    """Hours, minutes and seconds, such as 1:02:03 or 2:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
