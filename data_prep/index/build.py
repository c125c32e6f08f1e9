"""Making an index: every sequence of a split is read once, in parallel, and becomes a row of one file.

An index is kept while the data set does not change: a hash of the names, sizes and times of its files
(`state_of`) is stored in it. Sequences that cannot be read, or that a file lists, are left out.
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
    """The file of the index of a split, in the folder of all indexes."""
    return folder / f"{data}-{split}{ENDING}"


def indexes_of(folder: Path, names: Rows[str], splits: Rows[str]) -> tuple[Path, ...]:
    """The index files of data sets; a single split counts for all of them.

    Raises UserError where there are more splits than one and not as many as data sets.
    """
    each = list(splits) * len(names) if len(splits) == 1 else splits
    if len(each) != len(names):
        raise UserError(f"splits={list(splits)}: give a split for each of {', '.join(names)}")
    return tuple(index_path(folder, name, split) for name, split in zip(names, each, strict=True))


def build_index(
    reader: Reader, root: Path, split: str, folder: Path, workers: int = 0, leave_out: Path | None = None
) -> tuple[About, bool]:
    """Make the index of a split in `folder`, unless it exists and the data have not changed.

    Sequences that the file `leave_out` lists are not read, and those that cannot be read are left out too;
    the index names all of them with a reason. Returns the description of the index, and whether it was made
    now. Raises UserError where the data are missing, no sequence can be read, or `leave_out` names a sequence
    that is not in the split.
    """
    # 1. Find the sequences, and keep an index of the same files.
    listing, root = list_split(reader, root, split), real_path(root)
    entries, unread = split_off(listing.entries, leave_out)
    state = state_of(entries, (*unread, *listing.repeated.values()))
    path = index_path(folder, reader.name, split)
    if (there := _unchanged(path, root, state)) is not None:
        return there, False
    # 2. Read them. A sequence that cannot be read is left out, with its reason.
    read = in_processes(partial(_read, reader, root), entries, workers)
    rows, notes, left_out = _sorted_out(with_bar(read, f"{reader.name} {split}", len(entries)))
    left_out, notes = unread + left_out, [*listing.repeated.values(), *notes]
    if not rows:
        raise UserError(
            f"{root}: none of {len(left_out)} sequences can be read; the first: {left_out[0].reason}"
        )
    # 3. Write the file.
    about = About(reader.name, split, str(root), state, len(rows), tuple(left_out), tuple(notes))
    write_index(path, rows, about)
    return about, True


def _read(reader: Reader, root: Path, entry: Entry) -> Read:
    """One sequence as a row with the reader's notes, or the reason why it is left out."""
    try:
        with reading():
            sequence = reader.read(entry)
        return row_of(sequence, root), sequence.notes
    except UserError as fault:
        return LeftOut(entry.name, str(fault))


def _sorted_out(message: Iterable[Read]) -> tuple[list[dict[str, Any]], list[str], list[LeftOut]]:
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    left_out: list[LeftOut] = []
    # Results arrive in the order of the entries, so the rows have the order of the list.
    for each in message:
        if isinstance(each, LeftOut):
            left_out.append(each)
        else:
            rows.append(each[0])
            notes += each[1]
    return rows, notes, left_out


def _unchanged(path: Path, root: Path, state: str) -> About | None:
    """The description of an existing index of the same files; None where the index must be made."""
    # A damaged index or one of another version is logged, and made again.
    if not path.exists():
        return None
    try:
        about = read_about(path)
    except UserError as fault:
        log.warning("%s", fault)
        return None
    return about if (about.root, about.state) == (str(root), state) else None


def state_of(entries: list[Entry], more: Iterable[object] = ()) -> str:
    """A hash of the entries, of `more`, and of the files in their folders: names, sizes and times.

    Image files are left out. There may be millions of them, and the time of their folder changes when one is
    added or removed.
    """
    state = hashlib.blake2b(str(VERSION).encode(), digest_size=16)
    for each in more:
        state.update(repr(each).encode())
    for entry in entries:
        state.update(repr((entry.name, str(entry.folder), entry.facts)).encode())
    # Each folder once: thousands of entries may share one that holds all images of the data set (RefCOCO).
    for folder in dict.fromkeys(entry.folder for entry in entries):
        state.update("".join(_lines(folder)).encode())
    for path in dict.fromkeys(path for entry in entries for path in entry.files):
        state.update(_line(path).encode())
    return state.hexdigest()


def _lines(folder: Path) -> Iterator[str]:
    """A line for the folder and for each file in it that is not an image."""
    try:
        with os.scandir(folder) as found:  # unlike `iterdir` it makes no Path of each of thousands of images
            names = sorted(each.name for each in found if not each.name.lower().endswith(ENDINGS))
    except OSError:
        names = []
    yield from map(_line, (folder, *(folder / name for name in names)))


def _line(path: Path) -> str:
    try:
        facts = path.stat()
    except OSError:
        return f"{path.name} missing\n"  # reading the sequence will report it
    return f"{path.name} {facts.st_size} {facts.st_mtime_ns}\n"


MOST_NAMES = 5  # unknown names that a message shows


def split_off(entries: list[Entry], path: Path | None) -> tuple[list[Entry], list[LeftOut]]:
    """The entries that a file does not list, and those that it lists (one name on each line) with the reason.

    Blank lines are skipped, and an empty file lists nothing. Raises UserError where the file is missing, or
    lists a name that the split does not have, because the file may belong to another split.
    """
    if path is None:
        return entries, []
    text = read_text(path, "write it with task=check, or take leave_out= away")
    # Counted, since a name may be listed several times; the message then says so.
    listed = Counter(filter(None, map(str.strip, text.splitlines())))
    # A name that the split does not have is an error: the list may belong to another split.
    names = {entry.name for entry in entries}
    unknown = [name for name in listed if name not in names]
    if unknown:
        message = ", ".join(unknown[:MOST_NAMES]) + (", …" if len(unknown) > MOST_NAMES else "")
        hint = did_you_mean(unknown[0], names)
        raise UserError(
            f"{path}: lists {message} ({len(unknown)} in all), which the split does not have; remove "
            f"them, or give the list of this split{hint}"
        )
    left = [
        LeftOut(entry.name, _named(listed[entry.name], path)) for entry in entries if entry.name in listed
    ]
    return [entry for entry in entries if entry.name not in listed], left


def _named(times: int, path: Path) -> str:
    return f"named in {path}" + (f" {times} times" if times > 1 else "")


def row_of(sequence: Sequence, root: Path) -> dict[str, Any]:
    """A sequence of image files with its truth as a row; paths are relative to the root.

    Raises UserError for frames in a video file, because pairs refer to frames by their paths.
    """
    frames, truth = sequence.frames, sequence.truth
    assert truth is not None, "every reader sets it"
    if not isinstance(frames, ImageFrames):
        raise UserError(f"{sequence.name}: its frames lie in a video file; extract them into images first")
    # Arrow stores UTF-8 only.
    for path in frames.paths:
        check_utf8(path)
    count = len(frames)
    # Without spans every expression is true of all frames; the index always stores spans.
    spans = sequence.spans or ((0, count),) * len(sequence.expressions)
    return {
        "name": sequence.name,
        "folder": frames.paths[0].parent.relative_to(root).as_posix(),
        # An Arrow array needs a fraction of the memory of Python strings, and a data set has millions of
        # frames.
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
    """Write an index, completely or not at all. Raises UserError where it cannot be written."""
    columns = [_column([row[field.name] for row in rows], field.type) for field in SCHEMA]
    # The description goes into the metadata of the schema, where it is read without the rows.
    message = {
        "version": VERSION,
        **vars(about),
        "left_out": [vars(each) for each in about.left_out],
        "notes": list(about.notes),
    }
    batch = pa.RecordBatch.from_arrays(columns, schema=SCHEMA.with_metadata({"about": json.dumps(message)}))
    with (
        writing(path),
        whole_file(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, batch.schema) as writer,
    ):
        writer.write_batch(batch)


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """A column. Lists are joined as arrays, without a Python object for each of their values."""
    if not pa.types.is_list(kind):
        return pa.array(values, kind)
    # An Arrow list column is one flat array, and an offset for the beginning of each list.
    offsets = np.cumsum([0, *(len(value) for value in values)], dtype=np.int64)
    flat = pa.concat_arrays(
        [value if isinstance(value, pa.Array) else pa.array(value, kind.value_type) for value in values]
    )
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat)
