"""Whether a sequence's frames are there, can be read, are of one size, and follow one another."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

from configs.errors import UserError
from data_prep.check.findings import Finding
from data_prep.frames import ImageFrames, VideoFrames, decoded_size, image_size
from data_prep.geometry import Size
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
        for path in frames.paths:
            kind, line = _fault(path, frames.size, decode)
            if kind:
                faults[kind].append(line)
        for kind, lines in faults.items():
            yield Finding(sequence.name, kind, lines[0], len(lines))
        yield from _gaps(sequence.name, frames)
    elif isinstance(frames, VideoFrames):
        told = f"{frames.path}: frames lie in a video file; extract them into images for task=index"
        yield Finding(sequence.name, "video_file", told)
        yield from _film(sequence.name, frames) if decode else ()


def _fault(path: Path, size: Size, decode: bool) -> tuple[str, str]:
    """What is wrong with an image file that should be of `size`: kind and line, or two empty texts."""
    try:
        found = decoded_size(path) if decode else image_size(path)
    except UserError as fault:
        return "frame_unreadable" if path.exists() else "frame_missing", str(fault)
    if found == size:
        return "", ""
    told = f"frame is {found[0]}x{found[1]} but the sequence is {size[0]}x{size[1]}"
    return "frame_size", f"{path}: {told}; make all frames one size"


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
    shapes: list[tuple[int, ...]] = []
    try:
        shapes += (np.shape(frame) for frame in video)
    except av.FFmpegError as fault:
        told = f"{video.path}: frame {len(shapes)} cannot be decoded ({fault.strerror}); replace the file"
        yield Finding(name, "frame_unreadable", told)
        return
    if len(shapes) != video.count:
        told = f"{len(shapes)} frames can be decoded instead of {video.count}; replace the file"
        yield Finding(name, "frame_missing", f"{video.path}: {told}", abs(video.count - len(shapes)))
