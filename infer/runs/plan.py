"""Where the tracks of a run come from and where their results lie, for every kind of run."""

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Sequences
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from configs.errors import UserError
from data_prep.geometry import Box
from data_prep.sequence import Sequence
from data_prep.votsr.regions import ABSENT
from data_prep.votsr.results import read_written, write_result
from infer.engine.engine import TrackLines
from infer.engine.session import Session
from infer.runs.claims import Identity
from infer.runs.summary import RunSummary, TrackOutcome
from infer.trackers.requests import StartTrack

UNNAMED = "the target"  # words for one that is shown by its box alone


@dataclass(frozen=True)
class ResultFiles:
    """Where a track's result lies: `main` in the form that its tools read, `masks` in VOTSr lines."""

    main: Path
    masks: Path


class TrackStore(Protocol):
    """Which tracks a sequence has, how they begin, and where their results lie."""

    def prompts(self, sequence: Sequence) -> Sequences[str]:
        """The tracks of a sequence by their words."""
        ...

    def words(self, sequence: Sequence, prompt: str) -> Sequences[str]:
        """All words that the grounder may be asked for during a track."""
        ...

    def job(self, sequence: Sequence, prompt: str) -> tuple[str, StartTrack]:
        """Words and how to start their track."""
        ...

    def absent(self, sequence: Sequence, prompt: str) -> int | None:
        """Frames without the target in a result that is there and whole; None where there is none."""
        ...

    def files(self, sequence: Sequence, prompt: str) -> ResultFiles:
        """Where the result lies or will lie."""
        ...

    def given(self, sequence: Sequence) -> object:
        """What of a sequence, beside its pictures, decides over results and does not name their files."""
        ...

    def write(self, sequence: Sequence, prompt: str, track: TrackLines) -> None:
        """Write a result, whole or not at all. Raises UserError where the disk refuses."""
        ...


@dataclass(frozen=True)
class MaskStore:
    """Every prompt of a sequence is a track; its result file, at `path_of`, holds a line a frame."""

    session: Session
    path_of: Callable[[Sequence, str], Path]
    box_xyxy: Box | None = None  # of the target in the first frame, where it is given

    def prompts(self, sequence: Sequence) -> list[str]:
        """Each prompt once: only empty ones can repeat, and all of them share one result file."""
        return list(dict.fromkeys(sequence.expressions))

    def words(self, sequence: Sequence, prompt: str) -> list[str]:  # noqa: ARG002
        """See `TrackStore`: they do not change."""
        return [prompt]

    def job(self, sequence: Sequence, prompt: str) -> tuple[str, StartTrack]:  # noqa: ARG002
        """Words and how to start their track: nothing but the words is known, unless a box was given."""
        if self.box_xyxy is not None:
            return prompt or UNNAMED, partial(self.session.start_track, box_xyxy=self.box_xyxy)
        return self.session.job(prompt)

    def absent(self, sequence: Sequence, prompt: str) -> int | None:
        """See `TrackStore`; what is no whole result is tracked again and replaced."""
        path = self.path_of(sequence, prompt)
        if not path.is_file():
            return None
        try:
            return read_written(path, len(sequence.frames)).count(ABSENT)
        except UserError:
            return None

    def files(self, sequence: Sequence, prompt: str) -> ResultFiles:
        """See `TrackStore`: one file is both."""
        path = self.path_of(sequence, prompt)
        return ResultFiles(path, path)

    def given(self, sequence: Sequence) -> object:  # noqa: ARG002
        """See `TrackStore`: prompts name the files, and nothing else is given."""
        return ()

    def write(self, sequence: Sequence, prompt: str, track: TrackLines) -> None:
        """See `TrackStore`."""
        write_result(self.path_of(sequence, prompt), track.masks, len(sequence.frames))


def _as_it_is(summary: RunSummary) -> RunSummary:
    return summary


@dataclass(frozen=True)
class RunPlan:
    """What is tracked and where its results go.

    `results` is the folder that the run claims; `identity` is added to its fingerprint. `open_store` is
    called once the folder is claimed. `problems` are the tracks that cannot be tracked. `complete` is
    given the summary of a run whose tracking has ended, to score and pack. `places` are shown at the end,
    `hints` after them. With `needs_pictures` or `needs_zip` the run has failed without them, and with
    `input_is_damaged` whatever it writes, since frames are missing: `warnings` tell which.
    """

    sequences: Sequences[Sequence]
    results: Path
    open_store: Callable[[Session], TrackStore]
    identity: Identity = field(default_factory=dict)
    problems: Sequences[TrackOutcome] = ()
    warnings: Sequences[str] = ()
    complete: Callable[[RunSummary], RunSummary] = _as_it_is
    places: Mapping[str, Path] = field(default_factory=dict)
    hints: Mapping[str, str] = field(default_factory=dict)
    input_is_damaged: bool = False
    needs_pictures: bool = False
    needs_zip: bool = False
