"""What the four numbers of a result are: x,y,w,h as protocols want them, or what other trackers write.

A result in another form scores low without any fault in its files. So a tracker's boxes of the first frames,
where it has hardly lost the target yet, are compared with the truth under each reading.
"""

import numpy as np

from evaluation.boxes.overlaps import exclusive_overlap
from evaluation.boxes.ragged import BoxResults, BoxTruth, is_box

XYWH, XYXY = "xywh", "xyxy"
WRITTEN = {XYWH: "x,y,w,h", XYXY: "x1,y1,x2,y2"}
SHARES = "shares of the frame's width and height"
FIRST = 20  # frames of a sequence that are looked at, after its first: that one is often the truth's own box
FEWEST = 5  # boxes to judge by
FITS = 0.6  # mean overlap with the truth from which on a reading fits
BETTER = 0.15  # by how much it must exceed that of the reading that is taken
MOSTLY = 0.8  # share of boxes that it must read better
NEARLY_ALL = 0.99  # share of true boxes
MANY = 10  # sequences, whose targets are never all in the upper left corner
STEADY = 0.5  # change of the sides over that of the far corner, of moving targets given by their corners
SMALLEST = 4.0  # pixels: where most true boxes are smaller, numbers up to 1 may well be pixels


def as_xywh(boxes: np.ndarray, form: str) -> np.ndarray:
    """Boxes (4, N) of a form as x,y,w,h; NaN stays, and four zeros, which say *absent*, too."""
    return boxes if form == XYWH else np.concatenate([boxes[:2], boxes[2:] - boxes[:2]])


def other_form(results: BoxResults, truth: BoxTruth, form: str = XYWH) -> tuple[str, str] | None:
    """What a tracker's numbers seem to be where they are not of `form`, and what to do; None: all is well.

    `results` hold the numbers as they stand in the files. Boxes that are merely wrong are no sign of another
    form: that one must fit the truth well in most frames, and clearly better.
    """
    frames = _compared(results, truth)
    if len(frames) < FEWEST:
        return None
    numbers, true_xywh = results.boxes_xywh[:, frames], truth.boxes_xywh[:, frames]
    if _are_shares(numbers, true_xywh):
        return f"{SHARES} (none is above 1)", "write them in pixels"
    other = XYXY if form == XYWH else XYWH
    taken, instead = (exclusive_overlap(_valid(as_xywh(numbers, each)), true_xywh) for each in (form, other))
    fits = instead.mean() >= max(FITS, taken.mean() + BETTER) and np.mean(instead > taken) >= MOSTLY
    if not fits:
        return None
    told = f"{instead.mean():.2f}, as {WRITTEN[form]} {taken.mean():.2f}"
    return f"{WRITTEN[other]} (in first frames their overlap with the truth is {told})", f"give boxes={other}"


def _compared(results: BoxResults, truth: BoxTruth) -> np.ndarray:
    """The frames whose boxes are compared, int64 (N,): early ones in which truth and result have a box."""
    starts, lengths = truth.starts[:-1], truth.lengths
    places = starts[:, None] + np.arange(1, FIRST + 1)
    frames = places[np.arange(1, FIRST + 1) < lengths[:, None]]
    with np.errstate(invalid="ignore"):
        kept = is_box(truth.boxes_xywh[:, frames]) & is_box(results.boxes_xywh[:, frames])
    kept &= np.isfinite(results.boxes_xywh[:, frames]).all(axis=0)
    if truth.absent is not None:
        kept &= ~truth.absent[frames]
    return np.asarray(frames[kept])


def _are_shares(numbers: np.ndarray, true_xywh: np.ndarray) -> bool:
    """Whether numbers (4, N) are between 0 and 1, and not whole as pixels of a corner would be."""
    small = (np.abs(numbers) <= 1).all(axis=0)
    broken = (numbers != np.rint(numbers)).any(axis=0)
    large = np.median(true_xywh[2:].max(axis=0)) >= SMALLEST
    return bool(large and small.all() and broken.mean() >= MOSTLY)


def _valid(boxes_xywh: np.ndarray) -> np.ndarray:
    """Boxes (4, N) with those turned inside out made empty, so that they overlap nothing."""
    return np.where((boxes_xywh[2:] > 0).all(axis=0), boxes_xywh, 0.0)


def truth_note(truth: BoxTruth) -> str | None:
    """A note where the boxes of a truth seem to be no x,y,w,h in pixels; None where all is well.

    Corners x1,y1,x2,y2 give themselves away: the second one lies to the lower right of the first in nearly
    every frame. That counts where it holds for many sequences, or where targets move and the difference of
    the corners changes less than the second one does.
    """
    boxes = truth.boxes_xywh[:, is_box(truth.boxes_xywh) & np.isfinite(truth.boxes_xywh).all(axis=0)]
    if boxes.shape[1] < FEWEST:
        return None
    if np.abs(boxes).max() <= 1 and (boxes != np.rint(boxes)).any(axis=0).mean() >= MOSTLY:
        return (
            f"the boxes of the truth seem to be {SHARES} (none is above 1); write them as x,y,w,h in pixels"
        )
    if (boxes[2:] > boxes[:2]).all(axis=0).mean() < NEARLY_ALL:
        return None
    within = np.ones(truth.num_frames - 1, bool)
    within[truth.starts[1:-1] - 1] = False  # from the last frame of a sequence to the first of the next
    sides = np.abs(np.diff(truth.boxes_xywh[2:] - truth.boxes_xywh[:2]))[:, within]
    ends = np.abs(np.diff(truth.boxes_xywh[2:]))[:, within]
    if len(truth.sequences) < MANY and not np.nansum(sides) < STEADY * np.nansum(ends):
        return None
    return f"the boxes of the truth seem to be {WRITTEN[XYXY]}; if so, write them as {WRITTEN[XYWH]}"
