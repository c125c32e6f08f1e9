"""Pictures of the frames in which two trackers differ most, for a report."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from evaluation.report.differences import Difference, most_different
from evaluation.report.frames import Place, comparison_picture
from evaluation.scores import Evaluation


@dataclass(frozen=True, eq=False)
class Look:
    """What is to be seen of a frame, and the place of the frame in its video, from 0.

    `frame` is RGB uint8 (height, width, 3); places are as in `comparison_picture`.
    """

    number: int
    frame: np.ndarray
    truth: Place
    results: Mapping[str, Place]
    words: str


@dataclass(frozen=True)
class FramePictures:
    """The `PictureSource` of a report: of at most `count` sequences a frame each.

    `look(sequence, frame, trackers)` gives what is to be seen; `sequence` and `frame` count from 0 as in
    `Benchmark.starts`.
    """

    evaluation: Evaluation
    look: Callable[[int, int, tuple[str, ...]], Look]
    count: int = 6

    def pictures(self, a: str, b: str) -> list[tuple[str, np.ndarray]]:
        """Where `a` and `b` differ most: captions and RGB uint8 (height, width, 3), the most first."""
        benchmark = self.evaluation.benchmark
        overlaps = {each.tracker: each.frame_overlap for each in self.evaluation.trackers}
        found = most_different(benchmark.starts, overlaps[a], overlaps[b], self.count)
        return [self._picture(each, a, b) for each in found]

    def _picture(self, place: Difference, a: str, b: str) -> tuple[str, np.ndarray]:
        look = self.look(place.sequence, place.frame, (a, b))
        overlaps = {a: place.first, b: place.second}
        picture = comparison_picture(look.frame, look.truth, look.results, look.words, overlaps)
        name = self.evaluation.benchmark.sequences[place.sequence]
        return f"{name}, frame {look.number + 1}: {a} {place.first:.2f}, {b} {place.second:.2f}", picture
