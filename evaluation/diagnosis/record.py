"""The content of `diagnosis.json`."""

from collections.abc import Sequence
from typing import Any

from evaluation.diagnosis.costs import Cost, Diagnosis, Redetection
from evaluation.diagnosis.kinds import KINDS
from evaluation.scores import json_number


def diagnosis_json(name: str, diagnoses: Sequence[Diagnosis], notes: Sequence[str]) -> dict[str, Any]:
    """The content of `diagnosis.json`: scores and losses in points of 100, frames counted from 1.

    The tracks of a tracker are in the order of what they cost, those without a loss last.
    """
    return {
        "benchmark": name,
        "kinds": {kind.key: {"title": kind.title, "meaning": kind.meaning} for kind in KINDS},
        "trackers": {each.tracker: _tracker_json(each) for each in diagnoses},
        "notes": list(notes),
    }


def _tracker_json(diagnosis: Diagnosis) -> dict[str, Any]:
    returned, lost = diagnosis.redetections()
    worst = diagnosis.worst()
    order = [*worst, *(number for number in range(len(diagnosis.tracks)) if number not in set(worst))]
    return {
        **_cost_json(diagnosis.cost()),
        "redetection": {"returned": _redetection_json(returned), "lost": _redetection_json(lost)},
        "poor_mask_by_iou": [vars(band) for band in diagnosis.poor_masks()],
        "reasons": [
            {"kind": KINDS[each.kind].key, "why": each.why, "loss": each.loss, "frames": each.frames}
            for each in diagnosis.reasons()
        ],
        "groups": {
            grouping: {name: _cost_json(diagnosis.cost(rows)) for name, rows in groups.items()}
            for grouping, groups in diagnosis.groups().items()
        },
        "tracks": [_track_json(diagnosis, number) for number in order],
    }


def _cost_json(cost: Cost) -> dict[str, Any]:
    kinds = {
        kind.key: {
            "loss": float(cost.loss[number]),
            "tracks": int(cost.tracks[number]),
            "frames": int(cost.frames[number]),
        }
        for number, kind in enumerate(KINDS)
    }
    return {
        "num_tracks": cost.num_tracks,
        "score": cost.score,
        "loss": float(cost.loss.sum()),
        "kinds": kinds,
    }


def _redetection_json(times: Redetection) -> dict[str, Any]:
    return {"count": times.count, "ended": times.ended, "median_frames": json_number(times.median_frames)}


def _track_json(diagnosis: Diagnosis, number: int) -> dict[str, Any]:
    track, own = diagnosis.tracks[number], diagnosis.track_losses[number]
    kinds = {}
    for at, kind in enumerate(KINDS):
        stretches = diagnosis.stretches(number, at)
        if stretches:
            frames = [[first + 1, last + 1] for first, last in stretches]
            kinds[kind.key] = {
                "loss": float(own[at]),
                "frames": frames,
                "worst": _worst_json(diagnosis, number, at),
            }
    return {
        "sequence": track.sequence,
        "expression": track.expression,
        "score": 100 - float(own.sum()),
        "cost": track.weight * float(own.sum()),
        "groups": dict(track.groups),
        "kinds": kinds,
    }


def _worst_json(diagnosis: Diagnosis, number: int, kind: int) -> dict[str, Any]:
    """The worst frame of a kind in a track; state and reasons are null where no trace is known."""
    track, place = diagnosis.tracks[number], diagnosis.worst_frame(number, kind)
    why = track.why[place] if track.why else None
    return {
        "frame": int(track.frames.frame_index[place]) + 1,
        "state": why.state if why else None,
        "reasons": list(why.reasons) if why else None,
    }
