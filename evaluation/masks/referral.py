"""The referral challenge's pairs of a prompt and an annotated frame, scored one by one.

Pixels of the ignore mask are dropped from truth and result first, as the VOT toolkit's
`ReferralSequenceAccuracy` does; what is left decides whether the target is present and whether the result
says so. A pair scores the IoU of the two masks, 1 where both are empty and 0 where one is.
"""

from collections.abc import Sequence as Rows
from dataclasses import dataclass

import numpy as np

from configs.errors import UserError
from data_prep.votsr.regions import ABSENT, EMPTY, Window, decode_window
from data_prep.votsr.truth import Truth


@dataclass(frozen=True)
class Result:
    """The lines of one prompt's result and what errors call it; without lines it is missing."""

    name: str
    lines: list[str] | None


@dataclass(frozen=True, eq=False)
class Pairs:
    """The pairs of some results of one sequence, for the T lines of its truth.

    `scores` float64 (R, T), NaN where the frame is not annotated; `said_absent` bool (R, T): the result is
    empty; `absent` bool (T,): annotated, and the target has no pixel that counts.
    """

    scores: np.ndarray
    said_absent: np.ndarray
    absent: np.ndarray

    @property
    def annotated(self) -> np.ndarray:
        """Which frames are annotated, bool (T,)."""
        told: np.ndarray = ~np.isnan(self.scores).all(axis=0)
        return told

    def of(self, rows: slice) -> "Pairs":
        """The pairs of some of the results."""
        return Pairs(self.scores[rows], self.said_absent[rows], self.absent)


def score_pairs(truth: Truth, results: Rows[Result]) -> Pairs:
    """Score results of the sequence that the truth is of; each frame's truth is decoded once for all.

    Where a result has fewer lines than frames the rest is absent, as in the toolkit. Every pair of a
    missing one scores 0, also where the target is absent, and says nothing of absence. Raises UserError
    naming file and line where one does not parse.
    """
    shape = len(results), len(truth.target)
    pairs = Pairs(np.full(shape, np.nan), np.zeros(shape, bool), np.zeros(shape[1], bool))
    for frame in truth.annotated():
        visible = frame.mask if frame.ignore is None else frame.mask & ~frame.ignore
        num_visible = int(np.count_nonzero(visible))
        pairs.absent[frame.index] = num_visible == 0
        for row, result in enumerate(results):
            pairs.scores[row, frame.index] = 0.0
            if result.lines is not None:
                window = _window(result.name, result.lines, frame.index, truth)
                score, num_said = _scored(window, visible, num_visible, frame.ignore)
                pairs.scores[row, frame.index] = score
                pairs.said_absent[row, frame.index] = num_said == 0
    return pairs


def _window(name: str, lines: list[str], index: int, truth: Truth) -> Window:
    line = lines[index] if index < len(lines) else ABSENT
    try:
        return decode_window(line, truth.size) or EMPTY
    except ValueError as fault:
        raise UserError(f"{name}:{index + 1}: {fault}; track this prompt again") from None


def _scored(
    window: Window, visible: np.ndarray, num_visible: int, ignore: np.ndarray | None
) -> tuple[float, int]:
    """The score of a result's window against the true pixels that count, and how many of its own count."""
    height, width = window.pixels.shape
    there = (slice(window.top, window.top + height), slice(window.left, window.left + width))
    pixels = window.pixels if ignore is None else window.pixels & ~ignore[there]
    num_said = int(np.count_nonzero(pixels))
    if num_visible == 0:
        return float(num_said == 0), num_said
    shared = int(np.count_nonzero(pixels & visible[there]))
    return shared / (num_visible + num_said - shared), num_said
