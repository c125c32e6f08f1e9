"""Making an index: every sequence of a data set is read once, in parallel."""

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from configs.errors import UserError
from data_prep.files import reading, real_path
from data_prep.index.leave_out import split_off
from data_prep.index.rows import row_of, write_index
from data_prep.index.store import ENDING, VERSION, About, LeftOut, read_about
from data_prep.parallel import in_processes, with_bar
from data_prep.readers.entry import Entry, Reader
from data_prep.readers.listing import list_split
from data_prep.readers.pictures import ENDINGS

log = logging.getLogger(__name__)
Read = tuple[dict[str, Any], tuple[str, ...]] | LeftOut


def index_path(folder: Path, data: str, split: str) -> Path:
    """Where the index of a split lies in the folder of all indexes."""
    return folder / f"{data}-{split}{ENDING}"


def indexes_of(folder: Path, names: Sequence[str], splits: Sequence[str]) -> tuple[Path, ...]:
    """The indexes of data sets; one split is that of all of them.

    Raises UserError where there are more splits than one and not as many as data sets.
    """
    each = list(splits) * len(names) if len(splits) == 1 else splits
    if len(each) != len(names):
        raise UserError(f"splits={list(splits)}: give a split for each of {', '.join(names)}")
    return tuple(index_path(folder, name, split) for name, split in zip(names, each, strict=True))


def build_index(
    reader: Reader, root: Path, split: str, folder: Path, workers: int = 0, leave_out: Path | None = None
) -> tuple[About, bool]:
    """Make the index of a split in `folder`, unless it is there and the data have not changed.

    Sequences that the file `leave_out` names are not read; those that cannot be read are left out too, and
    all are told of. Returns what the index is of, and whether it was made now. Raises UserError where the
    data are not there, no sequence can be read, or `leave_out` names one that the split has not.
    """
    listing, root = list_split(reader, root, split), real_path(root)
    entries, unread = split_off(listing.entries, leave_out)
    state = state_of(entries, (*unread, *listing.repeated.values()))
    path = index_path(folder, reader.name, split)
    if (there := _unchanged(path, root, state)) is not None:
        return there, False
    read = in_processes(partial(_read, reader, root), entries, workers)
    rows, notes, left_out = _sorted_out(with_bar(read, f"{reader.name} {split}", len(entries)))
    left_out, notes = unread + left_out, [*listing.repeated.values(), *notes]
    if not rows:
        raise UserError(
            f"{root}: none of {len(left_out)} sequences can be read; the first: {left_out[0].reason}"
        )
    about = About(reader.name, split, str(root), state, len(rows), tuple(left_out), tuple(notes))
    write_index(path, rows, about)
    return about, True


def _read(reader: Reader, root: Path, entry: Entry) -> Read:
    """One sequence as a row with what was mended, or why it is left out."""
    try:
        with reading():
            sequence = reader.read(entry)
        return row_of(sequence, root), sequence.notes
    except UserError as fault:
        return LeftOut(entry.name, str(fault))


def _sorted_out(told: Iterable[Read]) -> tuple[list[dict[str, Any]], list[str], list[LeftOut]]:
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    left_out: list[LeftOut] = []
    for each in told:
        if isinstance(each, LeftOut):
            left_out.append(each)
        else:
            rows.append(each[0])
            notes += each[1]
    return rows, notes, left_out


def _unchanged(path: Path, root: Path, state: str) -> About | None:
    """What an index says of itself, if it is of these files; None where it is to be made."""
    if not path.exists():
        return None
    try:
        about = read_about(path)
    except UserError as fault:
        log.warning("%s", fault)
        return None
    return about if (about.root, about.state) == (str(root), state) else None


def state_of(entries: list[Entry], more: Iterable[object] = ()) -> str:
    """A hash of the entries, of what else is told, and of what lies in their folders: names, sizes and times.

    Pictures are not looked at: that their folder's time stands still tells that none came or went.
    """
    state = hashlib.blake2b(str(VERSION).encode(), digest_size=16)
    for each in more:
        state.update(repr(each).encode())
    for entry in entries:
        state.update(repr((entry.name, str(entry.folder), entry.facts)).encode())
    # Thousands of entries may share a folder, and that folder hold all pictures of a data set.
    for folder in dict.fromkeys(entry.folder for entry in entries):
        state.update("".join(_lines(folder)).encode())
    for path in dict.fromkeys(path for entry in entries for path in entry.files):
        state.update(_line(path).encode())
    return state.hexdigest()


def _lines(folder: Path) -> Iterator[str]:
    """A line for the folder and each thing in it that is no picture."""
    try:
        with os.scandir(folder) as found:  # makes no path of each of thousands of pictures
            names = sorted(each.name for each in found if not each.name.lower().endswith(ENDINGS))
    except OSError:
        names = []
    yield from map(_line, (folder, *(folder / name for name in names)))


def _line(path: Path) -> str:
    try:
        facts = path.stat()
    except OSError:
        return f"{path.name} missing\n"  # reading it will say so
    return f"{path.name} {facts.st_size} {facts.st_mtime_ns}\n"
