"""Reading one tracker's results against a truth: every fault is told with its file and line."""

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
    """Lines that each name a file, and what was noticed but hinders nothing.

    With `counted` (`missing=count`) a fault of results is a note too: its frames count as missed.
    """

    counted: bool = False
    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, line: str, mend: str) -> None:
        """A fault of results; `mend` is told where it is an error."""
        if self.counted:
            self.notes.append(f"{line}; counted as missed")
        else:
            self.lines.append(f"{line}; {mend}")

    def raise_any(self) -> None:
        """Raise UserError with a line for each fault, if there is one."""
        if self.lines:
            raise UserError("\n".join(self.lines))


AGAIN = "track it again, or give missing=count"


def read_results(
    folder: TrackerFolder, truth: BoxTruth, faults: Faults, takes_nan: bool = True, form: str | None = None
) -> BoxResults:
    """A tracker's boxes of all frames; where a file has none they are NaN and `missing`.

    Lines beyond the truth's are cut, and that is noted. Without `takes_nan` a box with NaN is a fault too.
    `form` is what the numbers are, xywh or xyxy; where they seem to be something else, that is a fault if
    none was given (None: xywh), else a note.
    """
    _unknown(folder, truth, faults)
    paths = [f"{folder.folder}/{name}.txt" for name in truth.sequences]
    tables = read_mask_tables(paths, truth.sizes) if folder.masks else read_tables(paths, 4, truth.num_frames)
    _missing_files(paths, tables, faults)
    for number, wrong in tables.wrong.items():
        _wrong_lines(paths[number], [each for each in wrong if each[0] <= truth.lengths[number]], faults)
    _lengths(paths, tables, truth, faults)
    boxes, missing = _placed(tables, truth)
    if not folder.masks:
        boxes = _read_as(form, BoxResults(folder.tracker, boxes), folder, truth, faults)
    if takes_nan:
        _odd_boxes(paths, boxes, missing, truth, faults)
    else:
        missing = _without_nan(paths, boxes, missing, truth, faults)
    return BoxResults(folder.tracker, boxes, missing if missing.any() else None)


def _read_as(
    form: str | None, numbers: BoxResults, folder: TrackerFolder, truth: BoxTruth, faults: Faults
) -> np.ndarray:
    """The boxes (4, F) of numbers as they stand in the files."""
    taken, seems = form or XYWH, other_form(numbers, truth, form or XYWH)
    if seems is not None:
        told, mend = seems
        line = f"{folder.folder}: the boxes of {folder.tracker} seem to be {told}; {mend}"
        if form is None:
            faults.lines.append(f"{line}, or boxes={XYWH} if they are {WRITTEN[XYWH]}")
        else:
            faults.notes.append(f"{line}; trackers=[…] names the trackers that it holds for")
    return as_xywh(numbers.boxes_xywh, taken)


def _unknown(folder: TrackerFolder, truth: BoxTruth, faults: Faults) -> None:
    for name in folder.unknown((*truth.sequences, *truth.not_asked)):
        line = (
            f"{folder.folder / name}.txt: the truth has no such sequence{did_you_mean(name, truth.sequences)}"
        )
        if faults.counted:
            faults.notes.append(f"{line}; it is not scored")
        else:
            faults.lines.append(f"{line}; remove the file, or give missing=count")


def _missing_files(paths: list[str], tables: Tables, faults: Faults) -> None:
    for number in np.flatnonzero(tables.missing):
        faults.add(f"{paths[number]}: no such file", "track this sequence, or give missing=count")


def _wrong_lines(path: str, wrong: list[tuple[int, str]], faults: Faults) -> None:
    """One line for the first of a file's wrong lines, with how many more there are."""
    if wrong:
        line, reason = wrong[0]
        more = f" (and {counted(len(wrong) - 1, 'more line')})" if len(wrong) > 1 else ""
        faults.add(f"{path}: line {line} {reason}{more}", "write x,y,w,h there, or give missing=count")


def _lengths(paths: list[str], tables: Tables, truth: BoxTruth, faults: Faults) -> None:
    for number in np.flatnonzero((tables.counts != truth.lengths) & ~tables.missing):
        count, length = int(tables.counts[number]), int(truth.lengths[number])
        if count > length:
            faults.notes.append(
                f"{paths[number]}: {counted(count, 'line')} for {counted(length, 'frame')}; the rest is cut"
            )
        elif count or number not in tables.wrong:
            faults.add(
                f"{paths[number]}: ends at line {count}, the truth has {counted(length, 'frame')}", AGAIN
            )


def _placed(tables: Tables, truth: BoxTruth) -> tuple[np.ndarray, np.ndarray]:
    """The boxes (4, F) in the truth's frames, and which are missing, bool (F,)."""
    missing = np.zeros(truth.num_frames, bool)
    starts = np.concatenate([[0], np.cumsum(tables.counts)])
    if (tables.counts == truth.lengths).all():
        boxes = tables.values
    else:
        boxes = np.full((4, truth.num_frames), np.nan)
        for number, count in enumerate(np.minimum(tables.counts, truth.lengths)):
            to, source = truth.starts[number], starts[number]
            boxes[:, to : to + count] = tables.values[:, source : source + count]
            missing[to + count : truth.starts[number + 1]] = True
    for number, wrong in tables.wrong.items():
        lines = np.array([line - 1 for line, _ in wrong])
        missing[truth.starts[number] + lines[lines < truth.lengths[number]]] = True
    return boxes, missing


def _odd_boxes(
    paths: list[str], boxes: np.ndarray, missing: np.ndarray, truth: BoxTruth, faults: Faults
) -> None:
    """Note boxes that are no place and not the usual zeros: protocols count them in ways of their own."""
    with np.errstate(invalid="ignore", over="ignore"):
        if np.isfinite(boxes.sum()) and not boxes[2:].min(initial=0) < 0:
            return  # two quick passes instead of many: nearly all results are so
    odd = np.flatnonzero((~np.isfinite(boxes).all(axis=0) | (boxes[2:] < 0).any(axis=0)) & ~missing)
    if len(odd):
        number = int(np.searchsorted(truth.starts, odd[0], side="right")) - 1
        line = int(odd[0] - truth.starts[number]) + 1
        told = f"{counted(len(odd), 'box')} of this tracker with NaN, infinity or negative sides"
        faults.notes.append(f"{paths[number]}: line {line}: {told}; they count as the formula says")


def _without_nan(
    paths: list[str], boxes: np.ndarray, missing: np.ndarray, truth: BoxTruth, faults: Faults
) -> np.ndarray:
    nan = np.isnan(boxes).any(axis=0) & ~missing
    for number in np.unique(np.searchsorted(truth.starts, np.flatnonzero(nan), side="right") - 1):
        start, stop = truth.starts[number], truth.starts[number + 1]
        line = int(np.flatnonzero(nan[start:stop])[0]) + 1
        faults.add(
            f"{paths[number]}: line {line} has NaN, which this protocol does not take",
            "write 0,0,0,0 for none, or give missing=count",
        )
    return missing | nan
