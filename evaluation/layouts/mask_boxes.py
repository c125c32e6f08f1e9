"""Boxes around masks: results of one mask line a frame, read as if they were boxes."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from configs.errors import UserError
from data_prep.geometry import Box, Size, box_of_mask, xyxy_to_xywh
from data_prep.votsr.regions import Runs, decode_mask, is_shape, read_runs
from data_prep.votsr.results import read_lines
from evaluation.layouts.tables import Tables

NOWHERE: Box = (0.0, 0.0, 0.0, 0.0)


def boxes_of_lines(lines: Iterable[str], size: Size) -> np.ndarray:
    """The boxes, float64 (F, 4), of mask lines of frames of `size` (width, height); see `box_of_line`."""
    return np.array([box_of_line(line, size) for line in lines], np.float64).reshape(-1, 4)


def box_of_line(line: str, size: Size) -> Box:
    """The tight box, xywh in pixels of the frame, around the mask that the VOT toolkit sees in a line.

    `NOWHERE` where the mask is empty, the line is no mask, or all of it lies outside the frame. Where the
    window lies inside the frame the box is that of the runs, and no pixel is unpacked. Raises ValueError
    where the line does not parse or its runs do not fit its window.
    """
    runs = read_runs(line)
    if runs is None:
        return NOWHERE
    width, height = size
    is_inside = min(runs.left, runs.top) >= 0
    if is_inside and runs.left + runs.width <= width and runs.top + runs.height <= height:
        return _box_of_runs(runs)
    mask = decode_mask(line, size)
    box_xyxy = None if mask is None else box_of_mask(mask)
    return NOWHERE if box_xyxy is None else xyxy_to_xywh(box_xyxy)


def _box_of_runs(runs: Runs) -> Box:
    """The box around every second run. One that goes on in the next row spans the window's width."""
    ends = np.cumsum(runs.lengths)[1::2]
    lengths = runs.lengths[1::2]
    begins, ends = (ends - lengths)[lengths > 0], ends[lengths > 0]
    if not ends.size:
        return NOWHERE
    top, bottom = begins[0] // runs.width, (ends[-1] - 1) // runs.width
    firsts, lasts = begins % runs.width, (ends - 1) % runs.width
    goes_on = begins // runs.width != (ends - 1) // runs.width
    left, right = np.where(goes_on, 0, firsts).min(), np.where(goes_on, runs.width - 1, lasts).max()
    if right == 0:  # the toolkit takes a mask in the window's first column alone for an empty one
        return NOWHERE
    return (
        float(runs.left + left),
        float(runs.top + top),
        float(right - left + 1),
        float(bottom - top + 1),
    )


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
