"""Checking a split: every sequence by itself, in parallel, then the split as a whole."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from configs.errors import UserError, did_you_mean
from data_prep.check.report import KINDS, Checked, CheckSettings, Finding
from data_prep.check.sequences import (
    box_findings,
    fingerprint,
    frame_findings,
    presence_findings,
    text_findings,
)
from data_prep.check.split import list_findings, name_findings, read_lists, strays, twin_findings
from data_prep.files import check_utf8, reading, real_path
from data_prep.parallel import in_processes, with_bar
from data_prep.readers.reader import Entry, Reader, list_split
from data_prep.sequence import Sequence
from data_prep.video.frames import Frames, ImageFrames

UNREAD = ("refused", "no_data")  # findings of sequences that could not be read


@dataclass(frozen=True)
class _Task:
    """What a process needs to examine any sequence. `unnamed` are names of folders that no list contains."""

    reader: Reader
    split: str
    settings: CheckSettings
    unnamed: tuple[str, ...]


def check_split(
    reader: Reader, root: Path, split: str, settings: CheckSettings | None = None, workers: int = 0
) -> Checked:
    """Examine every sequence of a split. Raises UserError where its data or its list are missing."""
    # 1. What the lists and folders contain.
    listing, settings, root = list_split(reader, root, split), settings or CheckSettings(), real_path(root)
    entries = listing.entries
    lists = read_lists(reader, root, split, entries)
    unnamed = strays(lists, entries)
    # 2. Every sequence by itself, in parallel.
    task = _Task(reader, split, settings, tuple(folder.name for folder in unnamed))
    # Only the findings and a short hash come back from the worker processes, no annotations.
    results = in_processes(partial(_examine, task), entries, workers)
    examined = list(with_bar(results, f"{reader.name} {split}", len(entries)))
    findings = _gathered([finding for found, _ in examined for finding in found], split, root, len(entries))
    # 3. The split as a whole.
    findings += [Finding(name, "listed_twice", message) for name, message in listing.repeated.items()]
    findings += list_findings(lists, entries, unnamed)
    findings += name_findings(entries)
    findings += twin_findings(entries, [mark for _, mark in examined])
    order = list(KINDS)
    findings.sort(key=lambda finding: order.index(finding.kind))
    return Checked(reader.name, split, root, settings, len(entries), tuple(findings))


def _examine(task: _Task, entry: Entry) -> tuple[list[Finding], str]:
    """The findings in one sequence, and its fingerprint (see `check.sequences.fingerprint`)."""
    try:
        with reading():
            sequence = task.reader.read(entry)
            _check_names(sequence.frames)
    except UserError as fault:
        return [_refused(task, entry, str(fault))], ""
    return list(_faults(task, sequence)), fingerprint(sequence)


def _check_names(frames: Frames) -> None:
    """Raise UserError where the name of a frame could not be stored in an index."""
    # Only names of image files are stored in an index.
    for path in frames.paths if isinstance(frames, ImageFrames) else ():
        check_utf8(path)


def _faults(task: _Task, sequence: Sequence) -> Iterator[Finding]:
    for note in sequence.notes:
        yield Finding(sequence.name, "mended", note)
    yield from frame_findings(sequence, task.settings.decode)
    yield from box_findings(sequence, task.settings.margin, task.split in task.reader.sparse)
    yield from presence_findings(sequence)
    yield from text_findings(sequence)


def _refused(task: _Task, entry: Entry, reason: str) -> Finding:
    """Why a sequence cannot be read. If its folder is missing, an unlisted folder may be the same
    name, misspelt.
    """
    # The message of a reader begins with the path at fault; only a missing folder is handled specially.
    if entry.folder.exists() or not reason.startswith((f"{entry.folder}:", f"{entry.folder}{os.sep}")):
        return Finding(entry.name, "refused", reason)
    hint = did_you_mean(entry.folder.name, task.unnamed)
    message = f"no such folder, though {task.split} lists it; unpack it there, or correct the name{hint}"
    return Finding(entry.name, "no_data", f"{entry.folder}: {message}")


def _gathered(findings: list[Finding], split: str, root: Path, sequences: int) -> list[Finding]:
    """The findings. Where no sequence of the split has an expression, one finding replaces all of theirs."""
    wordless = [finding for finding in findings if finding.kind == "text_none"]
    read = sequences - sum(finding.kind in UNREAD for finding in findings)
    if len(wordless) < max(2, read):
        return findings
    what = f"no expressions in any of {read} sequences of {split}"
    message = f"{root}: {what}; add them, or train without expressions"
    # Other findings keep their order.
    rest = [finding for finding in findings if finding.kind != "text_none"]
    return [*rest, Finding("", "text_none", message, read)]
