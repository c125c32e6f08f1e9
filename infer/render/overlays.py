"""The overlays of a run: videos with the results drawn on the frames, and contact sheets.

They are drawn while the run tracks, frame by frame, so that memory does not grow with the length of a video.
Overlays that fail, for example because the disk is full, are reported as one warning per sequence, and the
results are written all the same.
"""

import os
import resource
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.console import one_line
from data_prep.geometry import Size
from data_prep.lettering import missing_letters
from data_prep.sequence import Sequence as FrameSequence
from data_prep.votsr.results import prompt_hash
from infer.engine.engine import Step
from infer.engine.failures import FailureBoundary
from infer.render.contact_sheet import ContactSheet, write_overview
from infer.render.drawing import draw_report, draw_reports, resize_frame, resize_result
from infer.render.video_writer import VideoWriter, limit_size

# Videos that are open at once. Each encoder takes about ten megabytes of memory.
MAX_VIDEOS = 32
# Threads that draw and encode. More would compete with the models.
MAX_THREADS = 8
# Letters that the warning of missing ones names.
MAX_LETTERS = 10
# File handles that are left for frames, results and libraries.
SPARE_HANDLES = 32


def max_videos() -> int:
    """How many videos may be open at once: `MAX_VIDEOS`, or fewer if the process may open few files."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return MAX_VIDEOS
    try:
        in_use = len(list(Path("/dev/fd").iterdir()))
    except OSError:  # no handle is left to look
        return 0
    return max(0, min(MAX_VIDEOS, limit - in_use - SPARE_HANDLES))


def usable_cores() -> int:
    """The number of cores that this process may use."""
    # The affinity, which containers and schedulers restrict, exists on Linux only.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Overlays:
    """The overlays of a run: `overlays/`, `sheets/` and `contact_sheet.png` under `out`."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.warnings: list[str] = []
        self.have_failed = False
        # One thread per core draws and encodes the videos of a frame, each video in the order of its frames.
        cores = usable_cores()
        self._threads = ThreadPoolExecutor(min(cores, MAX_THREADS), "video") if cores > 1 else None
        self._drawn: set[str] = set()  # names of sequences whose sheet this run has written
        self._has_warned_of_letters = False

    def close(self) -> None:
        """End the threads."""
        if self._threads is not None:
            self._threads.shutdown()

    def run_all(self, calls: Sequence[Callable[[], None]]) -> None:
        """Run calls that do not depend on each other, and wait until all have ended.

        Raises the exception of the first call that failed.
        """
        if self._threads is None:
            for call in calls:
                call()
            return
        started = [self._threads.submit(call) for call in calls]
        # All must have ended before an exception closes the videos that they write to.
        wait(started)
        for each in started:
            each.result()

    def of_sequence(self, sequence: FrameSequence, expressions: list[str]) -> "SequenceOverlays":
        """The overlays of the tracks of one sequence; they must be opened and closed.

        Of many expressions only the first are drawn, since a video is open for each of them.
        """
        return SequenceOverlays(self, sequence, expressions)

    def sheet_path(self, sequence: str) -> Path:
        """The file of a sequence's contact sheet."""
        return self.out / "sheets" / f"{sequence}.png"

    def has_sheet(self, sequence: str) -> bool:
        """Whether this run has written the contact sheet of a sequence."""
        return sequence in self._drawn

    def add_sheet(self, sequence: str) -> None:
        """Record that this run has written the contact sheet of a sequence."""
        self._drawn.add(sequence)

    def check_letters(self, expressions: Iterable[str]) -> None:
        """Warn, once per run, of letters that no installed font has."""
        missing = missing_letters("".join(map(one_line, expressions)))
        if missing and not self._has_warned_of_letters:
            self._has_warned_of_letters = True
            self.warnings.append(
                f"no installed font has the letters {missing[:MAX_LETTERS]}, so overlays show boxes for "
                "them; install one that has them, such as Noto Sans CJK (tracks.json holds the expressions)"
            )

    def fail(self, reason: str) -> None:
        """Record that some overlays could not be made."""
        self.warnings.append(reason)
        self.have_failed = True

    def write_overview(self, frame_sizes: Mapping[str, Size], kept: Collection[str] = ()) -> Path | None:
        """Write `contact_sheet.png`, if anything was tracked. Returns its path.

        `frame_sizes` holds the sequences in the order of the run, with the sizes of their frames. For
        those in `kept` the sheets of the earlier run are used, if it drew any.
        """
        if not self._drawn:
            return None
        sheets = [
            (self.sheet_path(name), size)
            for name, size in frame_sizes.items()
            if name in self._drawn or (name in kept and self.sheet_path(name).is_file())
        ]
        path = self.out / "contact_sheet.png"
        with FailureBoundary() as boundary:
            write_overview(path, sheets)
            return path
        self.fail(f"no contact sheet: {boundary.reason}")
        return None


class _NotFinishedError(Exception):
    """The overlays of a sequence are closed before they are finished, because its tracking has failed."""


class SequenceOverlays:
    """The videos and the contact sheet of one sequence. Their files appear only after `finish`."""

    def __init__(self, overlays: Overlays, sequence: FrameSequence, expressions: list[str]) -> None:
        self._overlays, self._sequence, self._expressions = overlays, sequence, expressions
        self._name = sequence.name
        # Holds the open videos: they are completed together, or removed together.
        self._stack = ExitStack()
        self._videos: list[VideoWriter] = []
        self._video_of_all: VideoWriter | None = None
        self._has_ended = False

    def open(self) -> None:
        """Open the videos."""
        with self._drawing():
            self._open()

    def close(self) -> None:
        """Remove the files that `finish` has not completed."""
        with suppress(_NotFinishedError), self._stack:
            # The videos remove their files if the block that they are open in ends with an exception.
            raise _NotFinishedError

    def add(self, step: Step) -> None:
        """Draw one frame of every track."""
        if not self._has_ended:
            with self._drawing():
                self._draw(step)

    def finish(self) -> None:
        """Close the videos and write the contact sheet, after the last frame."""
        if not self._has_ended:
            with self._drawing():
                self._stack.close()
                self._sheet.write(self._overlays.sheet_path(self._name))
                self._overlays.add_sheet(self._name)

    def _open(self) -> None:
        # 1. Choose the expressions that are drawn.
        limit = max_videos()
        if len(self._expressions) > limit:
            drawn = f"only the first {limit} of {len(self._expressions)}" if limit else "none of the"
            self._overlays.warnings.append(
                f"{self._name}: {drawn} expressions got overlays, since no more videos can be open at once; "
                "the results are complete"
            )
        self._expressions = self._expressions[:limit]
        self._has_ended = not self._expressions
        self._overlays.check_letters(self._expressions)
        # 2. Open a video for each, and start the contact sheet.
        self._sheet = ContactSheet(self._expressions, len(self._sequence.frames), self._name)
        folder = self._overlays.out / "overlays"
        for expression in self._expressions:
            path = folder / f"{self._name}_{prompt_hash(expression)}.mp4"
            self._videos.append(self._stack.enter_context(VideoWriter(path, self._sequence.fps)))
        # 3. Open a video of all tracks, but not if this run tracks some only: the others have an earlier one.
        if len(self._expressions) > 1 and len(self._expressions) == len(set(self._sequence.expressions)):
            path = folder / f"{self._name}_all.mp4"
            self._video_of_all = self._stack.enter_context(VideoWriter(path, self._sequence.fps))

    def _draw(self, step: Step) -> None:
        # Only the first expressions may have videos; the reports are in the order of all of them.
        reports = step.reports[: len(self._expressions)]
        self._sheet.add(step.frame_index, step.image, reports)
        # Reports are scaled down before they are drawn: lines and text keep their width in the video.
        frame_size = step.image.shape[1], step.image.shape[0]
        size = limit_size(frame_size)
        image = resize_frame(step.image, size)
        resized = [resize_result(report, frame_size, size) for report in reports]
        # Each video gets this frame before the next one is drawn, so its frames stay in order.
        calls = [
            partial(_write, video, draw_report, image, report, expression)
            for video, report, expression in zip(self._videos, resized, self._expressions, strict=True)
        ]
        if self._video_of_all is not None:
            calls.append(partial(_write, self._video_of_all, draw_reports, image, resized, self._expressions))
        self._overlays.run_all(calls)

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        """A part of the drawing. If it fails, the overlays of this sequence end with a warning."""
        with FailureBoundary() as boundary:
            # The videos must be closed with the exception, which removes their half-written files.
            try:
                yield
            except Exception as fault:
                with FailureBoundary():  # closing after a failure may fail again, for the same reason
                    self._stack.__exit__(type(fault), fault, None)
                raise
        if boundary.reason is not None:
            self._has_ended = True
            self._overlays.fail(f"no overlays of {self._name}: {boundary.reason}")


def _write(video: VideoWriter, draw: Callable[..., np.ndarray], *arguments: Any) -> None:
    """Draw a frame with `draw`, and append it to a video."""
    video.write(draw(*arguments))
