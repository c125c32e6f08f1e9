"""Trackers on a mask data set: J and F of every frame, and the figures of DAVIS made from them."""

from collections.abc import Sequence as Names
from collections.abc import Sequence as Values
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from configs.errors import UserError
from data_prep.parallel import in_processes
from data_prep.readers.reader import Entry, Reader
from evaluation.absence import FOUND, absence_scores
from evaluation.layouts.mask_results import Row, frame_names, lacks_of, masks_of, rows_of
from evaluation.masks.measures import boundary_measure, outline_of, region_similarity, statistics
from evaluation.protocols.davis import CURVE, DAVIS, DAVIS_SEMI, METRICS, THRESHOLDS
from evaluation.scores import Benchmark, Evaluation, TrackerScores


def evaluate_masks(
    reader: Reader,
    truth: Path,
    split: str,
    results: Path,
    trackers: Names[str] = (),
    *,
    layout: str = "expressions",
    missing: str = "error",
    semi: bool = False,
    workers: int = 1,
) -> Evaluation:
    """Score trackers (all in `results`, if none is named) on a split of a data set that lies in `truth`.

    `layout` is as in `evaluation.layouts.mask_results`. With `missing="count"` a missing mask scores 0, which
    is noted. `workers` is the number of processes, 0 one a core. Raises UserError, a line each, where results
    are missing; where there are none, one cannot be read, or the split has no masks.
    """
    names = tuple(trackers) or trackers_in(results)
    roots = [results / name for name in names]
    entries = [entry for entry in reader.find(truth, split) if rows_of(entry, layout)]
    if not entries:
        raise UserError(f"{truth}: no sentence in split={split}; take another split")
    if (unknown := [str(root) for root in roots if not root.is_dir()]) != []:
        raise UserError(f"{unknown[0]}: no such tracker; there are {', '.join(trackers_in(results))}")
    lacks = [line for root in roots for line in _lacks(root, entries, layout)]
    if lacks and missing == "error":
        raise UserError("\n".join(f"{line}; track it again, or give missing=count" for line in lacks))
    work = partial(score_target, reader, roots, layout)
    videos = list(in_processes(work, entries, workers))
    found = [tracker_scores(videos, number, name, semi) for number, name in enumerate(names)]
    starts = np.cumsum([0, *(len(video.absent) for video in videos for _ in video.rows)])
    rows = tuple(row.name for video in videos for row in video.rows)
    notes = [f"{line}; what is missing scores 0" for line in lacks] + _strays(roots, entries, layout)
    best_first = sorted(found, key=lambda each: -each.overall[METRICS[0].key])
    benchmark = Benchmark(f"{reader.name} {split}", rows, starts)
    return Evaluation(DAVIS_SEMI if semi else DAVIS, benchmark, tuple(best_first), tuple(notes))


def trackers_in(results: Path) -> tuple[str, ...]:
    """The folders in `results`, by name. Raises UserError where there are none."""
    found = sorted(path.name for path in results.iterdir() if path.is_dir()) if results.is_dir() else []
    if not found:
        raise UserError(f"{results}: holds no folder of a tracker; check results=")
    return tuple(found)


def _lacks(root: Path, entries: list[Entry], layout: str) -> list[str]:
    """What a tracker's results lack, a line for each row."""
    told = []
    for entry in entries:
        names = frame_names(entry)
        told += [line for row in rows_of(entry, layout) for line in lacks_of(root, row, names)]
    return told


def _strays(roots: list[Path], entries: list[Entry], layout: str) -> list[str]:
    """A note for each tracker with results of videos that the split has not."""
    is_data = layout == "data"
    known = {f"{entry.name}.txt" if is_data else entry.folder.name for entry in entries}
    notes = []
    for root in roots:
        found = (
            (root / "masks").glob("*.txt") if is_data else (path for path in root.iterdir() if path.is_dir())
        )
        others = sorted({path.name for path in found} - known)
        if others:
            notes.append(f"{root}: {len(others)} results of no video here, the first {others[0]}; left out")
    return notes


@dataclass(frozen=True, eq=False)
class VideoScores:
    """J and F, float64 (trackers, rows, F), and absence, bool: `absent` (F,), `said_absent` like J."""

    rows: tuple[Row, ...]
    region: np.ndarray
    boundary: np.ndarray
    absent: np.ndarray
    said_absent: np.ndarray


def score_target(reader: Reader, roots: Values[Path], layout: str, entry: Entry) -> VideoScores:
    """Score the results that trackers, whose folders are `roots`, have for a target.

    A missing mask scores 0 and says nothing of absence. The truth's masks and boundaries are made once for
    all. Raises UserError where the data set or a result cannot be read.
    """
    if reader.masks is None:
        raise UserError(f"data={reader.name}: has no masks to score by; take a data set of masks")
    truth, rows = reader.masks(entry), rows_of(entry, layout)
    results = [[masks_of(root, row, truth.names, truth.size) for row in rows] for root in roots]
    shape = len(roots), len(rows), len(truth.names)
    scores = VideoScores(
        tuple(rows), np.zeros(shape), np.zeros(shape), np.zeros(shape[2], bool), np.zeros(shape, bool)
    )
    for at, mask in enumerate(truth.masks):
        scores.absent[at] = not mask.any()
        outline = outline_of(mask)
        for tracker, own in enumerate(results):
            for row, masks in enumerate(own):
                result = next(masks)
                if result is not None:
                    place = tracker, row, at
                    scores.said_absent[place] = not result.any()
                    scores.region[place] = region_similarity(mask, result)
                    scores.boundary[place] = boundary_measure(outline, outline_of(result))
    return scores


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
