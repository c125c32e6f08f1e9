"""The selection of the frames in which two trackers differ most, and their pictures for a report."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from evaluation.report.frame_drawing import comparison_picture
from evaluation.scores import Evaluation, FrameSource


@dataclass(frozen=True)
class Difference:
    """The numbers of a sequence and of a frame in it, from 0, and the overlaps of two trackers there."""

    sequence: int
    frame: int
    first: float
    second: float


def most_different(starts: np.ndarray, first: np.ndarray, second: np.ndarray, count: int) -> list[Difference]:
    """At most `count` frames in which the overlaps of two trackers differ, the largest difference first.

    `starts` int64 (S + 1,), `first` and `second` float (F,) are as in `evaluation.scores`. Frames where one
    of the overlaps is NaN do not count. At most one frame of a sequence is chosen. The first tracker is
    better in one half of the frames and the second in the other half, as far as there are such frames. Of
    consecutive frames with equal differences the middle one is taken.
    """
    if not first.size or not second.size:
        return []
    # 1. For each of the two trackers: the best frame of each sequence in which it is better.
    # (F,): above 0 where the first tracker is better. NaN becomes 0, which is in neither list.
    gain = np.nan_to_num(first.astype(np.float64) - second)
    sides = [_best(starts, sign * gain) for sign in (1, -1)]
    # 2. Take frames from both lists in turn. `sides` is reversed when a frame was taken.
    chosen: dict[int, tuple[float, int]] = {}
    while len(chosen) < count and any(sides):
        side = sides[0] if sides[0] else sides[1]
        sequence, frame, size = side.pop(0)
        if sequence not in chosen:
            chosen[sequence] = (size, frame)
            sides.reverse()
    found = sorted(chosen.items(), key=lambda item: (-item[1][0], item[0]))
    return [
        Difference(sequence, frame - int(starts[sequence]), float(first[frame]), float(second[frame]))
        for sequence, (_, frame) in found
    ]


def _best(starts: np.ndarray, gain: np.ndarray) -> list[tuple[int, int, float]]:
    """(sequence, frame, gain) of the largest gain of each sequence that has one; the largest first."""
    found = []
    for number, (start, stop) in enumerate(pairwise(starts)):
        part = gain[start:stop]
        # NaN was replaced by 0, which is no gain.
        if part.size and part.max() > 0:
            found.append(
                (
                    number,
                    int(start) + middle_of_longest_run(np.flatnonzero(part == part.max())),
                    float(part.max()),
                )
            )
    return sorted(found, key=lambda each: -each[2])


def middle_of_longest_run(places: np.ndarray) -> int:
    """The middle of the longest run of consecutive numbers in `places`; of equally long runs the first."""
    # A run ends where the next number is not one higher.
    runs = np.split(places, np.flatnonzero(np.diff(places) != 1) + 1)
    longest = max(runs, key=len)
    return int(longest[(len(longest) - 1) // 2])


class PictureSource(Protocol):
    """Draws frames of a benchmark with the results of trackers."""

    def pictures(self, a: str, b: str) -> list[tuple[str, np.ndarray]]:
        """Pictures of frames in which trackers `a` and `b` differ most, the largest difference first.

        Each is a pair of a caption and an image, RGB uint8 (height, width, 3).
        """
        ...


@dataclass(frozen=True)
class FramePictures:
    """The `PictureSource` of a report: at most `count` frames, each of another sequence."""

    evaluation: Evaluation
    source: FrameSource
    count: int = 6

    def pictures(self, a: str, b: str) -> list[tuple[str, np.ndarray]]:
        """See `PictureSource`."""
        benchmark = self.evaluation.benchmark
        overlaps = {each.tracker: each.frame_overlap for each in self.evaluation.trackers}
        found = most_different(benchmark.starts, overlaps[a], overlaps[b], self.count)
        return [self._picture(each, a, b) for each in found]

    def _picture(self, place: Difference, a: str, b: str) -> tuple[str, np.ndarray]:
        view = self.source(place.sequence, place.frame, (a, b))
        overlaps = {a: place.first, b: place.second}
        picture = comparison_picture(view.image, view.truth, view.results, view.expression, overlaps)
        name = self.evaluation.benchmark.sequences[place.sequence]
        return f"{name}, frame {view.frame_index + 1}: {a} {place.first:.2f}, {b} {place.second:.2f}", picture
