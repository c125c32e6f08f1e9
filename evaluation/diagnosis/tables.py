"""The tables of a diagnosis."""

from collections.abc import Sequence

import numpy as np

from configs.terminal import counted
from evaluation.absence import FOUND_IOU
from evaluation.diagnosis.costs import Cost, Diagnosis, Redetection
from evaluation.diagnosis.kinds import KINDS
from evaluation.report.tables import Cell, Column, Table

NUM_WORST = 8  # tracks of a tracker in the table of the worst; diagnosis.json has all of them
NUM_STRETCHES = 3  # stretches of frames that the table names
NUM_REASONS = 12  # rows of the table of reasons; diagnosis.json has all of them
POINTS, DIGITS = "points", 2


def overview_table(diagnoses: Sequence[Diagnosis], about: tuple[tuple[str, str], ...]) -> Table:
    """A row for each tracker: its score, what each kind costs, and how soon the target is found again.

    The kinds that cost all trackers together most come first; those that no tracker has are left out.
    """
    costs = [each.cost() for each in diagnoses]
    totals = np.sum([cost.loss for cost in costs], axis=0)
    kept = [int(number) for number in np.argsort(-totals, kind="stable") if totals[number] > 0]
    columns = (
        Column("tracker", "Tracker"),
        Column("score", "Score", "%", True, digits=DIGITS),
        *(Column(KINDS[number].key, KINDS[number].title, POINTS, False, DIGITS) for number in kept),
        Column("redetection_median", "Median re-detection", "frames", False, digits=0),
    )
    rows: list[tuple[Cell, ...]] = []
    for each, cost in zip(diagnoses, costs, strict=True):
        returned, _ = each.redetections()
        # Infinity means that half of the losses or more do not end. A table shows it as no value.
        median = returned.median_frames if np.isfinite(returned.median_frames) else np.nan
        rows.append((each.tracker, cost.score, *(float(cost.loss[number]) for number in kept), median))
    return Table("Loss by kind", columns, tuple(rows), about)


def kind_table(diagnosis: Diagnosis) -> Table:
    """The kinds of one tracker, the one that costs most first. Kinds that it does not have are left out."""
    cost = diagnosis.cost()
    total = float(cost.loss.sum())
    rows: list[tuple[Cell, ...]] = [
        (
            KINDS[number].title,
            float(cost.loss[number]),
            100 * float(cost.loss[number]) / total,
            float(cost.tracks[number]),
            float(cost.frames[number]),
        )
        for number in largest_kinds(cost)
    ]
    frames = sum(len(track.frames.scores) for track in diagnosis.tracks)
    rows.append(("All", total, 100.0 if total else np.nan, float(cost.num_tracks), float(frames)))
    columns = (
        Column("kind", "Kind"),
        Column("loss", "Loss", POINTS, digits=DIGITS),
        Column("share", "Share of the loss", "%"),
        Column("tracks", "Tracks", digits=0),
        Column("frames", "Frames", digits=0),
    )
    return Table(f"{diagnosis.tracker}: score {cost.score:.2f}, loss {total:.2f}", columns, tuple(rows))


def overlap_table(diagnosis: Diagnosis) -> Table:
    """What poor masks cost by their IoU: a row for each band of `costs.IOU_EDGES` with a frame."""
    rows: list[tuple[Cell, ...]] = [
        (f"{band.low:g} to {band.high:g}", band.loss, float(band.frames))
        for band in diagnosis.poor_masks()
        if band.frames
    ]
    columns = (
        Column("iou", "IoU"),
        Column("loss", "Loss", POINTS, digits=DIGITS),
        Column("frames", "Frames", digits=0),
    )
    return Table(f"{diagnosis.tracker}: poor masks by IoU", columns, tuple(rows))


def worst_table(diagnosis: Diagnosis) -> Table:
    """The tracks of one tracker that cost most, each with its largest kind and frames of that kind."""
    rows: list[tuple[Cell, ...]] = []
    for number in diagnosis.worst()[:NUM_WORST]:
        track, own = diagnosis.tracks[number], diagnosis.track_losses[number]
        kind = int(own.argmax())
        rows.append(
            (
                track.sequence,
                track.expression,
                100 - float(own.sum()),
                track.weight * float(own.sum()),
                KINDS[kind].title,
                frames_text(diagnosis.stretches(number, kind)),
                _worst_frame_text(diagnosis, number, kind),
            )
        )
    columns = (
        Column("sequence", "Sequence"),
        Column("expression", "Expression"),
        Column("score", "Score", "%"),
        Column("cost", "Costs", POINTS, digits=DIGITS),
        Column("kind", "Largest kind"),
        Column("frames", "Its frames"),
        Column("why", "Its worst frame"),
    )
    return Table(f"{diagnosis.tracker}: the tracks that cost most", columns, tuple(rows))


def _worst_frame_text(diagnosis: Diagnosis, number: int, kind: int) -> str:
    """The worst frame of a kind in a track and, where a trace is known, what the tracker did there."""
    track, place = diagnosis.tracks[number], diagnosis.worst_frame(number, kind)
    why = f": {track.why[place].text}" if track.why else ""
    return f"{int(track.frames.frame_index[place]) + 1}{why}"


def reason_table(diagnosis: Diagnosis) -> Table:
    """What kinds cost by state and reasons, the largest loss first. Without a trace it has no rows."""
    rows: list[tuple[Cell, ...]] = [
        (KINDS[each.kind].title, each.why, each.loss, float(each.frames))
        for each in diagnosis.reasons()[:NUM_REASONS]
    ]
    columns = (
        Column("kind", "Kind"),
        Column("why", "State and reasons"),
        Column("loss", "Loss", POINTS, digits=DIGITS),
        Column("frames", "Frames", digits=0),
    )
    return Table(f"{diagnosis.tracker}: loss by state and reasons", columns, tuple(rows))


def group_tables(diagnosis: Diagnosis) -> list[Table]:
    """What each kind costs in groups of tracks: a table for each grouping, a row for each group."""
    tables = []
    cost = diagnosis.cost()
    kept = largest_kinds(cost)
    for grouping, groups in diagnosis.groups().items():
        rows: list[tuple[Cell, ...]] = []
        for name in sorted(groups):
            of_group = diagnosis.cost(groups[name])
            values = [float(of_group.loss[number]) for number in kept]
            rows.append((name, float(of_group.num_tracks), of_group.score, *values))
        columns = (
            Column(grouping, grouping.capitalize()),
            Column("tracks", "Tracks", digits=0),
            Column("score", "Score", "%"),
            *(Column(KINDS[number].key, KINDS[number].title, POINTS) for number in kept),
        )
        tables.append(Table(f"{diagnosis.tracker}: loss by {grouping}", columns, tuple(rows)))
    return tables


def largest_kinds(cost: Cost) -> list[int]:
    """The numbers of the kinds with a loss, the largest first."""
    return [int(number) for number in np.argsort(-cost.loss, kind="stable") if cost.frames[number]]


def frames_text(stretches: Sequence[tuple[int, int]]) -> str:
    """The longest stretches of frames in order, counted from 1, as `13–40, 55 and 2 more`."""
    longest = sorted(stretches, key=lambda each: each[0] - each[1])[:NUM_STRETCHES]
    texts = [f"{first + 1}–{last + 1}" if last > first else str(first + 1) for first, last in sorted(longest)]
    more = len(stretches) - len(texts)
    return ", ".join(texts) + (f" and {more} more" if more else "")


def redetection_line(diagnosis: Diagnosis) -> str:
    """A line on how soon the target is found again."""
    returned, lost = diagnosis.redetections()
    parts = [_redetection_text("returns", returned), _redetection_text("losses while present", lost)]
    return f"{diagnosis.tracker}: found again (IoU >= {FOUND_IOU:g}) after {' and after '.join(parts)}"


def _redetection_text(event: str, times: Redetection) -> str:
    if not times.count:
        return f"0 of 0 {event}"
    median = counted(int(times.median_frames), "frame") if np.isfinite(times.median_frames) else "never"
    return f"{times.ended} of {times.count} {event} (median: {median})"
