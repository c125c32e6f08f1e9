"""The engine: answers the requests of tracks, and runs the tracks of one sequence frame by frame.

Each frame is decoded once. The mask head encodes it once for all tracks, and only if a track asks for a mask.
A `Lane` is one sequence in progress. Within a frame it answers requests to the mask head before questions to
the grounder: a track that asks after its `Propagate` then asks together with the tracks that asked at once,
and all of them form one batch. `infer.engine.scheduler` runs several lanes at a time.
"""

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from configs.errors import UserError
from data_prep.geometry import Box, Size, clamp, is_inside
from data_prep.trace import LOCATE_FRAME, LOCATE_REGION, PROPAGATE, SEGMENT, Asked
from data_prep.votsr.regions import ABSENT, encode_mask
from infer.engine.timings import Timings
from infer.trackers.requests import Locate, Propagate, Report, Request, Segment, StartTrack, State, Track
from models.interfaces import Answer, FrameFeatures, Grounding, Masking, MaskResult, Question

Handler = Callable[["Frame", Sequence[Any]], Sequence[Any]]
"""Maps the requests of one type to their replies, in order."""
# A probability that was summed in low precision may leave 0 to 1 by this much.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Step:
    """One finished frame: its index, its image (RGB uint8), and the report of each track, in order.

    `asked` holds what each track asked about the frame, and the numbers of the answers.
    """

    frame_index: int
    image: np.ndarray
    reports: list[Report]
    asked: Sequence[Sequence[Asked]] = ()


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
    """Answers the requests of tracks with a grounder and a mask head.

    There is one handler for each type of request to the mask head. It answers all requests of its type that
    the tracks of a frame make at the same moment. A new type of request needs a dataclass in
    `infer.trackers.requests` and a handler. `Locate` has no handler: `locate` answers the questions of
    several sequences together.
    """

    def __init__(self, grounding: Grounding, masking: Masking, timings: Timings | None = None) -> None:
        self.grounding, self.masking = grounding, masking
        self.timings = timings or Timings()
        self._handlers: dict[type[Request], Handler] = {
            Segment: self._segment,
            Propagate: self._propagate,
        }

    def check_expression(self, expression: str) -> None:
        """Raise UserError for an expression that the grounder cannot be asked about."""
        self.grounding.check_expression(expression)

    def run(self, frames: Iterable[np.ndarray], starts: Sequence[StartTrack]) -> Iterator[Step]:
        """Run one track per start function through the frames, in order, and yield after each frame."""
        lane = Lane(self, frames, starts)
        while not lane.has_ended:
            yield from lane.advance()
            if lane.questions:
                lane.reply(self.locate(lane.questions))

    def locate(self, questions: Sequence[Question]) -> list[Answer]:
        """The answers to questions, which may be of several sequences, in their order.

        Answers are validated here, once for all trackers and all backends (`validate_answer`).
        """
        with self.timings.part("grounder"):
            answers = self.grounding.locate(questions)
        grounder = type(self.grounding).__name__
        return [
            validate_answer(answer, (question.image.shape[1], question.image.shape[0]), grounder)
            for question, answer in zip(questions, answers, strict=True)
        ]

    def answer(self, frame: "Frame", requests: Sequence[Request]) -> list[Any]:
        """The replies to requests about one frame, in their order."""
        # 1. Group the positions of the requests by type.
        positions: dict[type[Request], list[int]] = {}
        for position, request in enumerate(requests):
            positions.setdefault(type(request), []).append(position)
        # 2. Answer each group as one batch, and put the replies back at their positions.
        replies: list[Any] = [None] * len(requests)
        for request_type, of_type in positions.items():
            with self.timings.part("mask_head"):
                answers = self._handlers[request_type](frame, [requests[position] for position in of_type])
            for position, answer in zip(of_type, answers, strict=True):
                replies[position] = answer
        return replies

    def _segment(self, frame: "Frame", requests: Sequence[Segment]) -> list[MaskResult]:
        boxes = [each.box_xyxy for each in requests]
        return self.masking.segment(frame.features, boxes, [each.memory for each in requests])

    def _propagate(self, frame: "Frame", requests: Sequence[Propagate]) -> list[MaskResult]:
        return self.masking.propagate([each.memory for each in requests], frame.features)


class Lane:
    """One sequence in progress: its frames, its tracks, and the open request of each track.

        while not lane.has_ended:
            for step in lane.advance(): ...  # finished frames, until the tracks wait for the grounder
            if lane.questions:
                lane.reply(engine.locate(lane.questions))

    The tracks run in lockstep: those that have reported a frame wait for the others, because the next frame
    is sent to all at once.
    """

    def __init__(self, engine: Engine, frames: Iterable[np.ndarray], starts: Sequence[StartTrack]) -> None:
        self.has_ended = False
        self._engine, self._frames, self._starts = engine, iter(frames), starts
        self._tracks: list[Track] = []
        # The open request of each track; a Report where the track is done with the frame.
        self._requests: list[Request] = []
        # What each track has asked about the current frame.
        self._asked: list[list[Asked]] = []
        self._frame: Frame | None = None
        self._frame_index = -1

    @property
    def questions(self) -> list[Question]:
        """The open questions of the tracks, in their order."""
        # Before the first frame no request is open.
        if self._frame is None:
            return []
        image = self._frame.image
        return [_question(image, request) for request in self._requests if isinstance(request, Locate)]

    def advance(self) -> Iterator[Step]:
        """Go on until a track waits for the grounder, or the frames end. Yields every finished frame."""
        while not self.has_ended:
            # 1. Answer requests to the mask head until each track has asked the grounder or has reported.
            self._answer_mask_requests()
            if any(isinstance(request, Locate) for request in self._requests):
                return
            # 2. All tracks have reported.
            if self._frame is not None:
                reports = [request for request in self._requests if isinstance(request, Report)]
                yield Step(self._frame_index, self._frame.image, reports, self._asked)
            # 3. Hand the next frame to the tracks. Each runs to its first request about it.
            self._next_frame()

    def reply(self, answers: Sequence[Answer]) -> None:
        """Send the answers to the open questions, in order. Each track runs to its next request."""
        asking = [i for i, request in enumerate(self._requests) if isinstance(request, Locate)]
        for i, answer in zip(asking, answers, strict=True):
            self._send(i, answer)

    def close(self) -> None:
        """End the tracks and the reading of frames."""
        self.has_ended = True
        for generator in (*self._tracks, self._frames):
            # Frames may come from any iterator; only generators hold something open.
            if isinstance(generator, Generator):
                generator.close()

    def _answer_mask_requests(self) -> None:
        """Answer rounds of requests that are no questions, one per track, until none is left."""
        requests = self._requests
        while pending := [i for i, each in enumerate(requests) if not isinstance(each, Locate | Report)]:
            assert self._frame is not None
            replies = self._engine.answer(self._frame, [requests[i] for i in pending])
            for i, reply in zip(pending, replies, strict=True):
                self._send(i, reply)

    def _send(self, track: int, reply: Answer | MaskResult) -> None:
        """Send the reply to the open request of a track, and record both."""
        self._asked[track].append(_asked(self._requests[track], reply))
        self._requests[track] = self._tracks[track].send(reply)

    def _next_frame(self) -> None:
        image = next(self._frames, None)
        if image is None:
            self.close()
            return
        self._frame, self._frame_index = Frame(image, self._engine.masking), self._frame_index + 1
        self._asked = [[] for _ in self._starts]
        if self._frame_index == 0:
            self._tracks = [start(image) for start in self._starts]
            self._requests = [next(track) for track in self._tracks]
        else:
            self._requests = [track.send(image) for track in self._tracks]


def _question(image: np.ndarray, request: Locate) -> Question:
    return Question(
        image,
        request.expression,
        request.template,
        request.visual_prompt_xyxy,
        template_box_xyxy=request.template_box_xyxy,
        draft_xyxy=request.draft_xyxy,
        accept_draft_from=request.accept_draft_from,
        of_track=True,
        region_xyxy=request.region_xyxy,
    )


def _asked(request: Request, reply: Answer | MaskResult) -> Asked:
    """The record of a request and its reply, which holds no array."""
    if not isinstance(request, Locate):
        assert isinstance(reply, MaskResult)
        name = SEGMENT if isinstance(request, Segment) else PROPAGATE
        return Asked(name, object_score=reply.object_score, predicted_iou=reply.iou)
    assert isinstance(reply, Answer)
    return Asked(
        LOCATE_FRAME if request.region_xyxy is None else LOCATE_REGION,
        request.visual_prompt_xyxy is not None,
        reply.visible,
        reply.box_xyxy,
        reply.box_confidence,
        reply.draft_probability,
    )


def validate_answer(answer: Answer, size: Size, grounder: str) -> Answer:
    """The answer with its probabilities between 0 and 1 and its box clipped to the frame.

    `size` is the (width, height) of the frame. A box that lies outside the frame becomes None. Raises
    UserError, which names the grounder, if a number is not a probability or not finite: trackers compare
    these numbers with thresholds, and with NaN they would go on without an error.
    """
    for name in ("visible", "box_confidence", "draft_probability"):
        value = getattr(answer, name)
        if value is not None and not -TOLERANCE <= value <= 1 + TOLERANCE:
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


class Frame:
    """The current frame. Its features are computed once, when a track first asks for a mask."""

    def __init__(self, image: np.ndarray, masking: Masking) -> None:
        self.image, self._masking = image, masking

    @cached_property
    def features(self) -> FrameFeatures:
        """What the mask head computes of the frame, for all tracks."""
        return self._masking.encode(self.image)
