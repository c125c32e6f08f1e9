"""Traces of tracks: for each frame the state of the tracker, which models it asked, their answers, and why.

A trace is a file of JSON lines, one for each frame of a track in order. `python -m infer` writes it beside
the results, and evaluation reads it. docs/inference.md describes its fields.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from configs.errors import UserError
from data_prep.files import read_bytes
from data_prep.geometry import Box

# What a model was asked for: the place of the target in the whole frame or in a part of it (grounder), the
# mask of the last frame propagated to this one, and the mask in a box (mask head).
LOCATE_FRAME, LOCATE_REGION = "locate_frame", "locate_region"
PROPAGATE, SEGMENT = "propagate", "segment"
REQUESTS = (LOCATE_FRAME, LOCATE_REGION, PROPAGATE, SEGMENT)
# Decimals of probabilities, log-odds and IoUs, and of boxes (hundredths of a pixel).
DIGITS, BOX_DIGITS = 4, 2
LARGEST_TRACE = 1 << 30  # bytes: about three million frames
REMEDY = "track it again, or leave it out"
Entry = TypeVar("Entry", "Asked", "TraceFrame")


@dataclass(frozen=True)
class Asked:
    """One request to a model, and the numbers of its answer, as far as it gave any.

    `request` is one of `REQUESTS`. `visual_prompt`: the grounder was shown the last known place of the
    target. `visible`, `box_xyxy` (pixels of the frame), `box_confidence` and `draft_probability` are the
    grounder's; `object_score` and `predicted_iou` are the mask head's (`models.interfaces`).
    """

    request: str
    visual_prompt: bool = False
    visible: float | None = None
    box_xyxy: Box | None = None
    box_confidence: float | None = None
    draft_probability: float | None = None
    object_score: float | None = None
    predicted_iou: float | None = None

    @property
    def is_question(self) -> bool:
        """Whether the grounder was asked."""
        return self.request in (LOCATE_FRAME, LOCATE_REGION)


@dataclass(frozen=True)
class TraceFrame:
    """One frame of a track.

    `frame` counts the frames of the track from 1. `state` and `reasons` are those of the tracker's report
    (`infer.trackers.requests`), and `asked` are all requests of the frame, both in the order in which they
    occurred. `absent`: absence was reported. `presence_log_odds` is the tracker's belief in presence,
    `agreement_iou` the IoU of the grounder's box and that of the propagated mask; None where the tracker did
    not compute them.
    """

    frame: int
    state: str
    reasons: tuple[str, ...] = ()
    absent: bool = False
    confidence: float | None = None
    presence_log_odds: float | None = None
    agreement_iou: float | None = None
    asked: tuple[Asked, ...] = ()

    @property
    def presence(self) -> float | None:
        """The probability of presence, from its log-odds."""
        return None if self.presence_log_odds is None else probability(self.presence_log_odds)


def probability(log_odds: float) -> float:
    """The probability of these log-odds (natural logarithm)."""
    # tanh does not overflow, as exp does.
    return 0.5 + 0.5 * math.tanh(log_odds / 2)


def trace_line(frame: TraceFrame) -> str:
    """The line of a frame, without its end. Fields without a value are left out."""
    values = _values(frame, {"asked": [_values(each, {}) for each in frame.asked]})
    return json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def read_trace(path: Path, num_frames: int | None = None) -> list[TraceFrame]:
    """The frames of a trace file.

    Raises UserError, which names the line, where it is damaged or does not have `num_frames` lines (None: any
    number).
    """
    try:
        text = read_bytes(path, REMEDY, LARGEST_TRACE).decode()
    except UnicodeDecodeError as fault:
        raise UserError(f"{path}: not UTF-8 text (byte {fault.start}); {REMEDY}") from None
    return parse_trace(text, str(path), num_frames)


def parse_trace(text: str, name: str, num_frames: int | None = None) -> list[TraceFrame]:
    """The frames of the text of a trace file; `name` stands in messages. Raises as `read_trace`."""
    lines = text.split("\n")
    # Every line is ended, so a file that was cut short within a line is noticed too.
    if lines.pop() or (num_frames is not None and len(lines) != num_frames):
        raise UserError(f"{name}: is cut short, or belongs to another number of frames; {REMEDY}")
    return [_parse_line(line, number, name) for number, line in enumerate(lines, 1)]


def _values(entry: Asked | TraceFrame, replaced: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an entry that have a value, as JSON holds them."""
    values = {}
    for each in fields(entry):
        value = replaced.get(each.name, getattr(entry, each.name))
        if isinstance(value, float) and not isinstance(value, bool):
            value = _rounded(value, DIGITS)
        elif each.name == "box_xyxy" and value is not None:
            sides = [_rounded(side, BOX_DIGITS) for side in value]
            value = None if None in sides else sides
        # `False`, and an empty list of requests, are the common case.
        if value is not None and value is not False:
            values[each.name] = value
    return values


def _rounded(value: float, digits: int) -> float | None:
    # JSON has no NaN and no infinity. A mask head's numbers are not checked elsewhere.
    return round(float(value), digits) if math.isfinite(value) else None


def _parse_line(line: str, number: int, name: str) -> TraceFrame:
    """The frame of one line; raises UserError where a field is not of its type."""
    try:
        values = json.loads(line, parse_constant=_refuse)
        asked = tuple(_entry(Asked, each) for each in _list(values.pop("asked", [])))
        frame = _entry(TraceFrame, {**values, "asked": asked})
        if frame.frame != number:
            raise ValueError(f"frame {frame.frame} instead of {number}")
        return frame
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, OverflowError) as fault:
        reason = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        raise UserError(f"{name}: line {number} is damaged ({reason}); {REMEDY}") from None


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _list(value: Any) -> Iterable[Any]:
    if not isinstance(value, list):
        raise TypeError("a list is missing")
    return value


def _entry(kind: type[Entry], values: Mapping[str, Any]) -> Entry:
    """An `Asked` or a `TraceFrame` of these values, each of which must be of its type."""
    names = {each.name for each in fields(kind)}
    # A later version may have further fields, which are of no use here.
    kept = {name: _checked(name, value) for name, value in dict(values).items() if name in names}
    return kind(**kept)


def _checked(name: str, value: Any) -> Any:
    """A value of the type of its field. Raises TypeError or ValueError where it is of another one."""
    if name == "asked":
        return value
    if name == "reasons":
        return tuple(_text(each) for each in _list(value))
    if name == "box_xyxy":
        left, top, right, bottom = (_number(side) for side in _list(value))
        return left, top, right, bottom
    if name in ("state", "request"):
        return _text(value)
    if name in ("absent", "visual_prompt"):
        if not isinstance(value, bool):
            raise TypeError(f"{name} is neither true nor false")
        return value
    if name == "frame":
        if type(value) is not int:
            raise TypeError("the number of the frame is not an integer")
        return value
    return _number(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is missing")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("a number is missing")
    return float(value)
