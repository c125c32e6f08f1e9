"""Reading the results of a tracker for the frames of a ground truth; every fault names its file and line."""

from dataclasses import dataclass, field

import numpy as np

from configs.errors import UserError, did_you_mean
from configs.terminal import counted
from evaluation.boxes.forms import WRITTEN, XYWH, as_xywh, other_form
from evaluation.boxes.ragged import BoxResults, BoxTruth
from evaluation.layouts.folders import TrackerFolder
from evaluation.layouts.mask_boxes import read_mask_tables
from evaluation.layouts.tables import Tables, read_tables


@dataclass
class Faults:
    """Faults of files (`lines`, each names a file), and notes on what does not prevent scoring.

    Faults are collected, so that all of them are reported together. With `counted` (`missing=count`) a fault
    of results becomes a note, and its frames count as missed.
    """

    counted: bool = False
    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, line: str, remedy: str) -> None:
        """Add a fault of results, with its remedy if it is an error."""
        if self.counted:
            self.notes.append(f"{line}; counted as missed")
        else:
            self.lines.append(f"{line}; {remedy}")

    def raise_any(self) -> None:
        """Raise UserError with one line for each fault, if there are any."""
        if self.lines:
            raise UserError("\n".join(self.lines))


TRACK_AGAIN = "track it again, or give missing=count"


def read_results(
    folder: TrackerFolder, truth: BoxTruth, faults: Faults, accepts_nan: bool = True, form: str | None = None
) -> BoxResults:
    """The boxes of a tracker for all frames of the ground truth; frames without a line are NaN and `missing`.

    Lines beyond the number of frames are cut, with a note. Without `accepts_nan` a box with NaN is a fault.
    `form` is the format of the numbers, xywh or xyxy (None: xywh). Where they seem to have another format, it
    is a fault if `form` is None, and otherwise a note.
    """
    # 1. Read all files; report those that are missing, unknown, or invalid.
    _report_unknown_files(folder, truth, faults)
    paths = [f"{folder.folder}/{name}.txt" for name in truth.sequences]
    tables = read_mask_tables(paths, truth.sizes) if folder.masks else read_tables(paths, 4, truth.num_frames)
    _report_missing_files(paths, tables, faults)
    # Invalid lines beyond the last frame are cut anyway, so they are not a fault.
    for number, wrong in tables.wrong.items():
        _report_invalid_lines(
            paths[number], [each for each in wrong if each[0] <= truth.lengths[number]], faults
        )
    _report_lengths(paths, tables, truth, faults)
    # 2. Put the boxes at the frames of the ground truth, and convert them to x,y,w,h.
    boxes, missing = _align(tables, truth)
    if not folder.masks:
        boxes = _as_boxes(form, BoxResults(folder.tracker, boxes), folder, truth, faults)
    if accepts_nan:
        _note_odd_boxes(paths, boxes, missing, truth, faults)
    else:
        missing = _report_nan(paths, boxes, missing, truth, faults)
    return BoxResults(folder.tracker, boxes, missing if missing.any() else None)


def _as_boxes(
    form: str | None, numbers: BoxResults, folder: TrackerFolder, truth: BoxTruth, faults: Faults
) -> np.ndarray:
    """The boxes (4, F) as x,y,w,h, from the numbers in the files; reports numbers of another format."""
    taken, seems = form or XYWH, other_form(numbers, truth, form or XYWH)
    if seems is not None:
        remark, remedy = seems
        line = f"{folder.folder}: the boxes of {folder.tracker} seem to be {remark}; {remedy}"
        # Not `faults.add`: with missing=count, results in another format would score low without an error.
        if form is None:
            faults.lines.append(f"{line}, or boxes={XYWH} if they are {WRITTEN[XYWH]}")
        else:
            faults.notes.append(f"{line}; name the trackers that it is right for with trackers=[…]")
    return as_xywh(numbers.boxes_xywh, taken)


def _report_unknown_files(folder: TrackerFolder, truth: BoxTruth, faults: Faults) -> None:
    for name in folder.unknown((*truth.sequences, *truth.not_asked)):
        hint = did_you_mean(name, truth.sequences)
        line = f"{folder.folder / name}.txt: the ground truth has no such sequence{hint}"
        if faults.counted:
            faults.notes.append(f"{line}; it is not scored")
        else:
            faults.lines.append(f"{line}; remove the file, or give missing=count")


def _report_missing_files(paths: list[str], tables: Tables, faults: Faults) -> None:
    for number in np.flatnonzero(tables.missing):
        faults.add(f"{paths[number]}: no such file", "track this sequence, or give missing=count")


def _report_invalid_lines(path: str, wrong: list[tuple[int, str]], faults: Faults) -> None:
    """Report the first invalid line of a file, and how many more there are."""
    if wrong:
        line, reason = wrong[0]
        more = f" (and {counted(len(wrong) - 1, 'more line')})" if len(wrong) > 1 else ""
        faults.add(f"{path}: line {line} {reason}{more}", "write x,y,w,h there, or give missing=count")


def _report_lengths(paths: list[str], tables: Tables, truth: BoxTruth, faults: Faults) -> None:
    for number in np.flatnonzero((tables.counts != truth.lengths) & ~tables.missing):
        count, length = int(tables.counts[number]), int(truth.lengths[number])
        if count > length:
            faults.notes.append(
                f"{paths[number]}: {counted(count, 'line')} for {counted(length, 'frame')}; the rest is cut"
            )
        elif count or number not in tables.wrong:
            faults.add(
                f"{paths[number]}: ends at line {count}, but the ground truth has {counted(length, 'frame')}",
                TRACK_AGAIN,
            )


def _align(tables: Tables, truth: BoxTruth) -> tuple[np.ndarray, np.ndarray]:
    """The boxes (4, F) at the frames of the ground truth, and which frames have none, bool (F,)."""
    missing = np.zeros(truth.num_frames, bool)
    starts = np.concatenate([[0], np.cumsum(tables.counts)])
    # Nearly always each file has one line for each frame, and no number needs to be moved.
    if (tables.counts == truth.lengths).all():
        boxes = tables.values
    else:
        boxes = np.full((4, truth.num_frames), np.nan)
        # Frames beyond the last line are NaN and missing; lines beyond the last frame are cut.
        for number, count in enumerate(np.minimum(tables.counts, truth.lengths)):
            to, source = truth.starts[number], starts[number]
            boxes[:, to : to + count] = tables.values[:, source : source + count]
            missing[to + count : truth.starts[number + 1]] = True
    for number, wrong in tables.wrong.items():
        # The rows of invalid lines are NaN already. They count as missing, not as a report of absence.
        lines = np.array([line - 1 for line, _ in wrong])
        missing[truth.starts[number] + lines[lines < truth.lengths[number]]] = True
    return boxes, missing


def _note_odd_boxes(
    paths: list[str], boxes: np.ndarray, missing: np.ndarray, truth: BoxTruth, faults: Faults
) -> None:
    """Note boxes with NaN, infinity or negative sides, which each protocol counts in its own way."""
    with np.errstate(invalid="ignore", over="ignore"):
        if np.isfinite(boxes.sum()) and not boxes[2:].min(initial=0) < 0:
            return  # Nearly all results end here, after two quick passes over the numbers.
    odd = np.flatnonzero((~np.isfinite(boxes).all(axis=0) | (boxes[2:] < 0).any(axis=0)) & ~missing)
    if len(odd):
        # side="right" and - 1: the last sequence that starts at this frame or before it.
        number = int(np.searchsorted(truth.starts, odd[0], side="right")) - 1
        line = int(odd[0] - truth.starts[number]) + 1
        remark = f"{counted(len(odd), 'box')} of this tracker with NaN, infinity or negative sides"
        faults.notes.append(
            f"{paths[number]}: line {line}: {remark}; they count as the protocol's formula says"
        )


def _report_nan(
    paths: list[str], boxes: np.ndarray, missing: np.ndarray, truth: BoxTruth, faults: Faults
) -> np.ndarray:
    # One message for each file, about its first line with NaN.
    nan = np.isnan(boxes).any(axis=0) & ~missing
    for number in np.unique(np.searchsorted(truth.starts, np.flatnonzero(nan), side="right") - 1):
        start, stop = truth.starts[number], truth.starts[number + 1]
        line = int(np.flatnonzero(nan[start:stop])[0]) + 1
        faults.add(
            f"{paths[number]}: line {line} has NaN, which this protocol does not accept",
            "write 0,0,0,0 for none, or give missing=count",
        )
    return missing | nan
