"""An index as pairs are drawn from it: which frames show the target, and which words say the same."""

import numpy as np
import pyarrow.compute as pc

from configs.errors import UserError
from data_prep.index.store import Index
from data_prep.sequence import ABSENT, PRESENT


class Source:
    """An index with what drawing needs, as arrays over all F frames and S sequences.

    `frames[kind]` int32 (count,) are the frames, numbered through the index, that show the target
    (`PRESENT`) or do not (`ABSENT`), in order; `before[kind]` int32 (F + 1,) counts those before each frame.
    Frames of which nobody knows, or whose box lies outside the picture, are never drawn. `usable` int32:
    sequences that show their target at all.
    `expression_codes` int32 (P,): expressions of the same text have the same code.
    """

    def __init__(self, index: Index) -> None:
        """Raises UserError where no sequence of the index shows its target."""
        self.index = index
        chosen = {PRESENT: (index.present == PRESENT) & _in_picture(index), ABSENT: index.present == ABSENT}
        self.frames = {kind: np.flatnonzero(mask).astype(np.int32) for kind, mask in chosen.items()}
        self.before = {kind: _counted(mask) for kind, mask in chosen.items()}
        shown = np.diff(self.before[PRESENT][index.starts])
        self.usable = np.flatnonzero(shown > 0).astype(np.int32)
        if not len(self.usable):
            raise UserError(f"{index.path}: no sequence shows its target; check the data with task=check")
        codes = pc.dictionary_encode(index.expressions).indices
        self.expression_codes = codes.to_numpy(zero_copy_only=False).astype(np.int32)

    def range_of(self, kind: int, sequences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and one past the last place in `frames[kind]` of each sequence's frames; (n,) each."""
        before, starts = self.before[kind], self.index.starts
        return before[starts[sequences]], before[starts[sequences + 1]]


def _in_picture(index: Index) -> np.ndarray:
    """Whether each frame has a box of which something lies inside the picture, bool (F,)."""
    lengths, boxes = np.diff(index.starts), index.boxes_xywh
    inside = np.ones(len(boxes), bool)
    for axis in (0, 1):
        low, side = boxes[:, axis], boxes[:, axis + 2]
        inside &= (side > 0) & (low + side > 0) & (low < np.repeat(index.sizes[:, axis], lengths))
    return inside


def _counted(mask: np.ndarray) -> np.ndarray:
    """How many are set before each place and before the end, int32 (F + 1,)."""
    return np.concatenate([[0], np.cumsum(mask, dtype=np.int32)]).astype(np.int32)
