"""The ground truth of a split of a data set, from its index (`python -m data_prep task=index`)."""

from pathlib import Path

import numpy as np

from configs.errors import UserError
from configs.terminal import counted
from data_prep.index.build import build_index, index_path
from data_prep.index.store import Index
from data_prep.readers.reader import reader_of
from data_prep.sequence import ABSENT, UNKNOWN
from evaluation.boxes.ragged import BoxTruth

DECIMALS = range(8)  # a float32 has no more significant decimals


def read_indexed(
    data: str, split: str, indexes: Path, root: Path | None = None
) -> tuple[BoxTruth, list[str]]:
    """The ground truth of a split, and notes on it.

    With `root`, the folder of the data set, the index is built first if it is missing. Raises UserError where
    there is no index, or where the split has no ground truth.
    """
    reader = reader_of(data, split)
    if root is not None:
        build_index(reader, root, split, indexes)
    index = Index(index_path(indexes, data, split))
    notes = [f"left out of the index: {left.name}: {left.reason}" for left in index.about.left_out]
    unknown = int(np.count_nonzero(index.present == UNKNOWN))
    # In test splits of box benchmarks only the first frame has a box, which is no ground truth to score by.
    if unknown == len(index.present) or (data != "otb99" and _has_first_boxes_only(index)):
        raise UserError(f"{index.path}: {data} has no ground truth for split={split}; score another split")
    if unknown:
        frames = counted(unknown, "frame")
        notes.append(f"{index.path}: it is not known for {frames} whether the target is present")
    names = tuple(index.rows["name"].to_pylist())
    # (F, 4) -> (4, F). The copy below puts each coordinate into consecutive memory.
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
    """Whether no sequence has a box after its first frame, as in test splits of box benchmarks."""
    later = np.ones(len(index.boxes_xywh), bool)
    later[index.starts[:-1]] = False
    return bool(later.any() and np.isnan(index.boxes_xywh[later]).all())


def as_written(numbers: np.ndarray) -> np.ndarray:
    """The decimal numbers, float64, that float32 numbers were parsed from.

    An index stores float32, in which 35.1 is 35.099998, but the toolkits read 35.1 from the file. The number
    with the fewest decimals that rounds to the same float32 is taken.
    """
    flat = numbers.ravel()
    exact = flat.astype(np.float64)
    # NaN equals nothing, so it would be tried with every number of decimals; it stays as it is.
    rest = np.flatnonzero(np.isfinite(flat))
    for decimals in DECIMALS:
        rounded = np.round(exact[rest], decimals)
        # Numbers that fit are done; the others are tried with one more decimal.
        fits = rounded.astype(np.float32) == flat[rest]
        exact[rest[fits]] = rounded[fits]
        rest = rest[~fits]
    return exact.reshape(numbers.shape)
