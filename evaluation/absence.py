"""Metrics of absence: how well a tracker reports it, and how soon it finds a lost target again.

Only frames count in which it is known whether the target is there.

- Absence precision: of the frames in which the result is *absent*, the share in which the target is absent.
- Absence recall: of the frames in which the target is absent, the share in which the result is *absent*
  (OxUvA's true negative rate, https://arxiv.org/abs/1803.09502).

The target is *found* in a frame where it is visible and the result overlaps it by `FOUND_IOU` or more. It is
*lost* in two cases:

- It returns after an absence. The loss begins in the first frame in which it is visible again.
- It was found in the previous frame and is not found in this one, though it is visible, and this lasts for
  `MIN_LOSS_FRAMES` frames or more. (A single overlap below the threshold is no loss.) The loss begins in this
  frame.

A loss ends in the first frame in which the target is found. The time to re-detection is the number of frames
from the begin to the end of the loss: 0 where the target is found in the frame in which it returns. A loss is
open where the target leaves again, or the sequence ends, before it is found, because nobody knows how long it
would have duration. So two metrics belong together:

- `redetected`: of all losses, the share that ends;
- `redetection`: the mean time to re-detection of the losses that end, in frames.

Nothing is lost before the target is visible for the first time in a sequence. VOT-LT
(https://arxiv.org/abs/1804.07056) measures re-detection in sequences made for it, in which the target
reappears elsewhere once. Here every loss in ordinary sequences counts.
"""

from dataclasses import dataclass

import numpy as np

from evaluation.scores import Metric

FOUND_IOU = 0.5
MIN_LOSS_FRAMES = 10  # the shortest loss of a target that stays visible

METRICS = (
    Metric("absent_precision", "Absence precision", pooled=True),
    Metric("absent_recall", "Absence recall", pooled=True),
    Metric("redetected", "Re-detected", pooled=True),
    Metric("redetection", "Re-detection", higher_is_better=False, unit="frames", pooled=True),
)


@dataclass(frozen=True, eq=False)
class Losses:
    """All N losses in order.

    `segment` int64 (N,) is the number of the sequence, `frame` int64 (N,) the frame of that sequence in which
    the loss begins. `time` float64 (N,) is the time to re-detection in frames, NaN where the loss is open.
    `returned` bool (N,): the loss begins with the return of the target after an absence.
    """

    segment: np.ndarray
    frame: np.ndarray
    time: np.ndarray
    returned: np.ndarray


def absence_scores(
    starts: np.ndarray,
    absent: np.ndarray,
    predicted_absent: np.ndarray,
    found: np.ndarray,
    known: np.ndarray | None = None,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """The values of `METRICS` over all frames, and those of each sequence, float64 (S,); NaN where none
    counts.

    The frames of sequence `i` are those from `starts[i]` up to `starts[i + 1]`; `starts` is int64 (S + 1,).
    `absent`, `predicted_absent` and `found` are bool (F,). `found` is ignored in frames without the target.
    Frames that are not `known`, bool (F,), do not count, but the time to re-detection includes them.
    """
    # 1. The parts and totals of each ratio, as numbers of sequences: one entry for each frame or loss.
    count = len(starts) - 1
    known = np.ones(len(absent), bool) if known is None else known
    segment = np.repeat(np.arange(count), np.diff(starts))
    reported, absent_known = predicted_absent & known, absent & known
    lost = losses(starts, absent, found, known)
    ended = ~np.isnan(lost.time)
    parts = {
        "absent_precision": (segment[reported & absent_known], segment[reported], 100.0),
        "absent_recall": (segment[reported & absent_known], segment[absent_known], 100.0),
        "redetected": (lost.segment[ended], lost.segment, 100.0),
    }
    # 2. Count them for each sequence: (S,). Over all sequences, parts and totals are summed first.
    # The entries are numbers of sequences, so one `bincount` counts for all of them.
    shares: dict[str, tuple[np.ndarray, np.ndarray]] = {
        key: (factor * np.bincount(part, minlength=count), np.bincount(total, minlength=count))
        for key, (part, total, factor) in parts.items()
    }
    frames = np.bincount(lost.segment[ended], lost.time[ended], minlength=count)
    # The mean time is over losses that end, so its total is their number and not the number of all losses.
    shares["redetection"] = (frames, np.bincount(lost.segment[ended], minlength=count))
    overall = {key: _ratio(part.sum(), total.sum()).item() for key, (part, total) in shares.items()}
    return overall, {key: _ratio(part, total) for key, (part, total) in shares.items()}


def _ratio(part: np.ndarray, total: np.ndarray) -> np.ndarray:
    """The ratio, float64 of the same shape; NaN where the total is 0."""
    part, total = np.asarray(part, np.float64), np.asarray(total, np.float64)
    return np.divide(part, total, out=np.full(part.shape, np.nan), where=total > 0)


def losses(
    starts: np.ndarray, absent: np.ndarray, found: np.ndarray, known: np.ndarray | None = None
) -> Losses:
    """Every loss of the target, as the module defines it. The arrays are those of `absence_scores`."""
    # 1. Drop frames of which nothing is known. `first` marks the first frame of each sequence: (K,).
    at = np.arange(len(absent)) if known is None else np.flatnonzero(known)
    segment = np.searchsorted(starts, at, side="right") - 1
    visible = ~absent[at]
    is_found = found[at] & visible
    first = np.diff(segment, prepend=-1) != 0
    visible_before = _exclusive_sum(visible, segment, first) > 0
    before, found_one_before = _shifted(visible, first), _shifted(is_found, first)
    # 2. Candidates: the target returns, or it was found one frame before and is not any more.
    returned = visible & ~before & visible_before
    was_lost = visible & ~is_found & found_one_before
    # Indices of the frames in which a loss may begin: (N,).
    begins = np.flatnonzero(returned | was_lost)
    # 3. A loss ends in the next frame that finds the target, if the target stays visible until then.
    # Indices are among the K known frames. The first frame of the next sequence ends a loss too: the target
    # of this one cannot be found there.
    visible_until = _next(~visible | first, len(at))[begins]
    next_found = _next(is_found, len(at), inclusive=True)[begins]
    ended = next_found < visible_until
    # 4. Durations in frames of the video, and of the second kind of losses only the long ones.
    number = at - starts[segment]
    # An open loss lasts up to the last frame in which the target is visible.
    last = np.where(ended, next_found, visible_until - 1)
    duration = number[last] - number[begins]
    counts = returned[begins] | (duration + ~ended >= MIN_LOSS_FRAMES)  # an open loss includes its last frame
    time = np.where(ended, duration, np.nan)
    return Losses(segment[begins][counts], number[begins][counts], time[counts], returned[begins][counts])


def _shifted(flags: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The flags of the previous frame, False in the first frame of a sequence."""
    before = np.zeros_like(flags)
    before[1:] = flags[:-1]
    return before & ~first


def _exclusive_sum(flags: np.ndarray, segment: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The number of earlier frames of the same sequence with the flag."""
    # The running sum over all sequences, minus its value at the first frame of the own sequence. The
    # cumulative sum of `first` numbers the sequences that have known frames.
    total = np.cumsum(flags) - flags
    return total - total[np.flatnonzero(first)][np.cumsum(first) - 1] if segment.size else total


def _next(flags: np.ndarray, count: int, inclusive: bool = False) -> np.ndarray:
    """The index of the next flag after each frame, or from that frame on if `inclusive`; `count` if there is
    none.
    """
    # The running minimum, from the right, of the indices of flags.
    places = np.where(flags, np.arange(count), count)
    following = np.minimum.accumulate(places[::-1])[::-1]
    return following if inclusive else np.append(following[1:], count)
