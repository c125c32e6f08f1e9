"""What each kind of errors costs a tracker, over all of its tracks or some of them, in points of 100."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from evaluation.absence import FOUND_IOU, losses
from evaluation.diagnosis.kinds import KINDS, NO_LOSS, SAME_OBJECT_IOU, kinds_of
from evaluation.diagnosis.tracks import Track
from evaluation.report.frame_selection import middle_of_longest_run

IOU_EDGES = (SAME_OBJECT_IOU, 0.5, 0.7, 0.9, 1.0)
POOR_MASK = next(number for number, kind in enumerate(KINDS) if kind.key == "poor_mask")


@dataclass(frozen=True, eq=False)
class Cost:
    """What some tracks of one tracker lose, for each of the K `KINDS`, each an array (K,).

    `loss` float64 is in points: `score` and all losses sum to 100. `tracks` and `frames` int64 are the
    numbers of tracks and frames with a loss of this kind.
    """

    num_tracks: int
    score: float
    loss: np.ndarray
    tracks: np.ndarray
    frames: np.ndarray


@dataclass(frozen=True)
class Redetection:
    """Losses of the target that end when it is found again (see `evaluation.absence`).

    Of `count` losses, `ended` ended. `median_frames` is the median time of all until then, in which a loss
    that does not end is longer than any other: infinite where half of them or more do not end, NaN where
    there is none.
    """

    count: int
    ended: int
    median_frames: float

    @classmethod
    def of(cls, times: np.ndarray) -> "Redetection":
        """From the times (N,) of `evaluation.absence.Losses`, NaN where a loss does not end."""
        ended = int(np.count_nonzero(~np.isnan(times)))
        # The larger of two middle values. So where half of the losses do not end, the median is infinite.
        ordered = np.sort(np.where(np.isnan(times), np.inf, times))
        middle = float(ordered[len(times) // 2]) if len(times) else np.nan
        return cls(len(times), ended, middle)


@dataclass(frozen=True)
class Band:
    """Loss in points and number of frames whose IoU is from `low` up to but not including `high`."""

    low: float
    high: float
    loss: float
    frames: int


@dataclass(frozen=True)
class ReasonCost:
    """Loss in points and number of the frames of one kind for which the tracker gives these reasons.

    `why` is `evaluation.diagnosis.traces.Why.text`, and `kind` a number of `KINDS`.
    """

    kind: int
    why: str
    loss: float
    frames: int


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """The N tracks of one tracker with the kinds of their frames.

    `kinds` holds int64 (T,) for each track, from `kinds_of`.
    """

    tracker: str
    tracks: tuple[Track, ...]
    kinds: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, tracker: str, tracks: tuple[Track, ...]) -> "Diagnosis":
        """Find the kinds of all frames."""
        return cls(tracker, tracks, tuple(kinds_of(track.frames) for track in tracks))

    @cached_property
    def track_losses(self) -> np.ndarray:
        """The loss of each track by kind in points of its own score, float64 (N, K)."""
        parts = [
            np.bincount(kinds[kinds >= 0], track.frames.losses[kinds >= 0], len(KINDS)) / len(kinds)
            for track, kinds in zip(self.tracks, self.kinds, strict=True)
        ]
        return 100 * np.array(parts)

    @cached_property
    def track_frames(self) -> np.ndarray:
        """The number of frames of each track by kind, int64 (N, K)."""
        return np.array([np.bincount(kinds[kinds >= 0], minlength=len(KINDS)) for kinds in self.kinds])

    @cached_property
    def weights(self) -> np.ndarray:
        """The weights of tracks, float64 (N,); their sum is 1."""
        return np.array([track.weight for track in self.tracks])

    def cost(self, chosen: Sequence[int] | None = None) -> Cost:
        """What the tracks with these numbers (None: all) lose in points of their own score."""
        rows = np.arange(len(self.tracks)) if chosen is None else np.asarray(chosen)
        shares = self.weights[rows] / self.weights[rows].sum()
        frames = self.track_frames[rows]
        scores = np.array([100 * self.tracks[row].frames.scores.mean() for row in rows])
        return Cost(
            len(rows),
            float(shares @ scores),
            shares @ self.track_losses[rows],
            (frames > 0).sum(axis=0),
            frames.sum(axis=0),
        )

    def poor_masks(self) -> list[Band]:
        """What poor masks cost, in bands of their IoU: many lose a little at the border, few a part."""
        loss, frames = np.zeros(len(IOU_EDGES) - 1), np.zeros(len(IOU_EDGES) - 1, np.int64)
        for track, kinds, weight in zip(self.tracks, self.kinds, self.weights, strict=True):
            scores = track.frames.scores[kinds == POOR_MASK]
            # A band includes its lower edge.
            bands = np.searchsorted(IOU_EDGES, scores, side="right") - 1
            loss += 100 * weight / len(kinds) * np.bincount(bands, 1 - scores, len(loss))
            frames += np.bincount(bands, minlength=len(loss))
        return [
            Band(low, high, float(points), int(count))
            for (low, high), points, count in zip(pairwise(IOU_EDGES), loss, frames, strict=True)
        ]

    def groups(self) -> dict[str, dict[str, list[int]]]:
        """The numbers of the tracks in each group, by grouping and group; both in the order of the tracks."""
        found: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for number, track in enumerate(self.tracks):
            for grouping, group in track.groups.items():
                found[grouping][group].append(number)
        return {grouping: dict(groups) for grouping, groups in found.items()}

    def worst(self, kind: int | None = None) -> list[int]:
        """The numbers of the tracks with a loss (of one kind), the one that costs most first."""
        own = self.track_losses.sum(axis=1) if kind is None else self.track_losses[:, kind]
        costs = self.weights * own
        return [int(row) for row in np.argsort(-costs, kind="stable") if costs[row] > 0]

    def stretches(self, track: int, kind: int) -> list[tuple[int, int]]:
        """The first and last frame of each stretch of one kind in a track, counted from 0, in order."""
        places = np.flatnonzero(self.kinds[track] == kind)
        # A stretch ends where the next place is not the following frame with known truth.
        ends = np.flatnonzero(np.diff(places) != 1) + 1
        bounds = [0, *ends.tolist(), len(places)]
        index = self.tracks[track].frames.frame_index
        return [
            (int(index[places[first]]), int(index[places[stop - 1]]))
            for first, stop in pairwise(bounds)
            if stop > first
        ]

    def worst_frame(self, track: int, kind: int) -> int:
        """The place of the frame of a track that loses most by a kind, among the frames with known truth.

        Of consecutive frames that lose as much it is the middle one.
        """
        lost = np.where(self.kinds[track] == kind, self.tracks[track].frames.losses, -1.0)
        return middle_of_longest_run(np.flatnonzero(lost == lost.max()))

    def reasons(self) -> list[ReasonCost]:
        """What each kind costs by what the tracker says of these frames, the largest cost first.

        Only tracks with a trace count.
        """
        found: dict[tuple[int, str], list[float]] = defaultdict(list)
        for track, kinds in zip(self.tracks, self.kinds, strict=True):
            if not track.why:
                continue
            points = 100 * track.weight / len(kinds) * track.frames.losses
            for at in np.flatnonzero(kinds != NO_LOSS).tolist():
                found[int(kinds[at]), track.why[at].text].append(float(points[at]))
        costs = [ReasonCost(kind, text, sum(each), len(each)) for (kind, text), each in found.items()]
        return sorted(costs, key=lambda each: -each.loss)

    def redetections(self) -> tuple[Redetection, Redetection]:
        """How soon the target is found after it returned, and after it was lost while present.

        Here it is found with an IoU of `FOUND_IOU`, as in the metrics of absence.
        """
        # 1. All tracks as one array of frames of the videos, as `losses` takes them.
        lengths = [int(track.frames.frame_index[-1]) + 1 for track in self.tracks]
        starts = np.cumsum([0, *lengths])
        absent, found, known = (np.zeros(starts[-1], bool) for _ in range(3))
        for start, track in zip(starts[:-1], self.tracks, strict=True):
            frames = track.frames
            at = start + frames.frame_index
            absent[at] = ~frames.present
            found[at] = frames.present & frames.reported & (frames.scores >= FOUND_IOU)
            known[at] = ~frames.missing
        # 2. Times of both kinds of losses.
        lost = losses(starts, absent, found, known)
        return Redetection.of(lost.time[lost.returned]), Redetection.of(lost.time[~lost.returned])
