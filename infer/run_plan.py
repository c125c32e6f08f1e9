"""What a kind of run does in its own way; `infer.run` does the rest for all kinds."""

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Sequences
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.sequence import Sequence
from infer.claims import Identity
from infer.session import Session
from infer.summary import RunSummary, TrackOutcome
from infer.track_store import TrackStore


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
