"""What a tracker asks for, and what it reports.

A tracker is a generator: it yields one of these and is sent the reply named in its docstring. It
never sees a model or a batch, so a test can drive it with scripted answers.
"""

from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import numpy as np

from data_prep.geometry import Box
from models.interfaces import TargetMemory


class State(StrEnum):
    """What a tracker was doing when it reported a frame."""

    SEARCH = "search"  # never found so far: asks the grounder about the whole frame
    TRACK = "track"  # the mask head carries the mask
    VERIFY = "verify"  # the grounder was asked whether this is still the target
    LOST = "lost"  # was found once and is gone: searches the whole frame again
    EMPTY = "empty"  # there are no words, so nothing is followed


@dataclass(frozen=True)
class Locate:
    """Ask the grounder about the current frame; replied with `models.interfaces.Answer`.

    `template` is a crop of the target from an earlier frame (RGB uint8) or None; `last_box_xyxy`,
    in pixels of the frame, is where to draw the rectangle, or None to search without a hint.
    """

    words: str
    template: np.ndarray | None = None
    last_box_xyxy: Box | None = None


@dataclass(frozen=True)
class Segment:
    """Ask the mask head for the mask of a box in the current frame; replied with `MaskResult`.

    With a `memory` of the frames before, the reply's memory is that one with this frame as a further
    anchor, else a new one.
    """

    box_xyxy: Box
    memory: TargetMemory | None = None


@dataclass(frozen=True)
class Propagate:
    """Ask the mask head to carry a memory to the current frame; replied with `MaskResult`."""

    memory: TargetMemory


@dataclass(frozen=True)
class Report:
    """The result of the current frame; replied with the next frame (RGB uint8).

    `mask` is bool (height, width), None where the target is absent; `box_xyxy`, in pixels of the
    frame, is the mask's or the grounder's. `visible` is the latest visible probability of the
    grounder (None where it was not asked at this frame), `confidence` between 0 and 1.
    """

    state: State
    mask: np.ndarray | None = None
    box_xyxy: Box | None = None
    confidence: float = 0.0
    visible: float | None = None


Request = Locate | Segment | Propagate | Report
Track = Generator[Request, Any, None]


class StartTrack(Protocol):
    """Begins a track."""

    def __call__(self, words: str, frame: np.ndarray, box_xyxy: Box | None = None) -> Track:
        """From its words, its first frame (RGB uint8) and, where it is known, the target's box in that."""
        ...
