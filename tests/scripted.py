"""Driving a tracker without models: a world in which the target is where a script says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from data_prep.contract.contract import BUILT_IN
from data_prep.geometry import Box
from infer.trackers.requests import Locate, Propagate, Report, Request, Segment, StartTrack, Tracker
from models.interfaces import (
    Answer,
    FrameFeatures,
    GroundingStatistics,
    Identity,
    MaskResult,
    Question,
    TargetMemory,
)

SIZE = (64, 48)


def frame(brightness: int = 0) -> np.ndarray:
    """A plain frame of the scripted size."""
    return np.full((SIZE[1], SIZE[0], 3), brightness, np.uint8)


def filled(box_xyxy: Box) -> np.ndarray:
    """A mask that is true inside a box."""
    mask = np.zeros((SIZE[1], SIZE[0]), bool)
    left, top, right, bottom = (int(value) for value in box_xyxy)
    mask[top:bottom, left:right] = True
    return mask


def seen(box_xyxy: Box, visible: float = 0.9, confidence: float = 0.9) -> Answer:
    """The grounder sees the target in a box."""
    return Answer(visible, box_xyxy, confidence, "")


def unseen(box_xyxy: Box = (0, 0, 5, 5)) -> Answer:
    """The grounder says that the target is not visible (and guesses a box all the same)."""
    return Answer(0.1, box_xyxy, 0.2, "")


@dataclass
class ScriptedWorld:
    """Where grounder and mask head see the target, by frame; None: not at all. All requests are kept.

    A scripted memory is the list of frames that were written into it.
    """

    grounder: Sequence[Box | None]
    mask_head: Sequence[Box | None]
    object_score: float = 0.99
    asked: list[tuple[int, Request]] = field(default_factory=list)

    def reply(self, index: int, request: Request) -> Answer | MaskResult:
        """What the models would say at frame `index`."""
        self.asked.append((index, request))
        if isinstance(request, Locate):
            box = self.grounder[index]
            return unseen() if box is None else seen(box)
        if isinstance(request, Segment):
            return self._result(request.box_xyxy, [*(request.memory or []), index])
        assert isinstance(request, Propagate)
        return self._result(self.mask_head[index], [*request.memory, index])

    def _result(self, box_xyxy: Box | None, memory: list[int]) -> MaskResult:
        if box_xyxy is None:
            return MaskResult(None, 0.1, 0.0, memory)
        return MaskResult(filled(box_xyxy), self.object_score, 0.9, memory)

    def count(self, kind: type, index: int | None = None) -> int:
        """How many requests of a kind were made, at one frame or in all."""
        return sum(isinstance(asked, kind) and index in (None, at) for at, asked in self.asked)


class ScriptedGrounding:
    """Sees the target of an expression in its box of `boxes`; `batches` holds the sizes of batches."""

    contract = BUILT_IN["short"]

    def __init__(self, boxes: Mapping[str, Box]) -> None:
        self.boxes = boxes
        self.batches: list[int] = []
        self.statistics = GroundingStatistics()

    def check_expression(self, expression: str) -> None:
        """Every expression may be asked."""

    def locate(self, questions: Sequence[Question]) -> list[Answer]:
        """An answer to each question, by its expression."""
        self.batches.append(len(questions))
        self.statistics.questions += len(questions)
        boxes = (self.boxes.get(question.expression) for question in questions)
        return [unseen() if box is None else seen(box) for box in boxes]

    def identity(self) -> Identity:
        """What the answers follow from."""
        return {"checkpoint": "scripted", "dtype": "none", "box_threshold": 0.0}


class ScriptedMasking:
    """Fills every box. Features are the brightness of the frame, kept in `encoded`; memories are boxes.

    `segmented` and `propagated` hold the number of targets of each call.
    """

    def __init__(self) -> None:
        self.encoded: list[int] = []
        self.segmented: list[int] = []
        self.propagated: list[int] = []

    def encode(self, frame: np.ndarray) -> FrameFeatures:
        """The frame's brightness."""
        self.encoded.append(int(frame[0, 0, 0]))
        return self.encoded[-1]

    def segment(
        self, features: FrameFeatures, boxes_xyxy: Sequence[Box], memories: Sequence[TargetMemory | None]
    ) -> list[MaskResult]:
        """The boxes, filled."""
        self.segmented.append(len(boxes_xyxy))
        return [MaskResult(filled(box), 0.9, 0.9, box) for box in boxes_xyxy]

    def propagate(self, memories: Sequence[TargetMemory], features: FrameFeatures) -> list[MaskResult]:
        """The boxes of the frame before, filled."""
        self.propagated.append(len(memories))
        return [MaskResult(filled(memory), 0.9, 0.9, memory) for memory in memories]

    def identity(self) -> Identity:
        """What the masks follow from."""
        return {"checkpoint": "scripted", "dtype": "none"}


def drive(tracker: Tracker, world: ScriptedWorld, frames: Sequence[np.ndarray]) -> list[Report]:
    """Run one track of "the red cup" over frames; its reports, one a frame."""
    return drive_started(partial(tracker, "the red cup"), world, frames)


def drive_started(start: StartTrack, world: ScriptedWorld, frames: Sequence[np.ndarray]) -> list[Report]:
    """Run the track that `start` starts over frames; its reports, one a frame."""
    track = start(frames[0])
    request = next(track)
    reports = []
    for index in range(len(frames)):
        if index:
            request = track.send(frames[index])
        while not isinstance(request, Report):
            request = track.send(world.reply(index, request))
        reports.append(request)
    return reports
