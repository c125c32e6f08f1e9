"""An index with the lookup tables that drawing needs: frames that show the target, and equal expressions."""

import numpy as np
import pyarrow.compute as pc

from configs.errors import UserError
from data_prep.index.store import Index
from data_prep.sequence import ABSENT, PRESENT


class Source:
    """An index with lookup tables over its F frames, S sequences and P expressions.

    `frames[kind]` int32 (count,) are the frames, numbered through the index, that show the target
    (`PRESENT`) or do not (`ABSENT`), in order. `before[kind]` int32 (F + 1,) is the number of these frames
    before each frame, so the ones of a sequence are a slice of `frames[kind]` (see `range_of`). Frames that
    are not annotated, or whose box lies outside the image, are in neither and are never drawn. `usable` int32
    are the sequences in which the target is visible in some frame. `expression_codes` int32 (P,) is the same
    number for expressions of the same text.
    """

    def __init__(self, index: Index) -> None:
        """Build the tables. Raises UserError where no sequence of the index shows its target."""
        self.index = index
        # 1. The frames of each kind, and how many of them lie before each frame.
        chosen = {PRESENT: (index.present == PRESENT) & _in_picture(index), ABSENT: index.present == ABSENT}
        self.frames = {kind: np.flatnonzero(mask).astype(np.int32) for kind, mask in chosen.items()}
        self.before = {kind: _counted(mask) for kind, mask in chosen.items()}
        # 2. The sequences with at least one frame that shows the target.
        shown = np.diff(self.before[PRESENT][index.starts])
        self.usable = np.flatnonzero(shown > 0).astype(np.int32)
        if not len(self.usable):
            raise UserError(f"{index.path}: no sequence shows its target; check the data with task=check")
        # Comparing numbers is faster than comparing texts, and works on whole arrays.
        codes = pc.dictionary_encode(index.expressions).indices
        self.expression_codes = codes.to_numpy(zero_copy_only=False).astype(np.int32)

    def range_of(self, kind: int, sequences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and one past the last place in `frames[kind]` of each sequence's frames; (n,) each."""
        before, starts = self.before[kind], self.index.starts
        return before[starts[sequences]], before[starts[sequences + 1]]


def _in_picture(index: Index) -> np.ndarray:
    """Whether each frame has a box of which some part lies inside the image, bool (F,)."""
    # For each axis: a positive side, and an interval that overlaps the image.
    lengths, boxes = np.diff(index.starts), index.boxes_xywh
    inside = np.ones(len(boxes), bool)
    for axis in (0, 1):
        low, side = boxes[:, axis], boxes[:, axis + 2]
        inside &= (side > 0) & (low + side > 0) & (low < np.repeat(index.sizes[:, axis], lengths))
    return inside


def _counted(mask: np.ndarray) -> np.ndarray:
    """The number of set places before each place, and in all as the last entry, int32 (F + 1,)."""
    return np.concatenate([[0], np.cumsum(mask, dtype=np.int32)]).astype(np.int32)
