"""A sequence: named, ordered frames of one size, with the expressions that refer to its target."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_prep.video.frames import Frames

PRESENT, ABSENT, UNKNOWN = 1, 0, -1
Span = tuple[int, int]  # frames from the first up to, but not including, the second


@dataclass(frozen=True, eq=False)
class Truth:
    """What a data set says of the target, frame by frame, for F frames.

    `boxes_xywh` float32 (F, 4) as they stand in the data's files, in pixels of the frame: what trackers'
    published readers and figures go by, though some sets count pixels from 1. NaN where a frame has
    none. `present` int8 (F,) is `PRESENT`, `ABSENT` or, where nobody says, `UNKNOWN`; the flags of a
    data set decide over its boxes, since many have boxes where the target is absent.
    """

    boxes_xywh: np.ndarray
    present: np.ndarray


@dataclass(frozen=True)
class Sequence:
    """One video and the texts that refer to its target.

    `expressions` are as they stand in the data, in order: an empty one is kept, because the result
    format wants a file for it too. `folder` is where the sequence's own files lie (None for a
    plain video file). `spans` says of which frames each expression is true (None: of all). The readers of
    data sets give a `truth`, in which a split without annotations is unknown throughout; elsewhere it is
    None. `notes` tell what was mended in reading, a line each.
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
