"""A sequence: named, ordered frames of one size, with the expressions that refer to its target."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_prep.video.frames import Frames

PRESENT, ABSENT, UNKNOWN = 1, 0, -1
Span = tuple[int, int]  # frames from the first up to, but not including, the second


@dataclass(frozen=True, eq=False)
class Truth:
    """The ground truth of a target, frame by frame, for F frames.

    `boxes_xywh` float32 (F, 4) are the numbers of the data set's files, in pixels of the frame. Some data
    sets count pixels from 1; the numbers are left as they are, since published readers and results use them
    so. NaN where a frame has no box. `present` int8 (F,) is `PRESENT`, `ABSENT`, or `UNKNOWN` for frames
    without annotation. Where a data set has flags of presence, they decide and not the boxes, since many
    data sets have boxes in frames in which the target is absent.
    """

    boxes_xywh: np.ndarray
    present: np.ndarray


@dataclass(frozen=True)
class Sequence:
    """One video and the expressions that refer to its target.

    `expressions` are those of the data, in order. An empty one is kept, because VOTSr expects a result file
    for it too. `folder` is the folder of the sequence's own files (None for a plain video file). `spans` are
    the frames of which each expression is true (None: of all frames). Readers of data sets always set
    `truth`; for a split without annotations it is `UNKNOWN` in every frame. `notes` describe, one line each,
    what a reader corrected.
    """

    name: str
    frames: Frames
    expressions: tuple[str, ...]
    fps: float = 25.0
    folder: Path | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    spans: tuple[Span, ...] | None = None
    truth: Truth | None = None
    notes: tuple[str, ...] = ()
