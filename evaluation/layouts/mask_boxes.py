"""Boxes around masks: files with a mask on each line (as in VOTSr results), read as boxes."""

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
    """The boxes, float64 (F, 4), of the masks on F lines; `size` is (width, height) of the frames."""
    return np.array([box_of_line(line, size) for line in lines], np.float64).reshape(-1, 4)


def box_of_line(line: str, size: Size) -> Box:
    """The box, xywh in pixels of the frame, around the mask that the VOT toolkit reads from a line.

    It is `NOWHERE` where the mask is empty or outside the frame, and where the line is no mask. Where the
    window of the mask is inside the frame, the box follows from the run lengths without decoding any pixel.
    Raises ValueError where the line cannot be parsed, or its runs do not fit its window.
    """
    runs = read_runs(line)
    # A line of a box, a polygon or a code, which the toolkit reads as an empty mask.
    if runs is None:
        return NOWHERE
    width, height = size
    # Nearly all windows are inside the frame, where the box follows from the runs at once. A window that
    # reaches beyond it is decoded, because the box must be cropped to the frame.
    is_inside = min(runs.left, runs.top) >= 0
    if is_inside and runs.left + runs.width <= width and runs.top + runs.height <= height:
        return _box_of_runs(runs)
    mask = decode_mask(line, size)
    box_xyxy = None if mask is None else box_of_mask(mask)
    return NOWHERE if box_xyxy is None else xyxy_to_xywh(box_xyxy)


def _box_of_runs(runs: Runs) -> Box:
    """The box around the runs of ones, which are every second run.

    Runs are row by row. A run that continues in the next row spans the full width of the window.
    """
    # Runs of zeros and ones alternate, zeros first. The cumulative sums are the exclusive ends of the runs.
    end_pixels = np.cumsum(runs.lengths)[1::2]
    lengths = runs.lengths[1::2]
    first_pixels, end_pixels = (end_pixels - lengths)[lengths > 0], end_pixels[lengths > 0]
    if not end_pixels.size:
        return NOWHERE
    # Pixels of the window are numbered row by row.
    top, bottom = first_pixels[0] // runs.width, (end_pixels[-1] - 1) // runs.width
    firsts, lasts = first_pixels % runs.width, (end_pixels - 1) % runs.width
    continues = first_pixels // runs.width != (end_pixels - 1) // runs.width
    # Inclusive columns of the window, hence + 1 for the sides of the box.
    left, right = np.where(continues, 0, firsts).min(), np.where(continues, runs.width - 1, lasts).max()
    if right == 0:  # the toolkit reads a mask in the first column alone as an empty one
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
    """Read the masks of K files as `read_tables` reads boxes; `sizes` int (K, 2) are the sizes of frames.

    Raises UserError where sizes are not known, or where a file is not text.
    """
    if sizes is None:
        raise UserError(
            "layout=masks: needs the sizes of frames, which annotations do not have; give data=NAME"
        )
    boxes: list[np.ndarray] = []
    missing, wrong = np.zeros(len(paths), bool), dict[int, Wrong]()
    for number, (path, (width, height)) in enumerate(zip(paths, sizes.tolist(), strict=True)):
        # A missing file has no lines; the caller reports it.
        missing[number] = not Path(path).is_file()
        lines = [] if missing[number] else read_lines(Path(path))
        found, faults = _boxes(lines, (width, height))
        boxes.append(np.array(found, np.float64).reshape(-1, 4))
        if faults:
            wrong[number] = faults
    counts = np.array([len(each) for each in boxes], np.int64)
    # (N, 4) -> (4, N), as `read_tables` returns boxes.
    return Tables(np.ascontiguousarray(np.concatenate(boxes).T), counts, missing, wrong)


def _boxes(lines: list[str], size: Size) -> tuple[list[Box], Wrong]:
    """The box of each line, and (line from 1, reason) of the lines that are not masks."""
    boxes: list[Box] = []
    wrong: list[tuple[int, str]] = []
    for number, line in enumerate(lines, start=1):
        try:
            if is_shape(line):
                raise ValueError("it is a box or a polygon; score boxes with layout=data")
            boxes.append(box_of_line(line, size))
        except ValueError as fault:
            # The line keeps its place: later lines must stay at their frames.
            boxes.append(NO_BOX)
            wrong.append((number, f"is no mask: {fault}"))
    return boxes, tuple(wrong)
