"""Evaluation on a mask data set: J and F of every frame, and the metrics of DAVIS that are made of them."""

from collections.abc import Sequence as Names
from collections.abc import Sequence as Values
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from configs.errors import UserError
from data_prep.files import check_utf8
from data_prep.parallel import in_processes
from data_prep.readers.reader import Entry, Reader
from evaluation.absence import FOUND_IOU, absence_scores
from evaluation.layouts.mask_results import Row, frame_names, masks_of, missing_of, rows_of
from evaluation.masks.measures import boundary_measure, boundary_of, region_similarity, statistics
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
    """Score trackers on a split of a data set whose folder is `truth`; by default all trackers in `results`.

    `layout` is as in `evaluation.layouts.mask_results`. With `missing="count"` a missing mask scores 0, and
    there is a note. With `semi` the first and the last frame of a video do not count. `workers` is the number
    of processes; 0: one for each core. Raises UserError, with one line for each fault, where results are
    missing or cannot be read, where the split has no masks, and for a name that is not UTF-8.
    """
    # 1. What is to be scored, and whether all results are there.
    names = tuple(trackers) or trackers_in(results)
    roots = [results / name for name in names]
    entries = [entry for entry in reader.find(truth, split) if rows_of(entry, layout)]
    if not entries:
        raise UserError(f"{truth}: no expressions in split={split}; take another split")
    if (unknown := [str(root) for root in roots if not root.is_dir()]) != []:
        raise UserError(f"{unknown[0]}: no such tracker; there are {', '.join(trackers_in(results))}")
    for folder in (*roots, *(entry.folder for entry in entries)):
        check_utf8(folder)
    missing_lines = [line for root in roots for line in _missing_lines(root, entries, layout)]
    if missing_lines and missing == "error":
        raise UserError("\n".join(f"{line}; track it again, or give missing=count" for line in missing_lines))
    # 2. Score the targets, each in one process, for all trackers at once: its masks are decoded once.
    work = partial(score_target, reader, roots, layout)
    videos = list(in_processes(work, entries, workers))
    # 3. Put the scores together, the best tracker first.
    found = [tracker_scores(videos, number, name, semi) for number, name in enumerate(names)]
    # Every row of a video has all of its frames: (rows + 1,).
    starts = np.cumsum([0, *(len(video.absent) for video in videos for _ in video.rows)])
    rows = tuple(row.name for video in videos for row in video.rows)
    notes = [f"{line}; what is missing scores 0" for line in missing_lines] + _unknown_results(
        roots, entries, layout
    )
    best_first = sorted(found, key=lambda each: -each.overall[METRICS[0].key])
    benchmark = Benchmark(f"{reader.name} {split}", rows, starts)
    return Evaluation(DAVIS_SEMI if semi else DAVIS, benchmark, tuple(best_first), tuple(notes))


def trackers_in(results: Path) -> tuple[str, ...]:
    """The names of the folders in `results`, sorted. Raises UserError where there are none."""
    found = sorted(path.name for path in results.iterdir() if path.is_dir()) if results.is_dir() else []
    if not found:
        raise UserError(f"{results}: holds no folder of a tracker; check results=")
    return tuple(found)


def _missing_lines(root: Path, entries: list[Entry], layout: str) -> list[str]:
    """A line for each row of which a tracker has no complete result."""
    lines = []
    for entry in entries:
        names = frame_names(entry)
        lines += [line for row in rows_of(entry, layout) for line in missing_of(root, row, names)]
    return lines


def _unknown_results(roots: list[Path], entries: list[Entry], layout: str) -> list[str]:
    """A note for each tracker with results of videos that the split does not have."""
    is_data = layout == "data"
    known = {f"{entry.name}.txt" if is_data else entry.folder.name for entry in entries}
    notes = []
    for root in roots:
        found = (
            (root / "masks").glob("*.txt") if is_data else (path for path in root.iterdir() if path.is_dir())
        )
        others = sorted({path.name for path in found} - known)
        if others:
            fault = f"{len(others)} results are of videos that the split does not have"
            notes.append(f"{root}: {fault}, the first is {others[0]}; they are left out")
    return notes


@dataclass(frozen=True, eq=False)
class VideoScores:
    """The scores of the F frames of one target.

    `region` (J), `boundary` (F) and `predicted_absent` are arrays (trackers, rows, F); `absent` is bool (F,).
    """

    rows: tuple[Row, ...]
    region: np.ndarray
    boundary: np.ndarray
    absent: np.ndarray
    predicted_absent: np.ndarray


def score_target(reader: Reader, roots: Values[Path], layout: str, entry: Entry) -> VideoScores:
    """Score the results of all trackers, whose folders are `roots`, for one target.

    A missing mask scores 0 and does not count as *absent*. Masks and boundaries of the ground truth are
    computed once for all results. Raises UserError where the data set or a result cannot be read.
    """
    if reader.masks is None:
        raise UserError(f"data={reader.name}: has no masks to score by; take a data set of masks")
    truth, rows = reader.masks(entry), rows_of(entry, layout)
    # Generators, which advance together with the truth: one frame of each is in memory at a time.
    results = [[masks_of(root, row, truth.names, truth.size) for row in rows] for root in roots]
    shape = len(roots), len(rows), len(truth.names)
    # Zeros are the scores of a missing mask: J and F of 0, and no report of absence.
    scores = VideoScores(
        tuple(rows), np.zeros(shape), np.zeros(shape), np.zeros(shape[2], bool), np.zeros(shape, bool)
    )
    for at, mask in enumerate(truth.masks):
        scores.absent[at] = not mask.any()
        boundary = boundary_of(mask)
        for tracker, own in enumerate(results):
            for row, masks in enumerate(own):
                result = next(masks)
                if result is not None:
                    place = tracker, row, at
                    scores.predicted_absent[place] = not result.any()
                    scores.region[place] = region_similarity(mask, result)
                    scores.boundary[place] = boundary_measure(boundary, boundary_of(result))
    return scores


def tracker_scores(videos: list[VideoScores], tracker: int, name: str, semi: bool) -> TrackerScores:
    """The metrics of tracker number `tracker` over the rows of all videos, in percent.

    With `semi` the first and the last frame of each row do not count.
    """
    # 1. The values of each row, a list of arrays (F,).
    region, boundary, predicted_absent, absent = [], [], [], []
    for video in videos:
        for row in range(len(video.rows)):
            region.append(_counted(video.region[tracker, row], semi))
            boundary.append(_counted(video.boundary[tracker, row], semi))
            predicted_absent.append(video.predicted_absent[tracker, row])
            absent.append(video.absent)
    # 2. Statistics of each row, and their means over rows. J&F is the mean of J and F of a row.
    by_row = {**_statistics("j", region), **_statistics("f", boundary)}
    by_row["j_and_f"] = (by_row["j"] + by_row["f"]) / 2
    overall = {key: _mean(values) for key, values in by_row.items()}
    # 3. Absence over all frames, and the curves.
    # With `semi` the ends of a video are NaN in `overlap`, so absence is not measured there either.
    starts = np.cumsum([0, *map(len, region)])
    overlap = np.concatenate(region)
    absence, absence_by_row = absence_scores(
        starts,
        np.concatenate(absent),
        np.concatenate(predicted_absent),
        overlap >= FOUND_IOU,
        ~np.isnan(overlap),
    )
    curves = {CURVE.key: np.stack([_success(values) for values in region])}
    return TrackerScores(name, overall | absence, by_row | absence_by_row, curves, overlap.astype(np.float32))


def _counted(values: np.ndarray, semi: bool) -> np.ndarray:
    """The values of a row's frames, NaN in frames that do not count."""
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
    """The mean of the values that are not NaN; NaN where there are none."""
    counted = values[~np.isnan(values)]
    return float(counted.mean()) if counted.size else np.nan


def _success(values: np.ndarray) -> np.ndarray:
    """The percentage of frames with a value above each threshold, float64 (T,); NaN where no frame counts."""
    counted = values[~np.isnan(values)]
    if not counted.size:
        return np.full(THRESHOLDS.shape, np.nan)
    # (F, 1) > (T,) -> (F, T), whose mean over frames is the curve.
    share: np.ndarray = 100 * (counted[:, None] > THRESHOLDS).mean(axis=0)
    return share
