"""What a check can find, and the report of what it found.

Each kind of finding has a name and a severity. The report is a table on the terminal, `check.json` for other
programs, and `leave_out.txt`, the names of broken sequences, for `task=index leave_out=`.
"""

import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from configs.terminal import LONGEST, counted
from data_prep.console import make_console, one_line
from data_prep.files import write_whole
from data_prep.video.frames import Frames, ImageFrames, VideoFrames

BROKEN, DOUBTFUL = "broken", "doubtful"


@dataclass(frozen=True)
class Kind:
    """A kind of finding. `BROKEN`: the sequence cannot be used; `DOUBTFUL`: it can, but should be
    looked at.
    """

    severity: str
    meaning: str


KINDS: dict[str, Kind] = {
    # The sequence as a whole, and its frames.
    "refused": Kind(BROKEN, "its annotations or counts cannot be read"),
    "no_data": Kind(BROKEN, "the split names it, but it does not exist"),
    "frame_missing": Kind(BROKEN, "a frame does not exist"),
    "frame_unreadable": Kind(BROKEN, "a frame is no image, or a damaged one"),
    "frame_size": Kind(BROKEN, "a frame has another size than the first"),
    "frame_turned": Kind(DOUBTFUL, "a frame has another EXIF orientation than the first"),
    # Its boxes. Frames with a faulty box are never drawn for training, so most of these are only doubtful.
    "boxes_away": Kind(BROKEN, "most boxes lie outside the image; they may belong to another video or size"),
    "box_away": Kind(
        DOUBTFUL, "the box of a visible target lies outside the image; the frame is never drawn for training"
    ),
    "boxes_form": Kind(
        BROKEN, "boxes seem to be corners, or shares of the image's sides, instead of x,y,w,h"
    ),
    "box_over": Kind(DOUBTFUL, "a box reaches beyond the image by more than the margin"),
    "box_nan": Kind(
        DOUBTFUL, "the box of a visible target is not a number; the frame is never drawn for training"
    ),
    "box_empty": Kind(DOUBTFUL, "a box has no area; the frame is never drawn for training"),
    "never_shown": Kind(
        DOUBTFUL, "the target is absent in every annotated frame; the sequence is never drawn for training"
    ),
    # Its expressions.
    "text_none": Kind(DOUBTFUL, "it has no expression"),
    "text_empty": Kind(DOUBTFUL, "an expression is empty"),
    "text_never": Kind(DOUBTFUL, "an expression is true of no frame"),
    # Its names and files.
    "frame_gap": Kind(DOUBTFUL, "the numbers of its frames jump"),
    "video_file": Kind(DOUBTFUL, "its frames are in a video file, which an index cannot hold"),
    "mended": Kind(DOUBTFUL, "the reader corrected something"),
    # The split as a whole: lists, names, and sequences that exist twice.
    "listed_twice": Kind(DOUBTFUL, "a list names it more than once"),
    "same_name": Kind(DOUBTFUL, "two sequences of the split have the same name"),
    "same_annotations": Kind(DOUBTFUL, "another sequence has the same boxes and expressions"),
    "two_splits": Kind(DOUBTFUL, "it is in the training split and in an evaluation split"),
    "unlisted": Kind(DOUBTFUL, "its folder lies beside the others, but no list names it"),
}
"""The kinds, in the order of the report."""


@dataclass(frozen=True)
class Finding:
    """One fault of a sequence: its kind (a key of `KINDS`) and a line that names a file and the remedy.

    `sequence` is empty for a fault of the whole split. `count` is the number of frames, boxes or expressions
    that have the fault; the line describes the first of them.
    """

    sequence: str
    kind: str
    line: str
    count: int = 1

    @property
    def severity(self) -> str:
        """`BROKEN` or `DOUBTFUL`."""
        return KINDS[self.kind].severity


@dataclass(frozen=True)
class CheckSettings:
    """How to check: decode every frame instead of its header, and how many pixels a box may exceed
    its image by.
    """

    decode: bool = False
    margin: float = 2.0


@dataclass(frozen=True)
class Checked:
    """The findings in a split of `sequences` sequences, in the order of `KINDS`."""

    data: str
    split: str
    root: Path
    settings: CheckSettings
    sequences: int
    findings: tuple[Finding, ...]

    @property
    def broken(self) -> list[str]:
        """Names of the sequences that cannot be used, each once."""
        return list(dict.fromkeys(each.sequence for each in self.findings if each.severity == BROKEN))


def place(frames: Frames, number: int) -> str:
    """The file of a frame (counted from 0), or its number in a video file."""
    if isinstance(frames, ImageFrames):
        return str(frames.paths[number])
    if isinstance(frames, VideoFrames):
        return f"{frames.path}: frame {number}, counted from 0"
    raise TypeError(type(frames))


REPORT, LEAVE_OUT = "check.json", "leave_out.txt"
SHOWN = 3  # findings of each kind that the terminal shows
STYLES = {BROKEN: "red"}


def write_report(folder: Path, checked: Checked) -> None:
    """Write all findings, and the names of the broken sequences; both files are written even where
    nothing is found.
    """
    write_whole(folder / LEAVE_OUT, "".join(f"{name}\n" for name in checked.broken))
    write_whole(folder / REPORT, json.dumps(report_of(checked), ensure_ascii=False, indent=1) + "\n")


def report_of(checked: Checked) -> dict[str, Any]:
    """The content of `check.json`: data set, settings of the check, counts by kind, and every finding."""
    return {
        "data": checked.data,
        "split": checked.split,
        "root": str(checked.root),
        "settings": asdict(checked.settings),
        "sequences": checked.sequences,
        "broken": checked.broken,
        "counts": {kind: len(found) for kind, found in _by_kind(checked).items()},
        "findings": [asdict(each) | {"severity": each.severity} for each in checked.findings],
    }


def _by_kind(checked: Checked) -> dict[str, list[Finding]]:
    """The findings of each kind that was found, in the order of `KINDS`."""
    # Grouped in the order of `KINDS`.
    found: dict[str, list[Finding]] = defaultdict(list)
    for finding in checked.findings:
        found[finding.kind].append(finding)
    return {kind: found[kind] for kind in KINDS if kind in found}


def print_report(checked: Checked, console: Console | None = None) -> None:
    """Print counts by kind, and the first few lines of each."""
    console = console or make_console()
    by_kind = _by_kind(checked)
    if not by_kind:
        console.print(
            f"{checked.data} {checked.split}: nothing found in {counted(checked.sequences, 'sequence')}"
        )
        return
    # 1. A table of all kinds that were found.
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in ("found", "", "kind", "meaning"):
        table.add_column(column, justify="right" if column == "found" else "left")
    for kind, found in by_kind.items():
        severity = KINDS[kind].severity
        table.add_row(
            str(len(found)), Text(severity, STYLES.get(severity, "yellow")), kind, KINDS[kind].meaning
        )
    console.print(table)
    for kind, found in by_kind.items():
        console.line()
        # 2. The first findings of each kind; a split may have thousands.
        for finding in found[:SHOWN]:
            _line(console, f"{kind}: {finding.sequence or 'the whole split'}: {finding.line}{_more(finding)}")
        if len(found) > SHOWN:
            _line(console, f"{kind}: {len(found) - SHOWN} more, all in {REPORT}")


def _more(finding: Finding) -> str:
    return f" (the first of {finding.count})" if finding.count > 1 and finding.sequence else ""


def _line(console: Console, text: str) -> None:
    """Print a line without cutting or wrapping it: a terminal wraps it, and a file keeps it as one line."""
    console.print(Text(one_line(text, LONGEST)), soft_wrap=True)
