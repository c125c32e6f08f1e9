"""Sequences as the rows of an index, and the rows as its file."""

import json
from collections.abc import Sequence as Rows
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from configs.errors import UserError
from data_prep.files import check_utf8, whole_file, writing
from data_prep.frames import ImageFrames
from data_prep.index.store import SCHEMA, VERSION, About
from data_prep.sequence import Sequence


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
