"""Scores of the pairs of a prompt and an annotated frame, as the referral challenge defines them.

First the pixels of the ignore mask are removed from ground truth and result, as the VOT toolkit's
`ReferralSequenceAccuracy` does it. The target is present if its mask has a pixel left, and the result is
*absent* if it has none left. The score of a pair is the IoU of the two masks, 1 where both are empty, and 0
where exactly one is.
"""

from collections.abc import Sequence as Rows
from dataclasses import dataclass

import numpy as np

from configs.errors import UserError
from data_prep.votsr.regions import ABSENT, EMPTY, Window, decode_window
from data_prep.votsr.truth import Truth


@dataclass(frozen=True)
class Result:
    """The result of one prompt: its name in messages, and its lines; None where there is no result."""

    name: str
    lines: list[str] | None


@dataclass(frozen=True, eq=False)
class Pairs:
    """The pairs of R results of one sequence with the T lines of its ground truth.

    `scores` is float64 (R, T), NaN where a frame is not annotated. `predicted_absent` bool (R, T): the result
    is empty. `absent` bool (T,): the frame is annotated, and no pixel of the target counts.
    """

    scores: np.ndarray
    predicted_absent: np.ndarray
    absent: np.ndarray

    @property
    def annotated(self) -> np.ndarray:
        """Which frames are annotated, bool (T,)."""
        annotated: np.ndarray = ~np.isnan(self.scores).all(axis=0)
        return annotated

    def of(self, rows: slice) -> "Pairs":
        """The pairs of some of the R results."""
        return Pairs(self.scores[rows], self.predicted_absent[rows], self.absent)


def score_pairs(truth: Truth, results: Rows[Result]) -> Pairs:
    """Score the results of one sequence. The ground truth of each frame is decoded once for all of them.

    Where a result has fewer lines than frames, the other frames are absent, as in the toolkit. Every pair of
    a missing result scores 0, also where the target is absent, and is not counted as *absent*. Raises
    UserError with file and line where a line cannot be parsed.
    """
    shape = len(results), len(truth.target)
    pairs = Pairs(np.full(shape, np.nan), np.zeros(shape, bool), np.zeros(shape[1], bool))
    for frame in truth.annotated():
        # Ignored pixels are removed before anything else, so they also decide whether the target is present.
        visible = frame.mask if frame.ignore is None else frame.mask & ~frame.ignore
        num_visible = int(np.count_nonzero(visible))
        pairs.absent[frame.index] = num_visible == 0
        for row, result in enumerate(results):
            # 0 stays for a missing result, which is no report of absence either.
            pairs.scores[row, frame.index] = 0.0
            if result.lines is not None:
                # Only the window around a mask is decoded. Most masks are small, so this is several times as
                # fast as whole frames.
                window = _window(result.name, result.lines, frame.index, truth)
                score, num_predicted = _scored(window, visible, num_visible, frame.ignore)
                pairs.scores[row, frame.index] = score
                pairs.predicted_absent[row, frame.index] = num_predicted == 0
    return pairs


def _window(name: str, lines: list[str], index: int, truth: Truth) -> Window:
    """The mask of a frame, as the window around its pixels."""
    line = lines[index] if index < len(lines) else ABSENT
    try:
        return decode_window(line, truth.size) or EMPTY
    except ValueError as fault:
        raise UserError(f"{name}:{index + 1}: {fault}; track this prompt again") from None


def _scored(
    window: Window, visible: np.ndarray, num_visible: int, ignore: np.ndarray | None
) -> tuple[float, int]:
    """The score of a result, and the number of its pixels that count.

    `window` is the part of the frame outside of which the result is empty. `visible` (height, width) are the
    true pixels that count, `num_visible` their number.
    """
    height, width = window.pixels.shape
    inside = (slice(window.top, window.top + height), slice(window.left, window.left + width))
    pixels = window.pixels if ignore is None else window.pixels & ~ignore[inside]
    num_predicted = int(np.count_nonzero(pixels))
    # The target is absent: 1 for an empty result, 0 for any other.
    if num_visible == 0:
        return float(num_predicted == 0), num_predicted
    # The union is never 0 here, because the target has pixels.
    shared = int(np.count_nonzero(pixels & visible[inside]))
    return shared / (num_visible + num_predicted - shared), num_predicted
