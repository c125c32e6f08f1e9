"""One target of a mask data set: every frame's J and F, for all its rows and all trackers."""

from collections.abc import Sequence as Values
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.errors import UserError
from data_prep.readers.entry import Entry, Reader
from evaluation.masks.inputs import Row, masks_of, rows_of
from evaluation.masks.measures import boundary_measure, outline_of, region_similarity


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
