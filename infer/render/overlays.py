"""The pictures of a run, made while it tracks: a video per track, one of all tracks, and contact sheets.

Pictures that fail, for whatever reason (a full disk, say), are told as a warning, once a sequence, and cost
no result.
"""

import resource
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from data_prep.geometry import Size
from data_prep.lettering import missing_letters
from data_prep.sequence import Sequence
from data_prep.votsr.results import prompt_hash
from infer.engine.engine import Step
from infer.engine.failures import reason_of
from infer.render.contact_sheet import ContactSheet, write_overview
from infer.render.drawing import draw_report, draw_reports, resized
from infer.render.video_writer import VideoWriter, limited

MOST_VIDEOS = 32  # open at once; an encoder takes some ten megabytes
SHOWN_LETTERS = 10  # in the warning of missing ones
SPARE_HANDLES = 32  # file handles for frames, results and libraries


def most_videos() -> int:
    """How many videos may be open at once: `MOST_VIDEOS`, or fewer where the process has few file handles."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return MOST_VIDEOS
    try:
        in_use = len(list(Path("/dev/fd").iterdir()))
    except OSError:  # no handle is left to look
        return 0
    return max(0, min(MOST_VIDEOS, limit - in_use - SPARE_HANDLES))


class Pictures:
    """Where a run's pictures go: `overlays/`, `sheets/` and `contact_sheet.png` under `out`."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.warnings: list[str] = []
        self.have_failed = False
        self._drawn: set[str] = set()
        self._warned_of_letters = False

    def of_sequence(self, sequence: Sequence, prompts: list[str]) -> "SequencePictures":
        """The pictures of one sequence's tracks, to be used in a `with` block.

        Of many prompts only the first are drawn, since a video is open for each of them.
        """
        return SequencePictures(self, sequence, prompts)

    def sheet_path(self, sequence: str) -> Path:
        """Where the contact sheet of a sequence is written."""
        return self.out / "sheets" / f"{sequence}.png"

    def take(self, sequence: str) -> None:
        """The sheet of a sequence has been written by this run."""
        self._drawn.add(sequence)

    def fail(self, reason: str) -> None:
        """Some pictures could not be made."""
        self.warnings.append(reason)
        self.have_failed = True

    def check_letters(self, expressions: Iterable[str]) -> None:
        """Warn, once a run, of letters that no installed font has."""
        missing = missing_letters("".join(expressions))
        if missing and not self._warned_of_letters:
            self._warned_of_letters = True
            self.warnings.append(
                f"no installed font has the letters {missing[:SHOWN_LETTERS]}, so pictures show boxes for "
                "them; install one that has, such as Noto Sans CJK (tracks.json holds the expressions)"
            )

    def write_overview(self, frame_sizes: Mapping[str, Size], kept: Collection[str] = ()) -> Path | None:
        """Write `contact_sheet.png` where anything was tracked; its path.

        `frame_sizes` holds the sequences in the order of the run, with the size of their frames. Those in
        `kept` have the sheets of the run that tracked them, if it drew any.
        """
        if not self._drawn:
            return None
        path = self.out / "contact_sheet.png"
        sheets = [
            (self.sheet_path(name), size)
            for name, size in frame_sizes.items()
            if name in self._drawn or (name in kept and self.sheet_path(name).is_file())
        ]
        try:
            write_overview(path, sheets)
        except Exception as fault:
            self.fail(f"no contact sheet: {reason_of(fault)}")
            return None
        return path


class SequencePictures:
    """Videos and a sheet that grow frame by frame; they appear only where `finish` was reached."""

    def __init__(self, pictures: Pictures, sequence: Sequence, prompts: list[str]) -> None:
        self._pictures, self._sequence, self._prompts = pictures, sequence, prompts
        self._name = sequence.name
        self._stack = ExitStack()
        self._videos: list[VideoWriter] = []
        self._together: VideoWriter | None = None
        self._failed = False

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
        most = most_videos()
        if len(self._prompts) > most:
            drawn = f"the first {most} of {len(self._prompts)} prompts" if most else "none of the prompts"
            self._pictures.warnings.append(
                f"{self._name}: {drawn} got pictures, since so many videos can be open at once; "
                "the results hold all"
            )
        self._prompts = self._prompts[:most]
        self._failed = not self._prompts
        self._pictures.check_letters(self._prompts)
        self._sheet = ContactSheet(self._prompts, len(self._sequence.frames), self._name)
        for prompt in self._prompts:
            path = self._pictures.out / "overlays" / f"{self._name}_{prompt_hash(prompt)}.mp4"
            self._videos.append(self._stack.enter_context(VideoWriter(path, self._sequence.fps)))
        # Not of some tracks, whose others lie there from an earlier run.
        if len(self._prompts) > 1 and len(self._prompts) == len(dict.fromkeys(self._sequence.expressions)):
            path = self._pictures.out / "overlays" / f"{self._name}_all.mp4"
            self._together = self._stack.enter_context(VideoWriter(path, self._sequence.fps))

    def _draw(self, step: Step) -> None:
        reports = step.reports[: len(self._prompts)]
        self._sheet.add(step.index, step.image, reports)
        size = limited((step.image.shape[1], step.image.shape[0]))
        small = [resized(step.image, report, size) for report in reports]
        for video, prompt, (image, report) in zip(self._videos, self._prompts, small, strict=True):
            video.write(draw_report(image, report, prompt))
        if self._together is not None:
            together = [report for _, report in small]
            self._together.write(draw_reports(small[0][0], together, self._prompts))

    def _close(self) -> None:
        self._stack.close()
        self._sheet.write(self._pictures.sheet_path(self._name))
        self._pictures.take(self._name)

    def _try(self, action: Callable[[], None]) -> None:
        """Do a part of the drawing unless an earlier part failed; a failure ends this sequence's pictures."""
        if self._failed:
            return
        try:
            action()
        except Exception as fault:
            self._failed = True
            self._pictures.fail(f"no pictures of {self._name}: {reason_of(fault)}")
            self._discard(fault)

    def _discard(self, fault: Exception) -> None:
        """Remove what was begun; that a writer in disorder fails once more says nothing new."""
        with suppress(Exception):
            self._stack.__exit__(type(fault), fault, None)
