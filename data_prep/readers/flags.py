"""Flags that must be as many as the boxes they speak of."""

from pathlib import Path

import numpy as np

from configs.errors import UserError
from data_prep.readers.annotations import read_flags


def flags_of(path: Path, boxes: np.ndarray) -> np.ndarray:
    """Whole numbers of a file, int64 (F,), one for each of the boxes (F, 4).

    Raises UserError where the file is missing, holds something else, or another count.
    """
    flags = read_flags(path)
    if len(flags) != len(boxes):
        raise UserError(f"{path}: {len(flags)} flags for {len(boxes)} boxes; restore it from the data set")
    return flags
