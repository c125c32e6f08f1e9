"""Short hashes that identify images and annotations, to recognise whether results were made from them.

A file is identified by its name, its size, and the beginning and end of its content, but not by its time. So
a data set that was copied or moved keeps its identity, and images that were mirrored, encoded again or
exchanged get another one. A file in the system's cache costs 30 to 50 microseconds (its size and time alone
would cost 2 to 5, its header 50 to 100), which is little compared with tracking it. For training, data sets
have millions of frames, of which `FRAMES` are examined.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from data_prep.index.store import Index
from data_prep.video.frames import AnimationFrames, Frames, ImageFrames, VideoFrames
from data_prep.video.inputs import FrameRange

SAMPLE = 4096  # bytes at the beginning and at the end of a file
LARGE = 1 << 20  # bytes; of a larger file, such as a video, more samples are read
SAMPLES = 16  # samples of a large file, evenly spread
FRAMES = 1000  # frames of an index that are examined, evenly spread
DIGEST = 8  # bytes


def files_identity(paths: Iterable[Path]) -> str:
    """The identity of files in their order. A file that cannot be read counts as missing."""
    digest = hashlib.blake2b(digest_size=DIGEST)
    for path in paths:
        digest.update(f"{path.name}\n".encode("utf-8", "surrogateescape"))
        digest.update(_sample(path))
    return digest.hexdigest()


def _sample(path: Path) -> bytes:
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            # Beginning and end of a small file; samples spread over a large one, such as a video.
            count = SAMPLES if size > LARGE else 2
            content = b""
            for number in range(count):
                # Equal steps; the last sample ends with the file.
                file.seek(max(size - SAMPLE, 0) * number // (count - 1))
                content += file.read(SAMPLE)
    except OSError:
        return b"missing\n"
    return f"{size}\n".encode() + content


def frames_identity(frames: Frames) -> str:
    """The identity of a sequence's frames: of all image files, or of the video file and the part of it."""
    if isinstance(frames, ImageFrames):
        return files_identity(frames.paths)
    # A part of a video is another input than the whole.
    if isinstance(frames, FrameRange):
        return f"{frames_identity(frames.frames)} {frames.start}-{frames.stop}"
    assert isinstance(frames, VideoFrames | AnimationFrames), "there are no others"
    return files_identity([frames.path])


def annotations_identity(index: Index) -> str:
    """The identity of the annotations in an index: names, frames, sizes, boxes, presence and expressions.

    The place of the data does not count, and neither do the times of their files (which are in
    `About.state`).
    """
    digest = hashlib.blake2b(f"{index.about.data} {index.about.split}".encode(), digest_size=DIGEST)
    # The buffers of Arrow hold the complete content of a column, without converting it.
    for name, column in zip(index.rows.schema.names, index.rows.columns, strict=True):
        digest.update(name.encode())
        for buffer in column.buffers():
            digest.update(b"" if buffer is None else buffer)
    return digest.hexdigest()


def index_frames_identity(index: Index) -> str:
    """The identity of the images of an index: of `FRAMES` of them, or of all where there are fewer."""
    count = int(index.starts[-1])
    # Evenly spread over all frames, so that every part of the data set is covered.
    chosen = np.unique(np.linspace(0, count - 1, min(count, FRAMES)).astype(np.int64))
    sequences = np.searchsorted(index.starts, chosen, side="right") - 1
    root = Path(index.about.root)
    return files_identity(
        root / index.folders[int(sequence)].as_py() / index.frames[int(frame)].as_py()
        for frame, sequence in zip(chosen, sequences, strict=True)
    )
