"""The tracks to diagnose, from a VOTSr workspace or from a benchmark over boxes.

In a workspace the score is that of the referral challenge (`evaluation.masks.referral`): a mean over the
frames of each track, over the tracks of each sequence, and over sequences weighted by their numbers of
frames.

For boxes the same score is computed from boxes, and all sequences have equal weights. No protocol over boxes
counts like this, because their curves leave out the frames in which the target is absent.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from configs.errors import UserError
from data_prep.index.build import index_path
from data_prep.index.store import Index
from data_prep.video.frames import ImageFrames
from data_prep.votsr.results import result_path
from evaluation.boxes.evaluation import folders_of, layout_of, truth_of
from evaluation.boxes.overlaps import InclusiveBoxes, inclusive_overlap
from evaluation.boxes.protocol import BoxProtocol
from evaluation.boxes.ragged import BoxResults, BoxTruth, is_box
from evaluation.config import EvaluationSettings
from evaluation.diagnosis.groups import groups_of
from evaluation.diagnosis.kinds import TrackFrames
from evaluation.diagnosis.traces import RunTraces, Why
from evaluation.layouts.results import Faults, read_results
from evaluation.masks.referral_evaluation import ScoredWorkspace, score_workspace
from evaluation.protocols.registry import protocol_of
from evaluation.protocols.votsr import workspace_of
from evaluation.report.frame_sources import WorkspaceFrames
from evaluation.scores import FrameSource


@dataclass(frozen=True, eq=False)
class Track:
    """One track of one tracker.

    `number` is the number of its sequence, and `first_frame` that of its first frame, as in `FrameSource`.
    `weight` is its share of the score: the weights of all tracks of a tracker sum to 1. `groups` are the
    track's values of attributes, by the name of the attribute (see `evaluation.diagnosis.groups`). `why` is
    what the tracker says of each frame of `frames`; it is empty where no trace is known.
    """

    sequence: str
    expression: str
    frames: TrackFrames
    weight: float
    number: int
    first_frame: int
    groups: Mapping[str, str]
    why: tuple[Why, ...] = ()


@dataclass(frozen=True, eq=False)
class Tracks:
    """The tracks of all trackers, in the same order for each. `source` is None where frames are not known."""

    name: str
    by_tracker: Mapping[str, tuple[Track, ...]]
    source: FrameSource | None
    notes: tuple[str, ...]


def read_tracks(settings: EvaluationSettings) -> Tracks:
    """The tracks that the settings name: of a workspace, or with `data=` or `layout=` of box results.

    Raises UserError, with one line for each fault of the files, and where no frame has known ground truth.
    """
    traces = RunTraces(Path(settings.runs) if settings.runs else None)
    if settings.data is None and settings.layout in (None, "votsr"):
        root = workspace_of(settings)
        scored = score_workspace(root, settings.trackers, settings.missing)
        by_tracker = {
            name: tuple(_workspace_tracks(scored, number, traces))
            for number, name in enumerate(scored.trackers)
        }
        name = scored.workspace.root.name
        return Tracks(name, by_tracker, WorkspaceFrames(root), tuple(scored.notes))
    protocol = protocol_of(settings.protocol)
    if not isinstance(protocol, BoxProtocol):
        raise UserError(
            f"protocol={settings.protocol}: task=diagnose takes a workspace, truth=DIR, or boxes with a "
            "protocol over boxes"
        )
    return _box_tracks(protocol, settings, traces)


def _workspace_tracks(scored: ScoredWorkspace, tracker: int, traces: RunTraces) -> Iterator[Track]:
    """The tracks of tracker number `tracker`."""
    shares = scored.weights / scored.weights.sum()
    root, name = scored.workspace.root, scored.trackers[tracker]
    for number, ((sequence, truth), each) in enumerate(zip(scored.truths, scored.sequences, strict=True)):
        pairs, missing = each.of(tracker), each.missing[each.rows_of(tracker)]
        at = np.flatnonzero(pairs.annotated)
        for row, expression in enumerate(sequence.expressions):
            frames = TrackFrames(
                pairs.scores[row, at],
                ~pairs.absent[at],
                ~pairs.predicted_absent[row, at],
                np.full(len(at), missing[row]),
                at,
            )
            yield Track(
                sequence.name,
                expression,
                frames,
                # All tracks of a sequence have the same annotated frames, so each has an equal share.
                float(shares[number]) / len(sequence.expressions),
                number,
                row * len(truth.target),
                groups_of(sequence.folder, expression),
                traces.why(sequence.name, expression, result_path(root, name, sequence.name, expression), at),
            )


def _box_tracks(protocol: BoxProtocol, settings: EvaluationSettings, traces: RunTraces) -> Tracks:
    """The tracks of box results, one for each sequence with a frame that counts."""
    # 1. Read the truth, and what an index knows of each sequence: its first expression and its folder.
    layout_of(settings)
    truth, notes = truth_of(protocol, settings)
    known = _index_facts(settings) if settings.data else [("", {})] * len(truth.sequences)
    # 2. Read the results of every tracker; all faults are reported together.
    faults = Faults(settings.missing == "count")
    by_tracker = {}
    for folder in folders_of(settings, truth.sequences):
        results = read_results(folder, truth, faults, protocol.accepts_nan, settings.boxes)
        if not faults.lines:
            tracks = _tracks_of_boxes(truth, results, known)
            by_tracker[folder.tracker] = tuple(
                replace(
                    each,
                    why=traces.why(
                        each.sequence,
                        each.expression,
                        folder.folder / f"{each.sequence}.txt",
                        each.frames.frame_index,
                    ),
                )
                for each in tracks
            )
    faults.raise_any()
    notes += _left_out(truth)
    source = protocol.frame_source(settings)
    return Tracks(truth.name, by_tracker, source, (*notes, *faults.notes))


def _left_out(truth: BoxTruth) -> list[str]:
    """A note for each sequence without a frame that counts. Raises UserError where there is no other one."""
    known = _is_known(truth)
    without = [
        name
        for name, (start, stop) in zip(truth.sequences, pairwise(truth.starts), strict=True)
        if not known[start:stop].any()
    ]
    if len(without) == len(truth.sequences):
        raise UserError(f"{truth.name}: the target is present in every frame, and no frame has its true box")
    return [f"{name}: no frame with known ground truth; it is left out" for name in without]


def _index_facts(settings: EvaluationSettings) -> list[tuple[str, Mapping[str, str]]]:
    """The first expression of each sequence of an index, and its groups."""
    assert settings.data is not None
    index = Index(index_path(Path(settings.indexes), settings.data, settings.split))
    facts: list[tuple[str, Mapping[str, str]]] = []
    for number in range(len(index)):
        sequence = index.sequence(number)
        expression = sequence.expressions[0] if sequence.expressions else ""
        frames = sequence.frames
        # Frames lie in a folder of their own inside that of the sequence.
        folder = frames.paths[0].parent.parent if isinstance(frames, ImageFrames) and len(frames) else None
        facts.append((expression, groups_of(folder, expression)))
    return facts


def _tracks_of_boxes(
    truth: BoxTruth, results: BoxResults, known: list[tuple[str, Mapping[str, str]]]
) -> list[Track]:
    """The tracks of one tracker. Sequences without a frame that counts are left out."""
    # 1. Scores of all frames, float64 (F,); NaN where the ground truth is not known.
    reported, absent, is_known = is_box(results.boxes_xywh), _absent(truth), _is_known(truth)
    missing = np.zeros(len(absent), bool) if results.missing is None else results.missing
    with np.errstate(all="ignore"):  # infinite sides
        overlap = inclusive_overlap(
            InclusiveBoxes.of(results.boxes_xywh), InclusiveBoxes.of(truth.boxes_xywh)
        )
    overlap = np.where(reported, np.clip(np.nan_to_num(overlap), 0.0, 1.0), 0.0)
    scores = np.where(is_known, np.where(absent, ~reported & ~missing, overlap), np.nan)
    # 2. Cut them into sequences.
    tracks = []
    for number, name in enumerate(truth.sequences):
        start, stop = truth.starts[number : number + 2]
        at = np.flatnonzero(~np.isnan(scores[start:stop]))
        own = at + start
        if at.size:
            frames = TrackFrames(scores[own], ~absent[own], reported[own], missing[own], at)
            tracks.append(Track(name, known[number][0], frames, 1.0, number, 0, known[number][1]))
    return [replace(track, weight=1 / len(tracks)) for track in tracks]


def _absent(truth: BoxTruth) -> np.ndarray:
    """Where the target is absent, bool (F,)."""
    return ~is_box(truth.boxes_xywh) if truth.absent is None else truth.absent


def _is_known(truth: BoxTruth) -> np.ndarray:
    """Which frames count, bool (F,): the target is absent, or its true box is known."""
    return np.asarray(_absent(truth) | is_box(truth.boxes_xywh))
