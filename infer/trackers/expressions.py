"""Tracks whose expression changes with time, and tracks whose expression is empty.

The texts of some data sets (TNLLT, for example) are valid for a span of frames only. `follow_expressions`
lets any tracker ask with the text that is valid at the current frame, without a change to the tracker.
"""

from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.geometry import Box
from infer.trackers.requests import Locate, Reason, Report, Request, State, Track, Tracker

if TYPE_CHECKING:  # it imports OpenCV, and `--help` imports this module
    from data_prep.sequence import Sequence


def expression_at(sequence: "Sequence", frame_index: int) -> str:
    """The first non-empty expression that is valid at a frame; empty if there is none."""
    # Without spans every expression is valid at all frames.
    spans = sequence.spans or ((0, len(sequence.frames)),) * len(sequence.expressions)
    for expression, (start, stop) in zip(sequence.expressions, spans, strict=True):
        if start <= frame_index < stop and expression.strip():
            return expression
    return ""


def follow_expressions(tracker: Tracker, sequence: "Sequence") -> Tracker:
    """A tracker that asks with the expression that is valid at the current frame.

    At frames without a valid expression it asks with the last one.
    """

    def start(expression: str, frame: np.ndarray, box_xyxy: Box | None = None) -> Track:
        return _with_valid_expression(tracker(expression, frame, box_xyxy), expression, sequence)

    return start


def _with_valid_expression(
    track: Track, expression: str, sequence: "Sequence"
) -> Generator[Request, Any, None]:
    """Pass requests and replies through, and replace the expression of every `Locate`."""
    frame_index, request = 0, next(track)
    while True:
        # Only questions to the grounder hold an expression; all other requests pass through unchanged.
        if isinstance(request, Locate):
            request = replace(request, expression=expression)
        reply = yield request
        if isinstance(request, Report):  # the reply is the next frame
            frame_index += 1
            expression = expression_at(sequence, frame_index) or expression
        request = track.send(reply)


def empty_track(expression: str, frame: np.ndarray, box_xyxy: Box | None = None) -> Track:  # noqa: ARG001
    """The track of an empty expression: the target is absent in every frame."""
    # The toolkit expects a result file for an empty expression too.
    while True:
        yield Report(State.EMPTY, reasons=(Reason.EMPTY_EXPRESSION,))
