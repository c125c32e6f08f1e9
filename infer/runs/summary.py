"""The outcome of a run as data: tracks, failures, speed and figures, written to `summary.json`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from data_prep.files import write_whole
from infer.engine.timings import WorkFigures


@dataclass(frozen=True)
class TrackOutcome:
    """How one track ended.

    Attributes:
        sequence: The name of its sequence.
        expression: None for a sequence that failed before its expressions were known.
        num_present: Frames in which the target is present.
        num_absent: Frames in which it is absent.
        score: The referral accuracy of the track if there is truth, else None.
        seconds: The time that the track took, as its share of its sequence's time.
        failure: In one line, why there is no result; None if there is one.
        kept: The result is that of an earlier run. It counts as written, but not for the speed.
    """

    sequence: str
    expression: str | None
    num_present: int
    num_absent: int
    score: float | None
    seconds: float
    failure: str | None
    kept: bool = False

    @property
    def track_frames(self) -> int:
        """The number of frames with a result."""
        return 0 if self.failure else self.num_present + self.num_absent

    @classmethod
    def of_success(
        cls,
        sequence: str,
        expression: str,
        num_frames: int,
        num_absent: int,
        seconds: float = 0.0,
        kept: bool = False,
    ) -> "TrackOutcome":
        """The outcome of a track with a result."""
        return cls(sequence, expression, num_frames - num_absent, num_absent, None, seconds, None, kept)

    @classmethod
    def of_failure(cls, sequence: str, expression: str | None, reason: str) -> "TrackOutcome":
        """The outcome of a track without a result."""
        return cls(sequence, expression, 0, 0, None, 0.0, reason)


@dataclass(frozen=True)
class Figures:
    """The figures of the referral challenge, from 0 to 1; None if unknown, or if nothing counts for one."""

    referral_accuracy: float | None = None
    iou_when_present: float | None = None
    absent_precision: float | None = None
    absent_recall: float | None = None

    @classmethod
    def of(cls, figures: Mapping[str, Any]) -> "Figures":
        """From the figures that `evaluation.votsr` computes for a workspace, a sequence or an expression."""
        # In `evaluation.votsr` the referral accuracy is `accuracy`.
        return cls(
            figures["accuracy"],
            figures["iou_when_present"],
            figures["absent_precision"],
            figures["absent_recall"],
        )

    @classmethod
    def of_sequences(cls, figures: Mapping[str, Any]) -> dict[str, "Figures"]:
        """By sequence, from the figures that `evaluation.votsr` computes for a workspace."""
        return {name: cls.of(each) for name, each in figures["sequences"].items()}


@dataclass(frozen=True)
class RunSummary:
    """The outcome of a run.

    Attributes:
        outcomes: Its tracks.
        num_planned: The number of tracks that it was to write.
        seconds: The time spent on tracking.
        warnings: What a user should know, in one line each.
        zip: The packed submission, if there is one.
        figures: Figures over all tracks, where there is truth.
        sequences: Figures by sequence.
        references: Figures of trivial results (all absent, true boxes), by name, for comparison.
        work: What was computed, and where time and memory went.
    """

    outcomes: Sequence[TrackOutcome]
    num_planned: int
    seconds: float
    warnings: Sequence[str] = ()
    zip: Path | None = None
    figures: Figures = field(default_factory=Figures)
    sequences: Mapping[str, Figures] = field(default_factory=dict)
    references: Mapping[str, Figures] = field(default_factory=dict)
    work: WorkFigures = field(default_factory=WorkFigures)

    @property
    def failed(self) -> list[TrackOutcome]:
        """The tracks without a result."""
        return [outcome for outcome in self.outcomes if outcome.failure]

    @property
    def written(self) -> list[TrackOutcome]:
        """The tracks with a result of this run."""
        return [outcome for outcome in self.outcomes if not outcome.failure and not outcome.kept]

    @property
    def track_frames(self) -> int:
        """The frames of all tracks that this run wrote; a frame counts once per track."""
        return sum(outcome.track_frames for outcome in self.written)

    @property
    def track_frames_per_second(self) -> float:
        """The speed of the run; 0 if nothing was tracked."""
        # `seconds` covers tracking only: neither loading the models nor scoring and packing.
        return self.track_frames / self.seconds if self.seconds > 0 else 0.0


def summary_json(run: RunSummary) -> dict[str, Any]:
    """The content of `summary.json`. It always has the same keys; figures are null without truth.

    Kept tracks count as written, but not for `track_frames` and the speed.
    """
    # Other programs read this file, so keys may be added but should keep their names.
    return {
        "tracks": run.num_planned,
        "written": sum(outcome.failure is None for outcome in run.outcomes),
        "failed": [
            {"sequence": outcome.sequence, "expression": outcome.expression, "reason": outcome.failure}
            for outcome in run.failed
        ],
        "warnings": list(run.warnings),
        "track_frames": run.track_frames,
        "seconds": round(run.seconds, 3),
        "track_frames_per_second": round(run.track_frames_per_second, 3),
        **asdict(run.work),
        "zip": None if run.zip is None else str(run.zip),
        **asdict(run.figures),
        "sequences": {name: asdict(figures) for name, figures in run.sequences.items()},
    }


def write_summary(path: Path, run: RunSummary) -> None:
    """Write `summary.json`, completely or not at all. Raises UserError if it cannot be written."""
    write_whole(path, json.dumps(summary_json(run), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
