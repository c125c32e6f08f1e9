"""The format of boxes in result files: x,y,w,h as protocols need it, or x1,y1,x2,y2 or relative coordinates.

Results in another format score low though nothing in the files is invalid. So the boxes of the first frames,
in which a tracker has hardly lost the target yet, are compared with the ground truth in either format.
"""

import numpy as np

from evaluation.boxes.overlaps import exclusive_overlap
from evaluation.boxes.ragged import BoxResults, BoxTruth, is_box

XYWH, XYXY = "xywh", "xyxy"
WRITTEN = {XYWH: "x,y,w,h", XYXY: "x1,y1,x2,y2"}
RELATIVE = "fractions of the width and height of the frame"
# Frames of a sequence that are compared, without the very first, which often is the true box.
FIRST_FRAMES = 20
MIN_BOXES = 5  # boxes that a decision needs
MIN_IOU = 0.6  # mean overlap with the ground truth from which a format fits
MIN_GAIN = 0.15  # by how much it must exceed the mean overlap in the expected format
MIN_SHARE = 0.8  # share of boxes whose overlap must be higher
NEARLY_ALL = 0.99  # share of true boxes in which x2 > x1 and y2 > y1 if they were corners
MANY_SEQUENCES = 10  # sequences: in so many, not all targets are in the upper left quarter of the frame
MAX_SIDE_CHANGE = 0.5  # change of the sides relative to that of the second corner, if boxes are corners
MIN_SIDE = 4.0  # pixels: where most true boxes are smaller, numbers up to 1 may be pixels


def as_xywh(boxes: np.ndarray, form: str) -> np.ndarray:
    """Boxes (4, N) of a format as x,y,w,h. NaN stays NaN, and four zeros (absent) stay zeros."""
    # (x1, y1, x2, y2) -> (x1, y1, x2 - x1, y2 - y1): corners are exclusive, so no pixel is added.
    return boxes if form == XYWH else np.concatenate([boxes[:2], boxes[2:] - boxes[:2]])


def other_form(results: BoxResults, truth: BoxTruth, form: str = XYWH) -> tuple[str, str] | None:
    """Another format that the numbers of a tracker seem to have, and the remedy, both as text; None: no sign
    of one.

    `results` holds the numbers as they are in the files. Boxes that are merely wrong do not indicate
    another format: it must fit the ground truth well, in most frames, and clearly better than `form`.
    """
    frames = _compared(results, truth)
    # Too few boxes to decide.
    if len(frames) < MIN_BOXES:
        return None
    numbers, true_xywh = results.boxes_xywh[:, frames], truth.boxes_xywh[:, frames]
    if _are_shares(numbers, true_xywh):
        return f"{RELATIVE} (none is above 1)", "write them in pixels"
    other = XYXY if form == XYWH else XYWH
    # The overlaps in the expected and in the other format: (N,) each.
    taken, instead = (exclusive_overlap(_valid(as_xywh(numbers, each)), true_xywh) for each in (form, other))
    fits = instead.mean() >= max(MIN_IOU, taken.mean() + MIN_GAIN) and np.mean(instead > taken) >= MIN_SHARE
    if not fits:
        return None
    overlaps = f"{instead.mean():.2f}, as {WRITTEN[form]} {taken.mean():.2f}"
    return (
        f"{WRITTEN[other]} (in first frames their overlap with the truth is {overlaps})",
        f"give boxes={other}",
    )


def _compared(results: BoxResults, truth: BoxTruth) -> np.ndarray:
    """The frames that are compared, int64 (N,): early ones in which ground truth and result have a box."""
    # (S, FIRST_FRAMES) candidates, of which those beyond the end of a sequence are dropped: (N,)
    starts, lengths = truth.starts[:-1], truth.lengths
    places = starts[:, None] + np.arange(1, FIRST_FRAMES + 1)
    frames = places[np.arange(1, FIRST_FRAMES + 1) < lengths[:, None]]
    with np.errstate(invalid="ignore"):
        kept = is_box(truth.boxes_xywh[:, frames]) & is_box(results.boxes_xywh[:, frames])
    kept &= np.isfinite(results.boxes_xywh[:, frames]).all(axis=0)
    # A benchmark may have any box where the target is absent, so its flags are needed beside `is_box`.
    if truth.absent is not None:
        kept &= ~truth.absent[frames]
    return np.asarray(frames[kept])


def _are_shares(numbers: np.ndarray, true_xywh: np.ndarray) -> bool:
    """Whether boxes (4, N) are relative coordinates: numbers from -1 to 1 that are not whole.

    Whole numbers could be a small box in the corner of the frame.
    """
    small = (np.abs(numbers) <= 1).all(axis=0)
    broken = (numbers != np.rint(numbers)).any(axis=0)
    large = np.median(true_xywh[2:].max(axis=0)) >= MIN_SIDE
    return bool(large and small.all() and broken.mean() >= MIN_SHARE)


def _valid(boxes_xywh: np.ndarray) -> np.ndarray:
    """Boxes (4, N) in which those with a negative side are empty, so that they overlap nothing."""
    return np.where((boxes_xywh[2:] > 0).all(axis=0), boxes_xywh, 0.0)


def truth_note(truth: BoxTruth) -> str | None:
    """A note where the true boxes seem not to be x,y,w,h in pixels; None where there is no sign of it.

    If boxes are corners x1,y1,x2,y2, the second corner is below and to the right of the first in nearly every
    frame. With x,y,w,h this happens only while targets are in the upper left of the frame. So it is taken for
    a sign where it holds for many sequences, or where the difference of the corners (the size of the target)
    changes less from frame to frame than the second corner (its position) does.
    """
    boxes = truth.boxes_xywh[:, is_box(truth.boxes_xywh) & np.isfinite(truth.boxes_xywh).all(axis=0)]
    if boxes.shape[1] < MIN_BOXES:
        return None
    if np.abs(boxes).max() <= 1 and (boxes != np.rint(boxes)).any(axis=0).mean() >= MIN_SHARE:
        return (
            f"the boxes of the truth seem to be {RELATIVE} (none is above 1); write them as x,y,w,h in pixels"
        )
    if (boxes[2:] > boxes[:2]).all(axis=0).mean() < NEARLY_ALL:
        return None
    # Changes from frame to frame within sequences: (2, F - 1), of the size and of the second corner if boxes
    # are corners.
    within = np.ones(truth.num_frames - 1, bool)
    within[truth.starts[1:-1] - 1] = False  # not from the last frame of a sequence to the first of the next
    # The size of a target changes slowly. If the numbers are corners, their difference is the size; if they
    # are x,y,w,h, the difference mixes size and position and changes with both.
    sides = np.abs(np.diff(truth.boxes_xywh[2:] - truth.boxes_xywh[:2]))[:, within]
    ends = np.abs(np.diff(truth.boxes_xywh[2:]))[:, within]
    if len(truth.sequences) < MANY_SEQUENCES and not np.nansum(sides) < MAX_SIDE_CHANGE * np.nansum(ends):
        return None
    return f"the boxes of the truth seem to be {WRITTEN[XYXY]}; if so, write them as {WRITTEN[XYWH]}"
