"""The boxes of S sequences of different lengths with F frames in all, concatenated (a ragged array).

The frames of sequence `i` are those from `starts[i]` up to `starts[i + 1]`; `starts` is int64 (S + 1,). Boxes
are float64 (4, F): one row each for x, y, w and h, in pixels of the frame as it is on disk. In this layout an
operation on one coordinate of all boxes reads memory in order.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

IN_CACHE = 8192  # frames of a chunk: the intermediate values of so many fit into the cache of a processor


@dataclass(frozen=True, eq=False)
class BoxTruth:
    """The ground truth of a benchmark: a box for every frame, and in which frames the target is absent.

    `absent` is bool (F,), or None where the benchmark has no flags of absence. `sizes` int (S, 2) are width
    and height of the frames of each sequence, or None where they are not known. `attributes` holds bool (S,)
    by name. `not_asked` are further sequences of the benchmark that are not scored; results of them are no
    error.
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
        """The number of frames of each sequence, int64 (S,)."""
        return np.diff(self.starts)

    @property
    def num_frames(self) -> int:
        """The number of frames of all sequences together."""
        return int(self.starts[-1])


@dataclass(frozen=True, eq=False)
class BoxResults:
    """The boxes of a tracker for the same frames as they are in its files, before a protocol repairs any.

    `missing` bool (F,) marks frames that the files do not have; their boxes are NaN. None: all frames are
    there.
    """

    tracker: str
    boxes_xywh: np.ndarray
    missing: np.ndarray | None = None


def chunks(starts: np.ndarray, most: int = IN_CACHE) -> Iterator[tuple[int, int]]:
    """Yield chunks of whole sequences with about `most` frames each, as (first sequence,
    one after the last).
    """
    count = len(starts) - 1
    # Cut at the first sequence that begins at or after each multiple of `most`. A sequence is never divided,
    # so a long one makes a longer chunk.
    cuts = np.searchsorted(starts, np.arange(0, int(starts[-1]), most), side="left")
    bounds = np.unique(np.concatenate([[0], cuts, [count]]))
    yield from ((int(first), int(stop)) for first, stop in pairwise(bounds))


def is_box(boxes_xywh: np.ndarray) -> np.ndarray:
    """Bool (F,): which boxes (4, F) have no NaN and an area above 0. Any other result means *absent*."""
    # NaN in w or h fails the comparison, so only x and y are tested for it. Infinity passes: what it counts
    # is up to the protocols.
    has_area = (boxes_xywh[2] > 0) & (boxes_xywh[3] > 0)
    return np.asarray(has_area & ~np.isnan(boxes_xywh[0]) & ~np.isnan(boxes_xywh[1]))
