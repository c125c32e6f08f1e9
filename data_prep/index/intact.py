"""Whether the rows of an index are whole: Arrow itself checks sizes alone, and believes every offset."""

import numpy as np
import pyarrow as pa

SAME_LENGTHS = (("frames", "present", 1), ("boxes_xywh", "present", 4), ("starts", "expressions", 1))
SPANS = ("starts", "stops")


def check_rows(rows: pa.RecordBatch, schema: pa.Schema) -> None:
    """Raise ValueError for rows of other columns, offsets that lead astray, or lists of unequal lengths.

    The time is that of a pass over offsets; boxes and letters of texts are not read.
    """
    if not rows.schema.equals(schema):
        raise ValueError("its columns are others")
    rows.validate()  # pa.ArrowInvalid is a ValueError
    for name in schema.names:
        _check_offsets(name, rows[name])
    for one, other, times in (*SAME_LENGTHS, (*SPANS, 1)):
        if not np.array_equal(_offsets(rows[one]), times * _offsets(rows[other])):
            raise ValueError(f"{one} and {other} are of unequal lengths")


def _check_offsets(name: str, column: pa.Array) -> None:
    if column.null_count:
        raise ValueError(f"{name} has gaps")
    if pa.types.is_list(column.type):
        _check_rising(name, _offsets(column), len(column.values))
        _check_offsets(name, column.values)
    elif pa.types.is_string(column.type):
        _, offsets, letters = column.buffers()
        numbers = np.frombuffer(offsets, np.int32) if offsets else np.zeros(1, np.int32)
        _check_rising(name, numbers[: len(column) + 1], letters.size if letters else 0)


def _check_rising(name: str, offsets: np.ndarray, end: int) -> None:
    if len(offsets) and (offsets[0] != 0 or offsets[-1] > end or (np.diff(offsets) < 0).any()):
        raise ValueError(f"offsets of {name} lead astray")


def _offsets(column: pa.Array) -> np.ndarray:
    return np.asarray(column.offsets, np.int64)
