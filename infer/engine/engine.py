"""The engine: runs the tracks of one sequence frame by frame and batches their requests.

Each frame is decoded once. The mask head encodes it once for all tracks, and only if a track asks for a mask.
All questions that tracks ask the grounder at the same moment form one batch.
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
"""Maps the requests of one type to their replies, in order."""
# A probability that was summed in low precision may leave 0 to 1 by this much.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Step:
    """One finished frame: its index, its image (RGB uint8), and the report of each track, in order."""

    frame_index: int
    image: np.ndarray
    reports: list[Report]


@dataclass
class Trajectory:
    """The result of one track, with one entry per frame in every list.

    `masks` are lines of VOTSr's result format, which encode a mask in a few hundred bytes. `boxes_xyxy` are
    in pixels of the frame, None where the target is absent. States and confidences are those of the reports.
    """

    masks: list[str] = field(default_factory=list)
    boxes_xyxy: list[Box | None] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)

    @property
    def num_absent(self) -> int:
        """The number of frames in which the target is absent."""
        return self.masks.count(ABSENT)

    def append(self, report: Report) -> None:
        """Add the report of the next frame."""
        # Encoded at once: the arrays of all masks of a long video would not fit into memory.
        line = encode_mask(report.mask)
        self.masks.append(line)
        self.boxes_xyxy.append(None if line == ABSENT else report.box_xyxy)
        self.states.append(report.state)
        self.confidences.append(report.confidence)


class Engine:
    """Runs tracks with a grounder and a mask head.

    There is one handler for each type of request. It answers all requests of its type that the tracks make
    at the same moment. A new type of request needs a dataclass in `infer.trackers.requests` and a handler.
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

    def run(self, frames: Iterable[np.ndarray], starts: Sequence[StartTrack]) -> Iterator[Step]:
        """Run one track per start function through the frames, in order, and yield after each frame."""
        tracks: list[Track] = []
        for frame_index, image in enumerate(frames):
            # 1. Hand the frame to the tracks. Each runs to its first request about this frame.
            if not tracks:
                tracks = [start(image) for start in starts]
                requests = [next(track) for track in tracks]
            else:
                requests = [track.send(image) for track in tracks]
            # 2. Answer requests until every track has reported the frame.
            yield Step(frame_index, image, self._answer_until_reported(image, tracks, requests))

    def _answer_until_reported(
        self, image: np.ndarray, tracks: list[Track], requests: list[Request]
    ) -> list[Report]:
        """Answer rounds of requests, one request per track that has not reported, until all have reported."""
        # Tracks that have reported wait for the others, because the next frame is sent to all at once.
        frame = _Frame(image, self.masking)
        while pending := [i for i, request in enumerate(requests) if not isinstance(request, Report)]:
            replies = self._answer(frame, [requests[i] for i in pending])
            for i, reply in zip(pending, replies, strict=True):
                requests[i] = tracks[i].send(reply)
        return [request for request in requests if isinstance(request, Report)]

    def _answer(self, frame: "_Frame", requests: list[Request]) -> list[Any]:
        """The replies to the requests of one round, in their order."""
        # 1. Group the positions of the requests by type.
        positions: dict[type[Request], list[int]] = {}
        for position, request in enumerate(requests):
            positions.setdefault(type(request), []).append(position)
        # 2. Answer each group as one batch, and put the replies back at their positions.
        replies: list[Any] = [None] * len(requests)
        for request_type, of_type in positions.items():
            answers = self._handlers[request_type](frame, [requests[position] for position in of_type])
            for position, answer in zip(of_type, answers, strict=True):
                replies[position] = answer
        return replies

    def _locate(self, frame: "_Frame", requests: Sequence[Locate]) -> list[Answer]:
        image = frame.image
        questions = [
            Question(
                image,
                each.expression,
                each.template,
                each.visual_prompt_xyxy,
                template_box_xyxy=each.template_box_xyxy,
            )
            for each in requests
        ]
        answers = self.grounding.locate(questions)
        # Answers are validated here, once for all trackers and all backends.
        size = (image.shape[1], image.shape[0])
        return [validate_answer(answer, size, type(self.grounding).__name__) for answer in answers]

    def _segment(self, frame: "_Frame", requests: Sequence[Segment]) -> list[MaskResult]:
        boxes = [each.box_xyxy for each in requests]
        return self.masking.segment(frame.features, boxes, [each.memory for each in requests])

    def _propagate(self, frame: "_Frame", requests: Sequence[Propagate]) -> list[MaskResult]:
        return self.masking.propagate([each.memory for each in requests], frame.features)


def validate_answer(answer: Answer, size: Size, grounder: str) -> Answer:
    """The answer with its probabilities between 0 and 1 and its box clipped to the frame.

    `size` is the (width, height) of the frame. A box that lies outside the frame becomes None. Raises
    UserError, which names the grounder, if a number is not a probability or not finite: trackers compare
    these numbers with thresholds, and with NaN they would go on without an error.
    """
    for name, value in (("visible", answer.visible), ("box_confidence", answer.box_confidence)):
        if not -TOLERANCE <= value <= 1 + TOLERANCE:
            raise UserError(
                f"{grounder}: answered {name}={value}, which is not a probability; check the model"
            )
    visible, confidence = (min(max(value, 0.0), 1.0) for value in (answer.visible, answer.box_confidence))
    # A box may reach beyond the frame; mask heads and templates need the part that lies inside.
    box = answer.box_xyxy
    if box is not None:
        if not all(map(math.isfinite, box)):
            raise UserError(f"{grounder}: answered the box {box}, which is not finite; check the model")
        box = clamp(box, size) if is_inside(box, size) else None
    return replace(answer, visible=visible, box_xyxy=box, box_confidence=confidence)


class _Frame:
    """The current frame. Its features are computed once, when a track first asks for a mask."""

    def __init__(self, image: np.ndarray, masking: Masking) -> None:
        self.image, self._masking = image, masking

    @cached_property
    def features(self) -> FrameFeatures:
        return self._masking.encode(self.image)
