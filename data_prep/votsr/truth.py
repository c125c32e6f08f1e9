"""The ground truth of a sequence, as the toolkit's referral analysis (0.9.0) reads it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from configs.errors import UserError
from configs.terminal import counted
from data_prep.files import inside
from data_prep.geometry import Size
from data_prep.sequence import Sequence
from data_prep.votsr.regions import MOST_FRAMES, decode_mask, decode_truth, is_shape
from data_prep.votsr.results import read_lines
from data_prep.votsr.textfiles import NOT_ANNOTATED, truth_line

PREFIX, SUFFIX, IGNORE = "groundtruth_", ".txt", "_ignore"


@dataclass(frozen=True)
class TruthFiles:
    """The truth files of a sequence: that of its only target, and that of the pixels that are ignored."""

    target: Path
    ignore: Path | None


@dataclass(frozen=True)
class TrueFrame:
    """One annotated frame: its index from 0, the target's mask (empty: absent) and the pixels to ignore.

    Masks are (height, width), bool, in the size in which the sequence is scored.
    """

    index: int
    mask: np.ndarray
    ignore: np.ndarray | None


@dataclass(frozen=True)
class Truth:
    """The lines of a sequence's truth files. Masks are decoded when they are needed."""

    files: TruthFiles
    size: Size
    target: tuple[str, ...]
    ignore: tuple[str, ...]
    num_frames: int

    def annotated(self) -> Iterator[TrueFrame]:
        """Yield the annotated frames in order. Raises UserError that names a line which cannot be parsed."""
        for index in range(len(self.target)):
            frame = self.frame(index)
            if frame is not None:
                yield frame

    def is_annotated(self, index: int) -> bool:
        """Whether a frame is annotated. Raises UserError as `annotated` does."""
        # A rectangle or polygon must be decoded for this: with NaN in it, it is no annotation.
        line = self.target[index]
        return line.startswith("m") or (is_shape(line) and self.frame(index) is not None)

    def frame(self, index: int) -> TrueFrame | None:
        """One frame; None where it is not annotated. Raises UserError as `annotated` does."""
        mask = self._decoded(self.files.target, index, self.target[index])
        if mask is None:
            return None
        # The file of ignored pixels may be shorter than the truth.
        hidden = self.ignore[index] if index < len(self.ignore) else NOT_ANNOTATED
        return TrueFrame(index, mask, self._decoded(self.files.ignore, index, hidden))

    @cached_property
    def reads_shapes(self) -> bool:
        """Whether rectangles and polygons are read: only where no line is a mask.

        The toolkit scores no frame of such a truth. In a truth with masks they are frames without
        annotation, as for the toolkit.
        """
        return not any(line.startswith("m") for line in self.target)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user: a number of lines that differs from the frames; rectangles and polygons.

        The toolkit's analysis ignores rectangles and polygons.
        """
        # The toolkit ignores lines beyond the frames, and treats missing lines as frames without annotation.
        count = len(self.target)
        if count == self.num_frames:
            return self._shape_notes()
        rest = "the rest is cut" if count > self.num_frames else "the other frames are not annotated"
        message = f"{counted(count, 'line')} for {counted(self.num_frames, 'frame')}; {rest}"
        return (f"{self.files.target}: {message}", *self._shape_notes())

    def _shape_notes(self) -> tuple[str, ...]:
        shapes = [number for number, line in enumerate(self.target, 1) if is_shape(line)]
        if not shapes:
            return ()
        message = f"{self.files.target}: line {shapes[0]} is a rectangle or polygon ({len(shapes)} in all)"
        if self.reads_shapes:
            return (f"{message}; they are scored as filled masks; `vot analysis` scores masks alone",)
        return (
            f"{message} beside masks; as for `vot analysis`, these frames are not annotated; write masks",
        )

    def mask_lines(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The lines of the target and of the ignored pixels; rectangles and polygons that are read
        become masks.
        """
        return self._masks(self.files.target, self.target), self._masks(self.files.ignore, self.ignore)

    def _masks(self, path: Path | None, lines: tuple[str, ...]) -> tuple[str, ...]:
        # With masks in the file, shapes are left as they are: the toolkit ignores them.
        if not self.reads_shapes:
            return lines
        return tuple(
            self._mask_line(path, index, line) if is_shape(line) else line for index, line in enumerate(lines)
        )

    def _mask_line(self, path: Path | None, index: int, line: str) -> str:
        mask = self._decoded(path, index, line)
        return NOT_ANNOTATED if mask is None else truth_line(mask, self.size)

    def _decoded(self, path: Path | None, index: int, line: str) -> np.ndarray | None:
        try:
            return (decode_truth if self.reads_shapes else decode_mask)(line, self.size)
        except ValueError as fault:
            raise UserError(f"{path}:{index + 1}: {fault}; restore the truth file") from None


def find_truth(sequence: Sequence) -> TruthFiles | None:
    """The truth files of a sequence; None where there are none.

    Raises UserError where there are several targets: the toolkit expects one object for each sequence.
    """
    folder = sequence.folder
    if folder is None:
        return None
    paths = sorted(folder.glob(f"{PREFIX}*{SUFFIX}"))
    # The name of an object stands between prefix and ending; names that begin with `_` have a special
    # meaning.
    objects = {path.name[len(PREFIX) : -len(SUFFIX)]: path for path in paths}
    targets = [path for name, path in objects.items() if not name.startswith("_")]
    if len(targets) > 1:
        names = " and ".join(path.name for path in targets)
        raise UserError(
            f"{folder}: several truth files ({names}), but all prompts refer to one target; keep one of them"
        )
    if objects:
        return TruthFiles(targets[0], objects.get(IGNORE)) if targets else None
    # Without objects there may be a single file, whose name the `sequence` file can give.
    plain = inside(folder, sequence.metadata.get("groundtruth", "groundtruth.txt"))
    return TruthFiles(plain, None) if plain.is_file() else None


def scored_size(sequence: Sequence) -> Size:
    """Width and height in which the toolkit scores: those of the `sequence` file, or those of the frames.

    The size of the frames is also used where that of the file is impossible for a mask: less than a pixel,
    or many times the frames. The toolkit scores nothing in such a size, and reading the workspace warns of
    it.
    """
    frame_width, frame_height = sequence.frames.size
    try:
        width, height = int(sequence.metadata["width"]), int(sequence.metadata["height"])
    except (KeyError, ValueError):
        return frame_width, frame_height
    if width > 0 and height > 0 and width * height <= MOST_FRAMES * frame_width * frame_height:
        return width, height
    return frame_width, frame_height


def read_truth(sequence: Sequence) -> Truth | None:
    """The truth of a sequence; None where it has none, or none of its frames is annotated.

    Raises UserError where it cannot be read or there are several targets.
    """
    files = find_truth(sequence)
    if files is None:
        return None
    target = tuple(read_lines(files.target))
    ignore = tuple(read_lines(files.ignore)) if files.ignore else ()
    # A truth without any annotated frame scores nothing, and counts as missing.
    truth = Truth(files, scored_size(sequence), target, ignore, len(sequence.frames))
    return truth if any(map(truth.is_annotated, range(len(target)))) else None
