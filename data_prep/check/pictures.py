"""Whether a sequence's frames are there, can be read, are of one size, and follow one another."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from configs.errors import UserError
from configs.terminal import counted
from data_prep.check.findings import Finding
from data_prep.frames import ImageFrames, VideoFrames
from data_prep.geometry import Size
from data_prep.images import decoded_header, image_header
from data_prep.readers.pictures import NUMBER
from data_prep.sequence import Sequence


def frame_findings(sequence: Sequence, decode: bool) -> Iterator[Finding]:
    """The faults of a sequence's frames, one a kind.

    Of image files the header is read or, to `decode`, all of it: a truncated JPEG has a sound header. A
    video file was opened by its reader; what it holds is looked at only to `decode`.
    """
    frames = sequence.frames
    if isinstance(frames, ImageFrames):
        faults: dict[str, list[str]] = defaultdict(list)
        turned: int | None = None  # as the first frame is stored
        for path in frames.paths:
            found = _header(path, frames.size, decode)
            turned = found.orientation if turned is None else turned
            if found.kind:
                faults[found.kind].append(found.line)
            elif found.orientation != turned:
                faults["frame_turned"].append(_turned(path, found.orientation, turned))
        for kind, lines in faults.items():
            yield Finding(sequence.name, kind, lines[0], len(lines))
        yield from _gaps(sequence.name, frames)
    elif isinstance(frames, VideoFrames):
        told = f"{frames.path}: frames lie in a video file; extract them into images for task=index"
        yield Finding(sequence.name, "video_file", told)
        yield from _film(sequence.name, frames) if decode else ()


@dataclass(frozen=True)
class _Header:
    """How an image file is stored (None: unknown), and what is wrong with it, kind and line, else empty."""

    orientation: int | None
    kind: str = ""
    line: str = ""


def _header(path: Path, size: Size, decode: bool) -> _Header:
    """What the header of an image file that should be of `size` tells."""
    try:
        found, orientation = decoded_header(path) if decode else image_header(path)
    except UserError as fault:
        return _Header(None, "frame_unreadable" if path.exists() else "frame_missing", str(fault))
    if found == size:
        return _Header(orientation)
    told = f"frame is {found[0]}x{found[1]} but the sequence is {size[0]}x{size[1]}"
    return _Header(orientation, "frame_size", f"{path}: {told}; make all frames one size")


def _turned(path: Path, orientation: int | None, first: int | None) -> str:
    """A camera may turn while it films, but more often some frames were saved anew and lost their note."""
    told = f"EXIF orientation {orientation}, but the first frame has {first}"
    return f"{path}: {told}; look whether both are upright, and save them so"


def _gaps(name: str, frames: ImageFrames) -> Iterator[Finding]:
    """Where the numbers in the names do not go on by their usual step: a frame may be lost there."""
    found = [NUMBER.search(path.stem) for path in frames.paths]
    numbers = [int(number[1]) for number in found if number]
    if len(numbers) < max(3, len(found)):
        return
    steps = [after - before for before, after in pairwise(numbers)]
    ((usual, _),) = Counter(steps).most_common(1)
    jumps = [at for at, step in enumerate(steps) if step != usual]
    if jumps:
        before, after = frames.paths[jumps[0]], frames.paths[jumps[0] + 1]
        told = f"the next frame is {after.name}, though numbers go on by {usual} elsewhere"
        yield Finding(name, "frame_gap", f"{before}: {told}; restore what is between", len(jumps))


def _film(name: str, video: VideoFrames) -> Iterator[Finding]:
    """Decode a video file whole."""
    try:
        found = VideoFrames.open(video.path)
    except UserError as fault:
        yield Finding(name, "frame_unreadable", str(fault))
        return
    if found.warnings:
        yield Finding(name, "frame_unreadable", found.warnings[0], len(found.warnings))
    if len(found) != len(video):
        told = f"{counted(len(found), 'frame')} can be decoded instead of {len(video)}; replace the file"
        yield Finding(name, "frame_missing", f"{video.path}: {told}", abs(len(video) - len(found)))
