"""What J and F of every frame say of a tracker."""

import numpy as np

from evaluation.absence import FOUND, absence_scores
from evaluation.masks.measures import statistics
from evaluation.masks.video import VideoScores
from evaluation.scores import Curve, TrackerScores

THRESHOLDS = np.linspace(0, 1, 21)
CURVE = Curve("success", "Success", "Overlap threshold", "Frames [%]", THRESHOLDS, "j")


def tracker_scores(videos: list[VideoScores], tracker: int, name: str, semi: bool) -> TrackerScores:
    """The figures of one tracker, by its place, over the rows of all videos, in percent.

    With `semi` the first and last frame of each do not count.
    """
    region, boundary, said, absent = [], [], [], []
    for video in videos:
        for row in range(len(video.rows)):
            region.append(_counted(video.region[tracker, row], semi))
            boundary.append(_counted(video.boundary[tracker, row], semi))
            said.append(video.said_absent[tracker, row])
            absent.append(video.absent)
    by_row = {**_statistics("j", region), **_statistics("f", boundary)}
    by_row["j_and_f"] = (by_row["j"] + by_row["f"]) / 2
    overall = {key: _mean(values) for key, values in by_row.items()}
    starts = np.cumsum([0, *map(len, region)])
    overlap = np.concatenate(region)
    told, each = absence_scores(
        starts, np.concatenate(absent), np.concatenate(said), overlap >= FOUND, ~np.isnan(overlap)
    )
    curves = {CURVE.key: np.stack([_success(values) for values in region])}
    return TrackerScores(name, overall | told, by_row | each, curves, overlap.astype(np.float32))


def _counted(values: np.ndarray, semi: bool) -> np.ndarray:
    """The values of a row's frames, NaN where one does not count."""
    if not semi:
        return values
    kept = values.copy()
    kept[[0, -1]] = np.nan
    return kept


def _statistics(key: str, rows: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Mean, recall and decay of each row, in percent."""
    found = 100 * np.array([statistics(values[~np.isnan(values)]) for values in rows])
    return {key: found[:, 0], f"{key}_recall": found[:, 1], f"{key}_decay": found[:, 2]}


def _mean(values: np.ndarray) -> float:
    counted = values[~np.isnan(values)]
    return float(counted.mean()) if counted.size else np.nan


def _success(values: np.ndarray) -> np.ndarray:
    """The share of the frames that count, in percent, above each threshold; NaN where none counts."""
    counted = values[~np.isnan(values)]
    if not counted.size:
        return np.full(THRESHOLDS.shape, np.nan)
    share: np.ndarray = 100 * (counted[:, None] > THRESHOLDS).mean(axis=0)
    return share
