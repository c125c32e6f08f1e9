"""What toolkits make of a result that is no box."""

import numpy as np


def repeat_previous(boxes_xywh: np.ndarray, invalid: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Boxes (4, F) in which an invalid one, bool (F,), is the last valid one before it in its sequence.

    A sequence's first box is never replaced, and repeated even where it is invalid itself.
    """
    if not invalid.any():
        return boxes_xywh
    source = np.where(invalid, 0, np.arange(len(invalid)))
    source[starts[:-1]] = starts[:-1]
    return boxes_xywh.take(np.maximum.accumulate(source), axis=1)
