"""The checks of one sequence: its frames, its boxes and presence, its expressions."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from configs.errors import UserError
from configs.terminal import counted
from data_prep.check.report import Finding, place
from data_prep.geometry import Size
from data_prep.readers.folders import NUMBER
from data_prep.sequence import ABSENT, PRESENT, UNKNOWN, Sequence
from data_prep.video.frames import ImageFrames, VideoFrames
from data_prep.video.images import decoded_header, image_header


def frame_findings(sequence: Sequence, decode: bool) -> Iterator[Finding]:
    """The faults of a sequence's frames, one finding for each kind.

    Only the headers of image files are read. With `decode` the whole files are, which also finds truncated
    JPEGs, whose headers are intact. A video file was opened by its reader; it is decoded only with `decode`.
    """
    frames = sequence.frames
    if isinstance(frames, ImageFrames):
        faults: dict[str, list[str]] = defaultdict(list)
        # Orientations are compared with that of the first frame.
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
        message = f"{frames.path}: frames lie in a video file; extract them into images for task=index"
        yield Finding(sequence.name, "video_file", message)
        yield from _film(sequence.name, frames) if decode else ()


@dataclass(frozen=True)
class _Header:
    """The orientation of an image file (None: unknown), and its fault: kind and line, both empty if
    there is none.
    """

    orientation: int | None
    kind: str = ""
    line: str = ""


def _header(path: Path, size: Size, decode: bool) -> _Header:
    """The header of an image file that should have the size `size`."""
    try:
        # Both read the orientation as well, so the size is that of the upright image.
        found, orientation = decoded_header(path) if decode else image_header(path)
    except UserError as fault:
        return _Header(None, "frame_unreadable" if path.exists() else "frame_missing", str(fault))
    if found == size:
        return _Header(orientation)
    message = f"frame is {found[0]}x{found[1]} but the sequence is {size[0]}x{size[1]}"
    return _Header(orientation, "frame_size", f"{path}: {message}; make all frames one size")


def _turned(path: Path, orientation: int | None, first: int | None) -> str:
    """The finding for a frame with another orientation than the first.

    A camera may be turned during a video. More often some frames were saved again and lost their orientation.
    """
    message = f"EXIF orientation {orientation}, but the first frame has {first}"
    return f"{path}: {message}; look whether both are upright, and save them so"


def _gaps(name: str, frames: ImageFrames) -> Iterator[Finding]:
    """A finding where the numbers in the file names skip their usual step: a frame may be missing there."""
    found = [NUMBER.search(path.stem) for path in frames.paths]
    numbers = [int(number[1]) for number in found if number]
    # Not all names have numbers, or there are too few for a usual step.
    if len(numbers) < max(3, len(found)):
        return
    # The usual step may be larger than 1, where only every n-th frame was extracted.
    steps = [after - before for before, after in pairwise(numbers)]
    ((usual, _),) = Counter(steps).most_common(1)
    jumps = [at for at, step in enumerate(steps) if step != usual]
    if jumps:
        before, after = frames.paths[jumps[0]], frames.paths[jumps[0] + 1]
        message = f"the next frame is {after.name}, though numbers increase by {usual} elsewhere"
        yield Finding(name, "frame_gap", f"{before}: {message}; restore what is between", len(jumps))


def _film(name: str, video: VideoFrames) -> Iterator[Finding]:
    """Decode a video file completely, and compare with what its reader found."""
    try:
        found = VideoFrames.open(video.path)
    except UserError as fault:
        yield Finding(name, "frame_unreadable", str(fault))
        return
    if found.warnings:
        yield Finding(name, "frame_unreadable", found.warnings[0], len(found.warnings))
    if len(found) != len(video):
        message = f"{counted(len(found), 'frame')} can be decoded instead of {len(video)}; replace the file"
        yield Finding(name, "frame_missing", f"{video.path}: {message}", abs(len(video) - len(found)))


MOST = 0.5  # if more than this share of a target's boxes lies outside the image, none is trusted
REMEDY = "correct the annotation of this frame, or leave the sequence out"


def box_findings(sequence: Sequence, margin: float, sparse: bool) -> Iterator[Finding]:
    """The faults of a sequence's boxes, one finding for each kind, which describes its first frame.

    `margin` is how far a box may reach beyond the frame, in pixels, since some data sets count pixels from 1.
    In a data set that is not annotated in every frame (`sparse`), a missing box is no fault: readers mark a
    frame as unknown both where it has no annotation and where it is flagged as visible but has no box.
    """
    truth, (width, height) = sequence.truth, sequence.frames.size
    if truth is None:
        return
    boxes, shown, unknown = truth.boxes_xywh, truth.present == PRESENT, truth.present == UNKNOWN
    # 1. Masks over the frames, bool (F,): boxes of numbers, with an area, outside of the image.
    finite, low, sides = np.isfinite(boxes).all(axis=1), boxes[:, :2], boxes[:, 2:]
    # `beyond` (F,): pixels by which a box leaves the image at its worst side. NaN stays NaN, and no
    # comparison with it is true.
    beyond = np.maximum(-low, low + sides - (width, height)).max(axis=1)
    area = finite & (sides > 0).all(axis=1)
    away = (low >= (width, height)).any(axis=1) | (low + sides <= 0).any(axis=1)
    # Four zeros often mean an absent target. A box in which only one side is zero is a fault in any case.
    half = finite & ~area & (sides > 0).any(axis=1)
    lost = shown & area & away
    whole = lost.sum() > MOST * (shown & area).sum()
    image = f"the {width}x{height} image"
    # 2. Boxes in another form make the other findings meaningless, so then this is the only one.
    form = _other_form(boxes[shown & area], beyond[shown & area], (width, height), margin)
    if form:
        first, count = int(np.flatnonzero(shown & area)[0]), int((shown & area).sum())
        line = f"{place(sequence.frames, first)}: the target's boxes seem to be {form}, not x,y,w,h in pixels"
        yield Finding(sequence.name, "boxes_form", f"{line}; write them so", count)
        return
    # 3. One finding for each kind of fault.
    for kind, faulty, message in (
        ("box_nan", (shown | (unknown & (not sparse))) & ~finite, "is shown, but its box is {box}"),
        ("box_empty", ((shown | unknown) & finite & ~area) | half, "has a box without area, {box}"),
        ("boxes_away" if whole else "box_away", lost, f"has the box {{box}}, which lies outside {image}"),
        ("box_over", shown & area & ~away & (beyond > margin), f"has the box {{box}}, which leaves {image}"),
    ):
        if faulty.any():
            first = int(np.flatnonzero(faulty)[0])
            said = message.format(box=",".join(f"{side:g}" for side in boxes[first]))
            line = f"{place(sequence.frames, first)}: the target {said}; {REMEDY}"
            yield Finding(sequence.name, kind, line, int(faulty.sum()))


def _other_form(boxes: np.ndarray, beyond: np.ndarray, size: Size, margin: float) -> str:
    """The form that boxes (N, 4) of visible targets seem to have, in words; empty where they may be x,y,w,h.

    `beyond` (N,) is by how many pixels each box exceeds the frame, whose width and height are `size`. Corners
    that also stay inside the frame when they are read as x,y,w,h are not detected.
    """
    if not len(boxes):
        return ""
    # 1. Shares: no number above 1, and most boxes have fractions (whole numbers may be pixels).
    if (np.abs(boxes) <= 1).all() and (boxes != np.rint(boxes)).any(axis=1).mean() > MOST:
        return "shares of the image's width and height"
    # 2. Corners: in order and inside the frame, but read as x,y,w,h most boxes would leave it.
    inside = (boxes[:, :2] >= -margin).all() and (boxes[:, 2:] <= np.array(size) + margin).all()
    ordered = (boxes[:, 2:] > boxes[:, :2]).all()
    return "corners x1,y1,x2,y2" if inside and ordered and (beyond > margin).mean() > MOST else ""


def presence_findings(sequence: Sequence) -> Iterator[Finding]:
    """A target that is absent wherever anybody says."""
    present = np.zeros(0) if sequence.truth is None else sequence.truth.present
    if (present == ABSENT).any() and not (present == PRESENT).any():
        message = "the target is absent in every annotated frame; check its boxes and flags, or leave it out"
        yield Finding(sequence.name, "never_shown", f"{sequence.folder}: {message}")


def text_findings(sequence: Sequence) -> Iterator[Finding]:
    """Words that are not there, are empty, or speak of no frame."""
    expressions, count = sequence.expressions, len(sequence.frames)
    if not expressions:
        message = "has no expression; add one, or use it for training without expressions"
        yield Finding(sequence.name, "text_none", f"{sequence.folder}: {message}")
    empty = [at for at, text in enumerate(expressions) if not text.strip()]
    # An expression is never true if its frames lie outside of the video.
    spans = sequence.spans or ((0, count),) * len(expressions)
    never = [at for at, (start, stop) in enumerate(spans) if max(start, 0) >= min(stop, count)]
    for kind, which, message in (
        ("text_empty", empty, "is empty; write it, or remove it"),
        ("text_never", never, f"is true of none of the {count} frames; correct the frame it begins with"),
    ):
        if which:
            line = f"{sequence.folder}: expression {which[0] + 1} of {len(expressions)} {message}"
            yield Finding(sequence.name, kind, line, len(which))


def fingerprint(sequence: Sequence) -> str:
    """A text that is equal for sequences of the same boxes and expressions; empty where there is too little
    to compare.

    With a single box two sequences may agree by chance, for example images of one size with their class as
    the expression.
    """
    truth = sequence.truth
    if truth is None or (truth.present == PRESENT).sum() < 2:
        return ""
    # Only boxes of frames that show the target count: others may differ without meaning.
    said = hashlib.blake2b(repr((sequence.frames.size, sequence.expressions)).encode(), digest_size=16)
    said.update(truth.present.astype(np.int8).tobytes())
    said.update(truth.boxes_xywh[truth.present == PRESENT].astype(np.float32).tobytes())
    return said.hexdigest()
