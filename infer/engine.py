"""The engine: steps the tracks of one sequence together and batches what they ask.

A frame is decoded once. The mask head encodes it once, for all tracks, and only when one asks. All
questions to the grounder that tracks ask at the same moment go into one batch.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from infer.requests import Locate, Propagate, Report, Request, Segment, StartTrack, Track
from models.grounder import Answer, Grounder
from models.mask_head import Features, MaskHead, MaskResult
from models.questions import Question


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
        return self.grounder.locate(
            [Question(image, ask.words, ask.template, ask.last_box_xyxy) for ask in asked]
        )


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
