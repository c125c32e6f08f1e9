"""Result lines of the tracks of one sequence, gathered frame by frame."""

from data_prep.votsr.regions import encode_mask
from infer.engine import Step


def take_down(step: Step, lines: list[list[str]]) -> None:
    """Append each track's result line of this frame to that track's list."""
    for track_lines, report in zip(lines, step.reports, strict=True):
        track_lines.append(encode_mask(report.mask))
