"""What became of a run: figures for a machine to read, `summary.json`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from data_prep.files import write_whole


@dataclass(frozen=True)
class TrackOutcome:
    """How one track ended. `score` is its referral accuracy where truth exists, else None.

    `prompt` is None for a sequence that could not be read so far as to know its prompts.

    `failure` is why it has no result, in one line, None where it has one. A track is `kept` when its
    result lay there from an earlier run: nothing was tracked then, and it has no part in the speed.
    """

    sequence: str
    prompt: str | None
    frames_present: int
    frames_absent: int
    score: float | None
    seconds: float
    failure: str | None
    kept: bool = False

    @property
    def track_frames(self) -> int:
        """Frames with a result."""
        return 0 if self.failure else self.frames_present + self.frames_absent


@dataclass(frozen=True)
class Figures:
    """The referral challenge's figures, each between 0 and 1, None where it is over nothing or unknown."""

    referral_accuracy: float | None = None
    iou_when_present: float | None = None
    absent_precision: float | None = None
    absent_recall: float | None = None

    @classmethod
    def of(cls, figures: Mapping[str, Any]) -> "Figures":
        """Out of what `evaluation.votsr` gives for a workspace, a sequence or a prompt."""
        return cls(
            figures["accuracy"],
            figures["iou_when_present"],
            figures["absent_precision"],
            figures["absent_recall"],
        )

    @classmethod
    def of_sequences(cls, figures: Mapping[str, Any]) -> dict[str, "Figures"]:
        """The figures of each sequence, out of what `evaluation.votsr` gives for a workspace."""
        return {name: cls.of(each) for name, each in figures["sequences"].items()}


@dataclass(frozen=True)
class RunSummary:
    """A run: its tracks, what it warned of, how long it took, and how good it was where truth exists.

    `num_planned` counts tracks; `seconds` is the time spent on tracking; `references` are the
    figures of results that nobody had to track for, by name, to read one's own against.
    """

    outcomes: Sequence[TrackOutcome]
    num_planned: int
    seconds: float
    warnings: Sequence[str] = ()
    zip: Path | None = None
    figures: Figures = field(default_factory=Figures)
    sequences: Mapping[str, Figures] = field(default_factory=dict)
    references: Mapping[str, Figures] = field(default_factory=dict)

    @property
    def failed(self) -> list[TrackOutcome]:
        """The tracks without a result."""
        return [outcome for outcome in self.outcomes if outcome.failure]

    @property
    def written(self) -> list[TrackOutcome]:
        """The tracks whose result this run wrote."""
        return [outcome for outcome in self.outcomes if not outcome.failure and not outcome.kept]

    @property
    def track_frames(self) -> int:
        """Frames of all tracks that this run wrote: frames times prompts."""
        return sum(outcome.track_frames for outcome in self.written)

    @property
    def track_frames_per_second(self) -> float:
        """The speed of the run; 0 where nothing was tracked."""
        return self.track_frames / self.seconds if self.seconds > 0 else 0.0


def summary_json(run: RunSummary) -> dict[str, Any]:
    """The content of `summary.json`; these keys and no others, figures null without truth.

    Tracks kept from an earlier run count as written, but have no part in `track_frames` and the speed.
    """
    return {
        "tracks": run.num_planned,
        "written": sum(outcome.failure is None for outcome in run.outcomes),
        "failed": [
            {"sequence": outcome.sequence, "prompt": outcome.prompt, "reason": outcome.failure}
            for outcome in run.failed
        ],
        "warnings": list(run.warnings),
        "track_frames": run.track_frames,
        "seconds": round(run.seconds, 3),
        "track_frames_per_second": round(run.track_frames_per_second, 3),
        "zip": None if run.zip is None else str(run.zip),
        **asdict(run.figures),
        "sequences": {name: asdict(figures) for name, figures in run.sequences.items()},
    }


def write_summary(path: Path, run: RunSummary) -> None:
    """Write `summary.json`, whole or not at all. Raises UserError where the disk refuses."""
    write_whole(path, json.dumps(summary_json(run), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
