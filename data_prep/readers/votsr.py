"""A VOTSr workspace: the layout of the referral challenge (VOTS 2026, https://www.votchallenge.net).

`config.yaml`, `sequences/list.txt` and a folder for each sequence, as `data_prep.votsr` reads them. The
ground truth is in `groundtruth_<object>.txt`: a line `0` is a frame without annotation, and an empty mask
one in which the target is absent. All expressions of a sequence refer to one target. Blank ones are kept,
since each has a result file.
"""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from configs.errors import UserError
from configs.terminal import counted
from data_prep.readers.masks import truth_of_masks, unknown
from data_prep.readers.reader import Entry, Reader, register_reader
from data_prep.sequence import Sequence
from data_prep.video.frames import ImageFrames
from data_prep.votsr import truth as votsr
from data_prep.votsr.textfiles import read_config, read_list
from data_prep.votsr.workspace import Workspace, read_workspace


def find(root: Path, _split: str) -> list[Entry]:
    """Every sequence of `list.txt`. Faults of a sequence are reported when it is read."""
    workspace = read_workspace(root, check_frames=False)
    names, _ = read_list(root / str(read_config(root).get("sequences") or "sequences"))
    # A sequence with a fault stays in the list, so that its fault is reported instead of the sequence
    # disappearing.
    sound = {sequence.name: sequence for sequence in workspace.sequences}
    return [_entry(workspace, name, sound.get(name)) for name in names]


def _entry(workspace: Workspace, name: str, sequence: Sequence | None) -> Entry:
    """The entry of a sequence (None: it cannot be used, and reading the entry says why)."""
    faults = [problem.reason for problem in workspace.problems if problem.sequence == name]
    if sequence is None or sequence.folder is None or not isinstance(sequence.frames, ImageFrames):
        return Entry(name, workspace.root, {"fault": faults[0]})
    # Of the warnings those that name a file of this sequence.
    warnings = [text for text in workspace.warnings if text.startswith(f"{sequence.folder}{os.sep}")]
    facts = {
        "paths": [str(path) for path in sequence.frames.paths],
        "size": sequence.frames.size,
        "expressions": list(sequence.expressions),
        "fps": sequence.fps,
        "metadata": sequence.metadata,
        "notes": list(dict.fromkeys(faults)) + warnings,
    }
    return Entry(name, sequence.folder, facts)


def read(entry: Entry) -> Sequence:
    """Read one sequence and its truth."""
    facts = entry.facts
    if "fault" in facts:
        raise UserError(facts["fault"])
    frames = ImageFrames(tuple(map(Path, facts["paths"])), tuple(facts["size"]))
    expressions, notes = tuple(facts["expressions"]), tuple(facts["notes"])
    sequence = Sequence(
        entry.name, frames, expressions, facts["fps"], entry.folder, facts["metadata"], notes=notes
    )
    return _with_truth(sequence, votsr.read_truth(sequence), len(frames))


def _with_truth(sequence: Sequence, truth: votsr.Truth | None, count: int) -> Sequence:
    if truth is None:
        return dataclasses.replace(sequence, truth=unknown(count))
    # A truth with fewer lines than frames is usable: the remaining frames are unknown.
    notes, lines = sequence.notes + truth.notes, len(truth.target)
    if lines < count:
        message = f"{counted(lines, 'line')} for {counted(count, 'frame')}; nothing is known of the last"
        notes += (f"{truth.files.target}: {message}",)
    return dataclasses.replace(sequence, truth=truth_of_masks(_masks(truth, count)), notes=notes)


def _masks(truth: votsr.Truth, count: int) -> Iterator[np.ndarray | None]:
    """One mask for each frame, None where it is not annotated."""
    # `annotated` skips frames without annotation; yield None for each of them.
    done = 0
    for frame in truth.annotated():
        if frame.index >= count:
            message = f"line {frame.index + 1} is a mask, but there are {counted(count, 'frame')}"
            raise UserError(f"{truth.files.target}: {message}; restore the missing frames")
        yield from [None] * (frame.index - done)
        yield frame.mask
        done = frame.index + 1
    yield from [None] * (count - done)


VOTSR = register_reader(Reader("votsr", ("all",), find, read, sparse=("all",)))
