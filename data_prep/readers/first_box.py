"""Test splits that give the target's first box alone (GOT-10k, TrackingNet): the rest is on a server."""

from pathlib import Path

import numpy as np

from data_prep.readers.annotations import truth_of
from data_prep.readers.pictures import fitted
from data_prep.sequence import UNKNOWN, Truth


def truth_of_test(
    folder: Path, names: list[str], boxes_xywh: np.ndarray
) -> tuple[list[str], Truth, tuple[str, ...]]:
    """The frames of a test sequence, its truth and notes, from the boxes (F, 4) of its file.

    One box is the first frame's; of all later frames nothing is known (NaN, `UNKNOWN`). More boxes are
    one a frame, as in the other splits, for who has the whole truth. Raises UserError where there are
    fewer frames than boxes.
    """
    if len(boxes_xywh) != 1:
        names, notes = fitted(folder, names, boxes_xywh)
        return names, truth_of(boxes_xywh, None), notes
    later = len(names) - 1
    first = truth_of(boxes_xywh, np.ones(1, bool))
    boxes = np.concatenate([first.boxes_xywh, np.full((later, 4), np.nan, np.float32)])
    present = np.concatenate([first.present, np.full(later, UNKNOWN, np.int8)])
    return names, Truth(boxes, present), ()
