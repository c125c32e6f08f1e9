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
    """

    state: State
    mask: np.ndarray | None = None
    box_xyxy: Box | None = None
    confidence: float = 0.0
    visible: float | None = None


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
