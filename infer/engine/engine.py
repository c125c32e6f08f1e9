"""The engine: steps the tracks of one sequence together and batches their requests.

A frame is decoded once. The mask head encodes it once for all tracks, and only if one asks for a mask. All
questions that tracks ask the grounder at the same moment go into one batch.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from configs.errors import UserError
from data_prep.geometry import Box, Size, clamp, is_inside
from data_prep.votsr.regions import ABSENT, encode_mask
from infer.trackers.requests import Locate, Propagate, Report, Request, Segment, StartTrack, State, Track
from models.interfaces import Answer, FrameFeatures, Grounding, Masking, MaskResult, Question

Handler = Callable[["_Frame", Sequence[Any]], Sequence[Any]]
"""From the requests of one type to their replies, in order."""
ROUNDING = 1e-4  # by so much a probability may leave 0 to 1, as sums in a low precision do


@dataclass(frozen=True)
class Step:
    """One frame done: its number, its picture (RGB uint8), and a report of each track, in order."""

    index: int
    image: np.ndarray
    reports: list[Report]


class Engine:
    """Runs tracks through a grounder and a mask head.

    Each type of request has one handler. It answers all requests of its type that the tracks of a frame make
    at the same moment.
    """

    def __init__(self, grounding: Grounding, masking: Masking) -> None:
        self.grounding, self.masking = grounding, masking
        self._handlers: dict[type[Request], Handler] = {
            Locate: self._locate,
            Segment: self._segment,
            Propagate: self._propagate,
        }

    def check_expression(self, expression: str) -> None:
        """Raise UserError for an expression that the grounder cannot be asked about."""
        self.grounding.check_expression(expression)

    def run(self, frames: Iterable[np.ndarray], jobs: Sequence[tuple[str, StartTrack]]) -> Iterator[Step]:
        """Track through frames in order, yielding after each. A job is words and how to start their track."""
        tracks: list[Track] = []
        for index, image in enumerate(frames):
            if not tracks:
                tracks = [start(words, image) for words, start in jobs]
                requests = [next(track) for track in tracks]
            else:
                requests = [track.send(image) for track in tracks]
            yield Step(index, image, self._until_reported(image, tracks, requests))

    def _until_reported(
        self, image: np.ndarray, tracks: list[Track], requests: list[Request]
    ) -> list[Report]:
        """Answer requests, all that are open at once, until every track has reported this frame."""
        frame = _Frame(image, self.masking)
        while open_tracks := [i for i, request in enumerate(requests) if not isinstance(request, Report)]:
            replies = self._answer(frame, [requests[i] for i in open_tracks])
            for i, reply in zip(open_tracks, replies, strict=True):
                requests[i] = tracks[i].send(reply)
        return [request for request in requests if isinstance(request, Report)]

    def _answer(self, frame: "_Frame", requests: list[Request]) -> list[Any]:
        """The replies to requests of one moment, in their order."""
        places: dict[type[Request], list[int]] = {}
        for place, request in enumerate(requests):
            places.setdefault(type(request), []).append(place)
        replies: list[Any] = [None] * len(requests)
        for kind, its_places in places.items():
            answers = self._handlers[kind](frame, [requests[place] for place in its_places])
            for place, answer in zip(its_places, answers, strict=True):
                replies[place] = answer
        return replies

    def _locate(self, frame: "_Frame", requests: Sequence[Locate]) -> list[Answer]:
        image = frame.image
        answers = self.grounding.locate(
            [Question(image, ask.words, ask.template, ask.last_box_xyxy) for ask in requests]
        )
        size = (image.shape[1], image.shape[0])
        return [checked(answer, size, type(self.grounding).__name__) for answer in answers]

    def _segment(self, frame: "_Frame", requests: Sequence[Segment]) -> list[MaskResult]:
        features = frame.features
        return [self.masking.segment(features, each.box_xyxy, each.memory) for each in requests]

    def _propagate(self, frame: "_Frame", requests: Sequence[Propagate]) -> list[MaskResult]:
        features = frame.features
        return [self.masking.propagate(each.memory, features) for each in requests]


def checked(answer: Answer, size: Size, grounder: str) -> Answer:
    """An answer as trackers may rely on it: its box lies inside the frame, or there is none.

    `size` is the frame's (width, height). Raises UserError, naming the grounder, for a probability that is
    none and for a box with a corner that is no number.
    """
    for name, value in (("visible", answer.visible), ("box_confidence", answer.box_confidence)):
        if not -ROUNDING <= value <= 1 + ROUNDING:
            raise UserError(f"{grounder}: answered {name}={value}, which is no probability; check the model")
    visible, confidence = (min(max(value, 0.0), 1.0) for value in (answer.visible, answer.box_confidence))
    box = answer.box_xyxy
    if box is not None:
        if not all(map(math.isfinite, box)):
            raise UserError(f"{grounder}: answered the box {box}, which is no place; check the model")
        box = clamp(box, size) if is_inside(box, size) else None
    return replace(answer, visible=visible, box_xyxy=box, box_confidence=confidence)


class _Frame:
    """The current frame. Its features are computed once, when a track first asks for a mask."""

    def __init__(self, image: np.ndarray, masking: Masking) -> None:
        self.image, self._masking = image, masking

    @cached_property
    def features(self) -> FrameFeatures:
        return self._masking.encode(self.image)


@dataclass
class TrackLines:
    """One track: for every frame a line of VOTSr's results, and a box in pixels of the frame.

    The box is the mask's or the grounder's, as the tracker reported it; None where the target is absent.
    States and confidences are those of the reports.
    """

    masks: list[str] = field(default_factory=list)
    boxes_xyxy: list[Box | None] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)

    @property
    def absent(self) -> int:
        """Frames without the target."""
        return self.masks.count(ABSENT)


def take_down(step: Step, tracks: Sequence[TrackLines]) -> None:
    """Append each track's report of this frame."""
    for track, report in zip(tracks, step.reports, strict=True):
        line = encode_mask(report.mask)
        track.masks.append(line)
        track.boxes_xyxy.append(None if line == ABSENT else report.box_xyxy)
        track.states.append(report.state)
        track.confidences.append(report.confidence)
