"""The pictures of a run, made while it tracks: a video per track and contact sheets.

Pictures that fail, for whatever reason (a full disk, say), are told as a warning, once a sequence, and cost
no result.
"""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from data_prep.sequence import Sequence
from data_prep.votsr.results import prompt_hash
from infer.contact_sheet import ContactSheet, Overview
from infer.drawing import draw_report, resized
from infer.engine import Step
from infer.failures import reason_of
from infer.video_writer import MAX_WIDTH, VideoWriter


class Pictures:
    """Where a run's pictures go: `overlays/`, `sheets/` and `contact_sheet.png` under `out`."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.warnings: list[str] = []
        self._overview = Overview()
        self._has_rows = False

    def of_sequence(self, sequence: Sequence, prompts: list[str]) -> "SequencePictures":
        """The pictures of one sequence's tracks, to be used in a `with` block."""
        return SequencePictures(self, sequence, prompts)

    def take(self, sheet: ContactSheet) -> None:
        """Add a finished sequence to the overview."""
        self._overview.add(sheet)
        self._has_rows = True

    def write_overview(self) -> Path | None:
        """Write `contact_sheet.png` where anything was tracked."""
        if not self._has_rows:
            return None
        path = self.out / "contact_sheet.png"
        try:
            self._overview.write(path)
        except Exception as fault:
            self.warnings.append(f"no contact sheet: {reason_of(fault)}")
            return None
        return path


class SequencePictures:
    """Videos and a sheet that grow frame by frame; they appear only where `finish` was reached."""

    def __init__(self, pictures: Pictures, sequence: Sequence, prompts: list[str]) -> None:
        self._pictures, self._name, self._prompts = pictures, sequence.name, prompts
        self._sheet = ContactSheet(prompts, len(sequence.frames), sequence.name)
        self._stack = ExitStack()
        self._videos: list[VideoWriter] = []
        self._failed = False
        overlays = pictures.out / "overlays"
        names = [f"{sequence.name}_{prompt_hash(prompt)}.mp4" for prompt in prompts]
        self._paths = [overlays / name for name in names]
        self._fps = sequence.fps

    def __enter__(self) -> "SequencePictures":
        self._try(self._open)
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: object) -> None:
        self._stack.__exit__(kind, fault, None)

    def add(self, step: Step) -> None:
        """Draw one frame of every track."""
        self._try(lambda: self._draw(step))

    def finish(self) -> None:
        """Every frame is drawn: close the videos and write the sheet."""
        self._try(self._close)

    def _open(self) -> None:
        for path in self._paths:
            self._videos.append(self._stack.enter_context(VideoWriter(path, self._fps)))

    def _draw(self, step: Step) -> None:
        self._sheet.add(step.index, step.image, step.reports)
        height, width = step.image.shape[:2]
        size = (min(width, MAX_WIDTH), round(height * min(1.0, MAX_WIDTH / width)))
        for video, prompt, report in zip(self._videos, self._prompts, step.reports, strict=True):
            video.write(draw_report(*resized(step.image, report, size), prompt))

    def _close(self) -> None:
        self._stack.close()
        self._sheet.write(self._pictures.out / "sheets" / f"{self._name}.png")
        self._pictures.take(self._sheet)

    def _try(self, action: Callable[[], None]) -> None:
        """Do a part of the drawing unless an earlier part failed; a failure ends this sequence's pictures."""
        if self._failed:
            return
        try:
            action()
        except Exception as fault:
            self._failed = True
            self._pictures.warnings.append(f"no pictures of {self._name}: {reason_of(fault)}")
            self._discard(fault)

    def _discard(self, fault: Exception) -> None:
        """Remove what was begun; that a writer in disorder fails once more says nothing new."""
        with suppress(Exception):
            self._stack.__exit__(type(fault), fault, None)
