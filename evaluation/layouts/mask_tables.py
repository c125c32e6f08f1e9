"""Boxes around masks: results of one mask line a frame, read as if they were boxes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from configs.errors import UserError
from data_prep.geometry import Box, Size
from data_prep.votsr.regions import is_shape
from data_prep.votsr.results import read_lines
from evaluation.layouts.tables import Tables
from evaluation.masks.boxes import box_of_line

NO_BOX: Box = (np.nan, np.nan, np.nan, np.nan)
Wrong = tuple[tuple[int, str], ...]


def read_mask_tables(paths: Sequence[str], sizes: np.ndarray | None) -> Tables:
    """As `read_tables` with four numbers a line; `sizes` int (K, 2) are those of each file's frames.

    Raises UserError where they are not known, or a file is there but is no text.
    """
    if sizes is None:
        raise UserError("layout=masks: frames' sizes are not known from annotations alone; give data=NAME")
    boxes: list[np.ndarray] = []
    missing, wrong = np.zeros(len(paths), bool), dict[int, Wrong]()
    for number, (path, (width, height)) in enumerate(zip(paths, sizes.tolist(), strict=True)):
        missing[number] = not Path(path).is_file()
        lines = [] if missing[number] else read_lines(Path(path))
        found, faults = _boxes(lines, (width, height))
        boxes.append(np.array(found, np.float64).reshape(-1, 4))
        if faults:
            wrong[number] = faults
    counts = np.array([len(each) for each in boxes], np.int64)
    return Tables(np.ascontiguousarray(np.concatenate(boxes).T), counts, missing, wrong)


def _boxes(lines: list[str], size: Size) -> tuple[list[Box], Wrong]:
    """The box of each line, and the lines that are no masks, from 1 on, with the reason."""
    boxes: list[Box] = []
    wrong: list[tuple[int, str]] = []
    for number, line in enumerate(lines, start=1):
        try:
            if is_shape(line):
                raise ValueError("it is a box or a polygon; score boxes with layout=data")
            boxes.append(box_of_line(line, size))
        except ValueError as fault:
            boxes.append(NO_BOX)
            wrong.append((number, f"is no mask: {fault}"))
    return boxes, tuple(wrong)
