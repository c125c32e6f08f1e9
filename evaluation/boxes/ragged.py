"""The boxes of S sequences with F frames in all, behind one another.

A sequence's frames are those from its place in `starts`, int64 (S + 1,), up to the next. Boxes are float64
(4, F), a row each for x, y, w and h in pixels of the frame as it lies on disk: sums over a row run through
memory in order.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

IN_CACHE = 8192  # frames whose intermediate values stay in a processor's cache


@dataclass(frozen=True, eq=False)
class BoxTruth:
    """What a benchmark says: a box for every frame, and in which frames the target is absent.

    `absent` bool (F,), None where the benchmark has no flags. `sizes` int (S, 2), width and height of the
    frames, None where they are not known. `attributes` bool (S,) by name. `not_asked` are sequences of the
    same benchmark that are not to be scored.
    """

    name: str
    sequences: tuple[str, ...]
    starts: np.ndarray
    boxes_xywh: np.ndarray
    absent: np.ndarray | None = None
    sizes: np.ndarray | None = None
    attributes: dict[str, np.ndarray] = field(default_factory=dict)
    not_asked: tuple[str, ...] = ()

    @property
    def lengths(self) -> np.ndarray:
        """Frames of each sequence, int64 (S,)."""
        return np.diff(self.starts)

    @property
    def num_frames(self) -> int:
        """Frames of all sequences."""
        return int(self.starts[-1])


@dataclass(frozen=True, eq=False)
class BoxResults:
    """What a tracker says of the same frames, before any protocol has mended it.

    `missing` bool (F,) marks the frames that its files do not have; their boxes are NaN. None: it has all.
    """

    tracker: str
    boxes_xywh: np.ndarray
    missing: np.ndarray | None = None


def chunks(starts: np.ndarray, most: int = IN_CACHE) -> Iterator[tuple[int, int]]:
    """Stretches of whole sequences with about `most` frames each: the first sequence, and the one after."""
    count = len(starts) - 1
    cuts = np.searchsorted(starts, np.arange(0, int(starts[-1]), most), side="left")
    bounds = np.unique(np.concatenate([[0], cuts, [count]]))
    yield from ((int(first), int(stop)) for first, stop in pairwise(bounds))


def is_box(boxes_xywh: np.ndarray) -> np.ndarray:
    """Where a box, (4, F), is one: no NaN, and an area above 0. A result that is none says *absent*."""
    has_area = (boxes_xywh[2] > 0) & (boxes_xywh[3] > 0)
    return np.asarray(has_area & ~np.isnan(boxes_xywh[0]) & ~np.isnan(boxes_xywh[1]))
