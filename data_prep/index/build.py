"""Making an index: every sequence of a data set is read once, in parallel.

A list of sequences that an index is told to leave out, as `task=check` writes it.

Sequences as the rows of an index, and the rows as its file.
"""

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from collections.abc import Sequence as Rows
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from configs.errors import UserError, did_you_mean
from data_prep.files import check_utf8, read_text, reading, real_path, whole_file, writing
from data_prep.index.store import ENDING, SCHEMA, VERSION, About, LeftOut, read_about
from data_prep.parallel import in_processes, with_bar
from data_prep.readers.folders import ENDINGS
from data_prep.readers.reader import Entry, Reader, list_split
from data_prep.sequence import Sequence
from data_prep.video.frames import ImageFrames

log = logging.getLogger(__name__)
Read = tuple[dict[str, Any], tuple[str, ...]] | LeftOut


def index_path(folder: Path, data: str, split: str) -> Path:
    """Where the index of a split lies in the folder of all indexes."""
    return folder / f"{data}-{split}{ENDING}"


def indexes_of(folder: Path, names: Rows[str], splits: Rows[str]) -> tuple[Path, ...]:
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


MOST_NAMES = 5  # of unknown ones in a message


def split_off(entries: list[Entry], path: Path | None) -> tuple[list[Entry], list[LeftOut]]:
    """The entries that a file does not name, and those it names, a line each, with the reason.

    Blank lines are none, and an empty file names nothing. Raises UserError where the file is missing or
    names what is not there: it may be another split's.
    """
    if path is None:
        return entries, []
    text = read_text(path, "write it with task=check, or take leave_out= away")
    listed = Counter(filter(None, map(str.strip, text.splitlines())))
    names = {entry.name for entry in entries}
    unknown = [name for name in listed if name not in names]
    if unknown:
        told = ", ".join(unknown[:MOST_NAMES]) + (", …" if len(unknown) > MOST_NAMES else "")
        hint = did_you_mean(unknown[0], names)
        raise UserError(
            f"{path}: names {told} ({len(unknown)} in all), which the split has not; remove the names, or "
            f"take the list of this split{hint}"
        )
    left = [
        LeftOut(entry.name, _named(listed[entry.name], path)) for entry in entries if entry.name in listed
    ]
    return [entry for entry in entries if entry.name not in listed], left


def _named(times: int, path: Path) -> str:
    return f"named in {path}" + (f" {times} times" if times > 1 else "")


def row_of(sequence: Sequence, root: Path) -> dict[str, Any]:
    """A sequence of image files with a truth as a row. Paths are kept as they lead from the root.

    Raises UserError for frames that are not image files: a pair names its frames by their paths.
    """
    frames, truth = sequence.frames, sequence.truth
    assert truth is not None, "readers give one"
    if not isinstance(frames, ImageFrames):
        raise UserError(f"{sequence.name}: its frames lie in a video file; extract them into images first")
    for path in frames.paths:
        check_utf8(path)
    count = len(frames)
    spans = sequence.spans or ((0, count),) * len(sequence.expressions)
    return {
        "name": sequence.name,
        "folder": frames.paths[0].parent.relative_to(root).as_posix(),
        # Not as Python's texts: of millions of frames these would fill the memory before they are written.
        "frames": pa.array([path.name for path in frames.paths], pa.string()),
        "width": frames.size[0],
        "height": frames.size[1],
        "fps": sequence.fps,
        "boxes_xywh": truth.boxes_xywh.astype(np.float32).ravel(),
        "present": truth.present.astype(np.int8),
        "expressions": list(sequence.expressions),
        "starts": [start for start, _ in spans],
        "stops": [stop for _, stop in spans],
    }


def write_index(path: Path, rows: Rows[dict[str, Any]], about: About) -> None:
    """Write an index, whole or not at all. Raises UserError where it cannot be written."""
    columns = [_column([row[field.name] for row in rows], field.type) for field in SCHEMA]
    told = {
        "version": VERSION,
        **vars(about),
        "left_out": [vars(each) for each in about.left_out],
        "notes": list(about.notes),
    }
    batch = pa.RecordBatch.from_arrays(columns, schema=SCHEMA.with_metadata({"about": json.dumps(told)}))
    with (
        writing(path),
        whole_file(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, batch.schema) as writer,
    ):
        writer.write_batch(batch)


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """A column; lists are joined as arrays, without a Python object for each of their values."""
    if not pa.types.is_list(kind):
        return pa.array(values, kind)
    offsets = np.cumsum([0, *(len(value) for value in values)], dtype=np.int64)
    flat = pa.concat_arrays(
        [value if isinstance(value, pa.Array) else pa.array(value, kind.value_type) for value in values]
    )
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat)
