"""How well absence is told, and how soon a lost target is found again.

Of all frames in which it is known whether the target is there:

- absence precision: of those in which the result says *absent*, the share in which the target is absent;
- absence recall: of those in which the target is absent, the share in which the result says so
  (OxUvA's true negative rate, https://arxiv.org/abs/1803.09502).

A target is *found* in a frame that shows it where the result overlaps it by at least one half, and *lost*

- when it comes back after an absence: the loss counts from its first frame that shows it again;
- when a frame that shows it does not find it though the one before did, and it stays so for `WHILE` frames
  or more, since one wobble under one half is no loss: the loss counts from that frame.

A loss ends in the first frame that finds the target; the time to re-detection is that frame's number less
the one that the loss counts from, 0 where the target is found as it comes back. A loss is open where the
target leaves again, or the sequence ends, before it is found: nobody knows how long it would have lasted.
So two figures belong together:

- `redetected`: of all losses, the share that ends;
- `redetection`: the mean time to re-detection, in frames, of those that end.

Before a sequence first shows its target nothing is lost, nor before a result has found it or it was away.
VOT-LT (https://arxiv.org/abs/1804.07056) counts the same frames in sequences made for it, in which a target
reappears elsewhere once and any tracker has lost it; here they are counted wherever they occur.
"""

from dataclasses import dataclass

import numpy as np

from evaluation.scores import Metric

FOUND = 0.5  # the overlap from which on a target is found
WHILE = 10  # frames that a target must stay lost, where it was there all the time

METRICS = (
    Metric("absent_precision", "Absence precision", pooled=True),
    Metric("absent_recall", "Absence recall", pooled=True),
    Metric("redetected", "Re-detected", pooled=True),
    Metric("redetection", "Re-detection", higher_is_better=False, unit="frames", pooled=True),
)


@dataclass(frozen=True, eq=False)
class Losses:
    """All losses, in order: whose they are, and how long they last.

    `segment` int64 (N,): which sequence; `frame` int64 (N,): the frame of it that the loss counts from;
    `time` float64 (N,): frames to re-detection, NaN where the loss is open.
    """

    segment: np.ndarray
    frame: np.ndarray
    time: np.ndarray


def absence_scores(
    starts: np.ndarray,
    absent: np.ndarray,
    said_absent: np.ndarray,
    found: np.ndarray,
    known: np.ndarray | None = None,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """The figures of `METRICS` over all frames, and of each sequence, float64 (S,); NaN over nothing.

    A sequence's frames are those from its place in `starts`, int64 (S + 1,), up to the next. `absent`,
    `said_absent` and `found` are bool (F,); what `found` says of a frame without target does not count.
    Frames that are not `known`, bool (F,), do not count but as time that passes.
    """
    count = len(starts) - 1
    known = np.ones(len(absent), bool) if known is None else known
    segment = np.repeat(np.arange(count), np.diff(starts))
    said, away = said_absent & known, absent & known
    lost = losses(starts, absent, found, known)
    ended = ~np.isnan(lost.time)
    parts = {
        "absent_precision": (segment[said & away], segment[said], 100.0),
        "absent_recall": (segment[said & away], segment[away], 100.0),
        "redetected": (lost.segment[ended], lost.segment, 100.0),
    }
    shares: dict[str, tuple[np.ndarray, np.ndarray]] = {
        key: (factor * np.bincount(part, minlength=count), np.bincount(whole, minlength=count))
        for key, (part, whole, factor) in parts.items()
    }
    frames = np.bincount(lost.segment[ended], lost.time[ended], minlength=count)
    shares["redetection"] = (frames, np.bincount(lost.segment[ended], minlength=count))
    overall = {key: _ratio(part.sum(), whole.sum()).item() for key, (part, whole) in shares.items()}
    return overall, {key: _ratio(part, whole) for key, (part, whole) in shares.items()}


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Float64 of the same shape; NaN where the whole is nothing."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def losses(
    starts: np.ndarray, absent: np.ndarray, found: np.ndarray, known: np.ndarray | None = None
) -> Losses:
    """Every loss of the target, as above. The arrays are those of `absence_scores`."""
    at = np.arange(len(absent)) if known is None else np.flatnonzero(known)
    segment = np.searchsorted(starts, at, side="right") - 1
    shown = ~absent[at]
    held = found[at] & shown
    first = np.diff(segment, prepend=-1) != 0
    shown_before = _exclusive_sum(shown, segment, first) > 0
    before, held_before = _shifted(shown, first), _shifted(held, first)
    back = shown & ~before & shown_before
    slipped = shown & ~held & held_before
    begins = np.flatnonzero(back | slipped)
    stretch_end = _next(~shown | first, len(at))[begins]
    next_held = _next(held, len(at), inclusive=True)[begins]
    ended = next_held < stretch_end
    number = at - starts[segment]
    last = np.where(ended, next_held, stretch_end - 1)
    lasted = number[last] - number[begins]
    counts = back[begins] | (lasted + ~ended >= WHILE)  # an open loss lasts through its last frame
    time = np.where(ended, lasted, np.nan)
    return Losses(segment[begins][counts], number[begins][counts], time[counts])


def _shifted(flags: np.ndarray, first: np.ndarray) -> np.ndarray:
    """What was so one frame before; not so in a sequence's first."""
    before = np.zeros_like(flags)
    before[1:] = flags[:-1]
    return before & ~first


def _exclusive_sum(flags: np.ndarray, segment: np.ndarray, first: np.ndarray) -> np.ndarray:
    """How many frames of the same sequence before each had the flag."""
    total = np.cumsum(flags) - flags
    return total - total[np.flatnonzero(first)][np.cumsum(first) - 1] if segment.size else total


def _next(flags: np.ndarray, count: int, inclusive: bool = False) -> np.ndarray:
    """The place of the next flag after each frame, or from it on where `inclusive`; `count` for none."""
    places = np.where(flags, np.arange(count), count)
    following = np.minimum.accumulate(places[::-1])[::-1]
    return following if inclusive else np.append(following[1:], count)
