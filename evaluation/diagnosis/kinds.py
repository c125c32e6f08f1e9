"""The kinds of errors: what a tracker loses in each frame of a track, and why.

The score of a frame is the IoU of result and ground truth where the target is present. Where it is absent,
the score is 1 if the result is *absent*, else 0. The *loss* of a frame is 1 minus its score. Only frames with
known ground truth count. These words describe them:

- *reported*: the result has a mask (or a box), so it is not *absent*;
- *found*: the target is present and reported with an IoU of `SAME_OBJECT_IOU` or more, so the result is on
  the target and not on something else. (The metrics of `evaluation.absence` use a higher threshold.)
- a *visit*: consecutive frames in which the target is present. It ends with a frame in which it is absent.

Every frame with a loss is of the first kind of `KINDS` that applies, so kinds exclude each other. The last
one applies to every frame that is left, so the losses of all kinds add up to the whole loss.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

SAME_OBJECT_IOU = 0.1  # with less overlap, what is reported is mostly something else
NO_LOSS = -1


@dataclass(frozen=True, eq=False)
class TrackFrames:
    """The T frames of one track with known ground truth, in order.

    `scores` float64 (T,) are from 0 to 1. `present` and `reported` are bool (T,). In frames that are
    `missing`, bool (T,), there is no result at all, which is not a report of absence; they score 0.
    `frame_index` int64 (T,) counts the frames of the video from 0.
    """

    scores: np.ndarray
    present: np.ndarray
    reported: np.ndarray
    missing: np.ndarray
    frame_index: np.ndarray

    @property
    def losses(self) -> np.ndarray:
        """The loss of each frame, float64 (T,)."""
        return 1.0 - self.scores

    @cached_property
    def found(self) -> np.ndarray:
        """Where the target is found, bool (T,)."""
        return np.asarray(self.present & self.reported & (self.scores >= SAME_OBJECT_IOU))

    @cached_property
    def found_before(self) -> np.ndarray:
        """Where the target was found in an earlier frame of the track, bool (T,)."""
        return np.asarray(np.cumsum(self.found) > self.found)

    @cached_property
    def found_in_visit(self) -> np.ndarray:
        """Where the target was found in an earlier frame of the same visit, bool (T,)."""
        # Frames of one visit have seen the same number of absent frames.
        visit = np.cumsum(~self.present)
        earlier = np.cumsum(self.found) - self.found
        # The first frame with each number is the start of the visit, or the absent frame before it.
        _, starts, own = np.unique(visit, return_index=True, return_inverse=True)
        return np.asarray(self.present & (earlier > earlier[starts][own]))


@dataclass(frozen=True)
class Kind:
    """A kind of errors: its key in `diagnosis.json`, its title in tables, and what it means.

    `applies` says in which frames of a track the kind applies, bool (T,), if no earlier kind does.
    """

    key: str
    title: str
    meaning: str
    applies: Callable[[TrackFrames], np.ndarray]


KINDS = (
    Kind(
        "no_result",
        "No result",
        "There is no result of the frame, with missing=count. The loss is 1.",
        lambda track: track.missing,
    ),
    Kind(
        "false_presence",
        "False presence",
        "The target is absent and reported. The loss is 1.",
        lambda track: ~track.present & track.reported,
    ),
    Kind(
        "wrong_object",
        "Wrong object",
        f"The target is present, and what is reported overlaps it by less than {SAME_OBJECT_IOU:g}. "
        "The loss is 1 - IoU.",
        lambda track: track.reported & ~track.found,
    ),
    Kind(
        "poor_mask",
        "Poor mask",
        f"The target is found (IoU of {SAME_OBJECT_IOU:g} or more), but not with the true mask. "
        "The loss is 1 - IoU.",
        lambda track: track.reported,
    ),
    Kind(
        "never_found",
        "Never found",
        "The target is present and not reported, and it is found in no frame of the track. The loss is 1.",
        lambda track: np.full(len(track.scores), not track.found.any()),
    ),
    Kind(
        "late_detection",
        "Late detection",
        "The target is present and not reported, and it is found for the first time in a later frame. "
        "The loss is 1.",
        lambda track: ~track.found_before,
    ),
    Kind(
        "lost_early",
        "Lost early",
        "The target is present and not reported, though it was found since it appeared and has not left. "
        "The loss is 1.",
        lambda track: track.found_in_visit,
    ),
    Kind(
        "late_redetection",
        "Late re-detection",
        "The target is present and not reported. It was found before an absence, but not yet since it "
        "returned. The loss is 1.",
        lambda track: np.ones(len(track.scores), bool),
    ),
)
"""All kinds, in the order in which they are tried. A further kind is one more entry."""


def kinds_of(track: TrackFrames) -> np.ndarray:
    """The kind of each frame, int64 (T,), as an index into `KINDS`; `NO_LOSS` where nothing is lost."""
    # `select` takes the first condition that holds.
    conditions = [track.losses <= 0, *(kind.applies(track) for kind in KINDS)]
    numbers = np.select(conditions, [NO_LOSS, *range(len(KINDS))], NO_LOSS)
    return np.asarray(numbers, np.int64)
