"""The protocol between a tracker and the engine: requests, reports, and how a track starts.

A tracker is a generator that follows one target through one sequence. It yields requests, and the engine
sends back the reply that the docstring of the request names:

    answer: Answer = yield Locate(expression)          # where is the target?
    result: MaskResult = yield Segment(answer.box_xyxy)  # its mask
    frame = yield Report(State.TRACK, result.mask)     # done with this frame; continue with the next one

Every frame ends with exactly one `Report`. A tracker never sees a model or a batch, so a test can drive it
with scripted answers, and the engine is free to batch the requests of many tracks.

Images are RGB uint8 (height, width, 3). Boxes are `box_xyxy` in pixels of the current frame.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import numpy as np

from data_prep.geometry import Box
from models.interfaces import TargetMemory


class State(StrEnum):
    """What a tracker was doing when it reported a frame."""

    # Not found so far: the grounder is asked about the whole frame.
    SEARCH = "search"
    # The mask head propagates the mask.
    TRACK = "track"
    # The grounder was asked whether the mask is still on the target.
    VERIFY = "verify"
    # Found before, lost since: the grounder is asked about the whole frame again.
    LOST = "lost"
    # The expression is empty, so nothing is tracked.
    EMPTY = "empty"


class Reason(StrEnum):
    """Why a tracker reported what it reported, in a fixed vocabulary; docs/inference.md describes it.

    A report has the reasons of its frame in the order in which they occurred: why a model was asked, what
    followed from the answer, and why the state changed.
    """

    # Why the grounder was asked, or was not.
    NOT_DUE = "not_due"  # not asked: the interval is not over, and nothing gives reason to ask
    DUE = "due"  # the interval between questions is over, or this is the first question
    FRAME_CHANGED = "frame_changed"  # in a search: the frame differs from the last one asked about
    NO_MASK = "no_mask"  # the mask head has no mask in this frame or had none in the last one
    LOW_OBJECT_SCORE = "low_object_score"
    AREA_CHANGED = "area_changed"
    DOUBTED_BEFORE = "doubted_before"  # the last answer was "not visible"
    # What a search found.
    BOX_GIVEN = "box_given"  # the user gave the box of the target
    FOUND = "found"  # taken without a second question
    FOUND_AND_CONFIRMED = "found_and_confirmed"
    NOT_FOUND = "not_found"
    NOT_CONFIRMED = "not_confirmed"  # the second question did not find the target
    CONFIRMED_ELSEWHERE = "confirmed_elsewhere"  # the second question found it at another place
    # What the grounder said about the propagated mask.
    SAME_PLACE = "same_place"
    ELSEWHERE = "elsewhere"  # it is sure of another place, at which tracking goes on
    UNCERTAIN = "uncertain"  # it names another place, but is not sure of it
    NOT_VISIBLE = "not_visible"
    # Why the target was lost, or what is reported without a new answer.
    PRESENCE_BELOW_ZERO = "presence_below_zero"  # the log-odds of presence
    MASK_LOST = "mask_lost"  # the target is not visible, and the mask head has no mask either
    BOX_REPEATED = "box_repeated"  # not visible, and the last box is reported once more
    EMPTY_EXPRESSION = "empty_expression"


@dataclass(frozen=True)
class Locate:
    """Ask the grounder about the current frame. The reply is a `models.interfaces.Answer`.

    `template` is a crop of the target from an earlier frame, or None, and `template_box_xyxy` the target's
    box in pixels of that crop (`data_prep.contract.crops`). `visual_prompt_xyxy` is the last known place of
    the target, around which the grounder draws its rectangle or cuts its crop; None: the whole frame is
    searched without it.

    `region_xyxy` is the part of the frame that is searched, where it shows the target larger; None: the whole
    frame.

    `draft_xyxy` is a box that is likely the answer, such as that of the propagated mask. It makes the answer
    faster and does not change it, unless `accept_draft_from` is given (`models.interfaces.Question`).
    """

    expression: str
    template: np.ndarray | None = None
    visual_prompt_xyxy: Box | None = None
    template_box_xyxy: Box | None = None
    draft_xyxy: Box | None = None
    accept_draft_from: float | None = None
    region_xyxy: Box | None = None


@dataclass(frozen=True)
class Segment:
    """Ask the mask head for the mask in a box of the current frame. The reply is a `MaskResult`.

    The reply holds a new memory. If `memory`, the memory up to the previous frame, is given, the reply's
    memory is that one with the current frame as a further conditioning frame.
    """

    box_xyxy: Box
    memory: TargetMemory | None = None


@dataclass(frozen=True)
class Propagate:
    """Ask the mask head to propagate a memory to the current frame. The reply is a `MaskResult`."""

    memory: TargetMemory


@dataclass(frozen=True)
class Report:
    """The result of the current frame. The reply is the next frame.

    `mask` is bool (height, width), None where the target is absent. `box_xyxy` is the box of the mask or the
    one that the grounder gave. `visible` is the visible probability of the grounder's last answer about this
    frame, None if it was not asked. `confidence` lies between 0 and 1.

    The others explain the frame and change no result: `reasons`, the log-odds of presence in which the
    tracker believes, and the IoU of the grounder's box and the box of the propagated mask. A tracker may
    leave them out. What it asked and was answered is recorded by the engine.
    """

    state: State
    mask: np.ndarray | None = None
    box_xyxy: Box | None = None
    confidence: float = 0.0
    visible: float | None = None
    reasons: tuple[Reason, ...] = ()
    presence_log_odds: float | None = None
    agreement_iou: float | None = None


# The engine has one handler for each of these types except `Report`, which ends a frame.
Request = Locate | Segment | Propagate | Report
Track = Generator[Request, Any, None]
"""One track in progress. Of a frame it yields any number of requests, then a `Report`; it never returns."""
StartTrack = Callable[[np.ndarray], Track]
"""Starts a track of which only the first frame is missing: its expression and first box are known."""


class Tracker(Protocol):
    """Starts tracks. `infer.trackers.registry` builds one from settings."""

    def __call__(self, expression: str, frame: np.ndarray, box_xyxy: Box | None = None) -> Track:
        """A track of `expression` that begins at `frame`.

        `box_xyxy` is the box of the target in that frame, where it is known.
        """
        ...
