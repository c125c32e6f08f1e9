"""The engine: steps the tracks of one sequence together and batches what they ask.

A frame is decoded once. The mask head encodes it once, for all tracks, and only when one asks. All
questions to the grounder that tracks ask at the same moment go into one batch.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from configs.errors import UserError
from data_prep.geometry import Size, clamp, is_inside
from infer.requests import Locate, Propagate, Report, Request, Segment, StartTrack, Track
from models.grounder import Answer, Grounder
from models.mask_head.sam2 import Features, MaskHead, MaskResult
from models.questions import Question

ROUNDING = 1e-4  # by so much a probability may leave 0 to 1, as sums in a low precision do


@dataclass(frozen=True)
class Step:
    """One frame done: its number, its picture (RGB uint8), and a report of each track, in order."""

    index: int
    image: np.ndarray
    reports: list[Report]


class Engine:
    """Runs tracks through a grounder and a mask head."""

    def __init__(self, grounder: Grounder, mask_head: MaskHead) -> None:
        self.grounder, self.mask_head = grounder, mask_head

    def check_words(self, words: str) -> None:
        """Raise UserError for words that the grounder cannot be asked for."""
        self.grounder.check_words(words)

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
        frame = _Frame(image, self.mask_head)
        while open_tracks := [i for i, request in enumerate(requests) if not isinstance(request, Report)]:
            for i, reply in zip(
                open_tracks, self._answer(frame, [requests[i] for i in open_tracks]), strict=True
            ):
                requests[i] = tracks[i].send(reply)
        return [request for request in requests if isinstance(request, Report)]

    def _answer(self, frame: "_Frame", requests: list[Request]) -> list[Any]:
        """The replies to requests of one moment, in their order."""
        asked = [request for request in requests if isinstance(request, Locate)]
        answers = iter(self._locate(frame.image, asked))
        return [next(answers) if isinstance(request, Locate) else frame.mask(request) for request in requests]

    def _locate(self, image: np.ndarray, asked: list[Locate]) -> list[Answer]:
        if not asked:
            return []
        answers = self.grounder.locate(
            [Question(image, ask.words, ask.template, ask.last_box_xyxy) for ask in asked]
        )
        size = (image.shape[1], image.shape[0])
        return [checked(answer, size, type(self.grounder).__name__) for answer in answers]


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
    """The current frame; its features are made when first asked for."""

    def __init__(self, image: np.ndarray, mask_head: MaskHead) -> None:
        self.image, self._mask_head = image, mask_head
        self._features: Features | None = None

    def mask(self, request: Request) -> MaskResult:
        if self._features is None:
            self._features = self._mask_head.encode(self.image)
        if isinstance(request, Segment):
            return self._mask_head.segment(self._features, request.box_xyxy, request.memory)
        assert isinstance(request, Propagate)
        return self._mask_head.propagate(request.memory, self._features)
