"""What tracks reported, gathered frame by frame."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from data_prep.geometry import Box
from data_prep.votsr.regions import ABSENT, encode_mask
from infer.engine import Step
from infer.requests import State


@dataclass
class TrackLines:
    """One track: for every frame a line of VOTSr's results, and a box in pixels of the frame.

    The box is the mask's or the grounder's, as the tracker reported it; None where the target is absent.
    States and confidences are those of the reports.
    """

    masks: list[str] = field(default_factory=list)
    boxes_xyxy: list[Box | None] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)

    @property
    def absent(self) -> int:
        """Frames without the target."""
        return self.masks.count(ABSENT)


def take_down(step: Step, tracks: Sequence[TrackLines]) -> None:
    """Append each track's report of this frame."""
    for track, report in zip(tracks, step.reports, strict=True):
        line = encode_mask(report.mask)
        track.masks.append(line)
        track.boxes_xyxy.append(None if line == ABSENT else report.box_xyxy)
        track.states.append(report.state)
        track.confidences.append(report.confidence)
