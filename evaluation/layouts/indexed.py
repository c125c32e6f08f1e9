"""The truth of a data set, from the index of a split (`python -m data_prep task=index`)."""

from pathlib import Path

import numpy as np

from configs.errors import UserError
from configs.terminal import counted
from data_prep.index.build import build_index, index_path
from data_prep.index.store import Index
from data_prep.readers.reader import reader_of
from data_prep.sequence import ABSENT, UNKNOWN
from evaluation.boxes.ragged import BoxTruth

DECIMALS = range(8)  # a float32 has no more that count


def read_indexed(
    data: str, split: str, indexes: Path, root: Path | None = None
) -> tuple[BoxTruth, list[str]]:
    """The truth of a split, and what was noticed in reading it.

    With `root`, the data set's folder, its index is made first, unless it is there. Raises UserError where
    there is no index, or the split has no truth.
    """
    reader = reader_of(data, split)
    if root is not None:
        build_index(reader, root, split, indexes)
    index = Index(index_path(indexes, data, split))
    notes = [f"left out of the index: {left.name}: {left.reason}" for left in index.about.left_out]
    unknown = int(np.count_nonzero(index.present == UNKNOWN))
    if unknown == len(index.present) or (data != "otb99" and _has_first_boxes_only(index)):
        raise UserError(f"{index.path}: {data} gives no truth for split={split}; score another split")
    if unknown:
        notes.append(f"{index.path}: nobody says of {counted(unknown, 'frame')} whether the target is there")
    names = tuple(index.rows["name"].to_pylist())
    boxes = as_written(index.boxes_xywh).T
    truth = BoxTruth(
        f"{data} {split}",
        names,
        index.starts,
        np.ascontiguousarray(boxes),
        index.present == ABSENT,
        index.sizes,
    )
    return truth, notes


def _has_first_boxes_only(index: Index) -> bool:
    """Whether no sequence has a box after its first frame."""
    later = np.ones(len(index.boxes_xywh), bool)
    later[index.starts[:-1]] = False
    return bool(later.any() and np.isnan(index.boxes_xywh[later]).all())


def as_written(numbers: np.ndarray) -> np.ndarray:
    """Float64 of the decimals that float32 numbers were read from: the fewest that round to the same.

    An index keeps float32, in which 35.1 is 35.099998; the toolkits read 35.1 from the file.
    """
    flat = numbers.ravel()
    exact = flat.astype(np.float64)
    rest = np.flatnonzero(np.isfinite(flat))
    for decimals in DECIMALS:
        rounded = np.round(exact[rest], decimals)
        fits = rounded.astype(np.float32) == flat[rest]
        exact[rest[fits]] = rounded[fits]
        rest = rest[~fits]
    return exact.reshape(numbers.shape)
