"""The timelines of a run: `timelines/<sequence>.png` in `out`, drawn from the traces after tracking.

They are drawn by the process that completes the run, so they are the same for any number of processes and for
a run that was resumed.
"""

from collections.abc import Iterator
from collections.abc import Sequence as Sequences
from itertools import groupby
from pathlib import Path

import numpy as np

from data_prep.files import inside
from data_prep.sequence import ABSENT, PRESENT, UNKNOWN, Sequence
from data_prep.trace import read_trace
from data_prep.votsr.truth import read_truth
from infer.engine.failures import FailureBoundary
from infer.runs.summary import TrackOutcome
from infer.runs.tracks import RunTracks

FOLDER = "timelines"


def write_timelines(tracking: RunTracks) -> Path | None:
    """Draw the timelines of all sequences of which a track has a trace. Returns their folder if it exists.

    Those of sequences that were kept from an earlier run are not drawn again. What fails is a warning.
    """
    folder = tracking.records.out / FOLDER
    for name, own in _by_sequence(tracking.outcomes):
        with FailureBoundary() as boundary:
            path = inside(folder, f"{name}.png")
            if not (path.is_file() and all(outcome.kept for outcome in own)):
                _write_timeline(tracking, path, name, own)
        if boundary.reason is not None:
            tracking.warnings.append(f"no timeline of {name}: {boundary.reason}")
    return folder if folder.is_dir() else None


def _by_sequence(outcomes: Sequences[TrackOutcome]) -> Iterator[tuple[str, list[TrackOutcome]]]:
    """The tracks with a result of each sequence. The outcomes are in the order of the plan."""
    written = [each for each in outcomes if not each.failure and each.expression is not None]
    for name, own in groupby(written, key=lambda outcome: outcome.sequence):
        yield name, list(own)


def _write_timeline(tracking: RunTracks, path: Path, name: str, own: Sequences[TrackOutcome]) -> None:
    # matplotlib takes long to import.
    from infer.render.timeline import MAX_TRACKS, TimelineTrack, write_timeline

    expressions = [outcome.expression or "" for outcome in own]
    paths = {each: tracking.records.trace_path(name, each) for each in expressions}
    # Tracks that were kept from another run have no trace.
    traced = [each for each in expressions if paths[each].is_file()]
    # Only those that are drawn are read.
    tracks = [
        TimelineTrack(each, read_trace(paths[each]) if number < MAX_TRACKS else [])
        for number, each in enumerate(traced)
    ]
    if tracks:
        sequence = tracking.sequence_named(name)
        write_timeline(path, name, tracks, None if sequence is None else true_presence(sequence))


def true_presence(sequence: Sequence) -> np.ndarray | None:
    """Where the target of a sequence is present, int8 (F,) as `Truth.present`; None if it is not known."""
    # 1. A data set.
    if sequence.truth is not None:
        known = sequence.truth.present
        return known if (known != UNKNOWN).any() else None
    # 2. A workspace, of which some frames may be annotated.
    truth = read_truth(sequence)
    if truth is None:
        return None
    present = np.full(len(sequence.frames), UNKNOWN, np.int8)
    for frame in truth.annotated():
        if frame.index < len(present):
            present[frame.index] = PRESENT if frame.mask.any() else ABSENT
    return present
