"""The file of an index: one Arrow record batch with a row for each sequence, mapped into memory.

Arrow stores the lists of a column one after another. So all boxes of a data set are one array (frames, 4),
all flags of presence one array (frames,), and the offsets of the lists say where each sequence begins.
Nothing is copied when an index is opened, and worker processes share the memory.

Arrow checks sizes when it opens a file, but trusts every offset in it. `check_rows` checks the offsets.
"""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from configs.errors import UserError
from data_prep.console import one_line
from data_prep.sequence import Sequence, Truth
from data_prep.video.frames import ImageFrames

VERSION = 3  # to be raised when columns or their meaning change
ENDING = ".arrow"
SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("folder", pa.string()),  # of the frames, relative to the root
        ("frames", pa.list_(pa.string())),  # file names
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("fps", pa.float32()),
        ("boxes_xywh", pa.list_(pa.float32())),  # four numbers for each frame
        ("present", pa.list_(pa.int8())),
        ("expressions", pa.list_(pa.string())),
        ("starts", pa.list_(pa.int32())),  # first frame of which each expression is true
        ("stops", pa.list_(pa.int32())),  # frame after the last one of which it is true
    ]
)

# Columns that are read row by row. The others are used as arrays over all sequences.
ROW_COLUMNS = ("name", "folder", "frames", "width", "height", "fps", "expressions")


@dataclass(frozen=True)
class LeftOut:
    """A sequence that could not be read, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class About:
    """What an index was made from, and how many sequences it holds.

    `state` is a hash of the files that it was made from (see `build.state_of`). `notes` are what readers
    corrected.
    """

    data: str
    split: str
    root: str
    state: str
    sequences: int
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()


def read_about(path: Path) -> About:
    """The description stored in an index. Raises UserError where it is missing, damaged or of
    another version.
    """
    return _about(path, _opened(path).schema)


def _opened(path: Path) -> pa.ipc.RecordBatchFileReader:
    try:
        return pa.ipc.open_file(pa.memory_map(str(path)))
    except FileNotFoundError:
        raise UserError(f"{path}: no such index; {_how_to_make(path)}") from None
    except (pa.ArrowException, OSError) as fault:
        raise _no_index(path, fault) from None


def _no_index(path: Path, fault: Exception) -> UserError:
    reason = one_line(str(fault).strip()) or type(fault).__name__
    return UserError(f"{path}: not an index ({reason}); remove it and run task=index again")


def _how_to_make(path: Path) -> str:
    """The command that makes a missing index, and the splits of its data set that have one in the
    same folder.
    """
    # The name of the file is `<data set>-<split>`.
    data, _, split = path.stem.partition("-")  # as `build.index_path` calls it
    asked = [f"data=[{data}]", f"split={split}", "root=FOLDER", f"indexes={path.parent}"]
    there = sorted(other.stem.partition("-")[2] for other in path.parent.glob(f"{data}-*{ENDING}"))
    known = f"; of {data} there are split={', '.join(there)}" if there else ""
    return f"make it with task=index (python -m data_prep task=index {shlex.join(asked)}){known}"


def _about(path: Path, schema: pa.Schema) -> About:
    try:
        # The description is stored as JSON in the metadata of the Arrow schema.
        message = json.loads((schema.metadata or {}).get(b"about", b"{}"))
        if message.pop("version", None) != VERSION:
            raise UserError(f"{path}: was made by another version of this project; run task=index again")
        message["left_out"] = tuple(LeftOut(**each) for each in message["left_out"])
        message["notes"] = tuple(message["notes"])
        return About(**message)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as fault:
        raise _no_index(path, fault) from None


class Index:
    """An opened index of S sequences with F frames and P expressions in all; its arrays are views of the
    file.

    Frames are numbered through the index. `starts` int64 (S + 1,): the frames of sequence s are those from
    `starts[s]` up to `starts[s + 1]`. `boxes_xywh` float32 (F, 4), `present` int8 (F,): see
    `data_prep.sequence.Truth`. `sizes` int32
    (S, 2): width and height. `expressions` (P,) are those of all sequences one after another, and
    `expression_spans` int32 (P, 2) the frames of its sequence of which each is true;
    where those of a sequence begin is in `expression_starts` int64 (S + 1,).
    """

    def __init__(self, path: Path) -> None:
        """Open an index. Raises UserError where it is missing, damaged or of another version."""
        self.path = path
        reader = _opened(path)
        self.about = _about(path, reader.schema)
        try:
            self.rows: pa.RecordBatch = reader.get_batch(0)
            check_rows(self.rows, SCHEMA)
        except (pa.ArrowException, ValueError, OSError) as fault:
            raise _no_index(path, fault) from None
        # Views of the mapped file. The offsets of a list column are the starts of the sequences.
        self.starts = self._offsets("present")
        self.boxes_xywh = self._values("boxes_xywh").reshape(-1, 4)
        self.present = self._values("present")
        self.sizes = np.stack([self.rows[side].to_numpy() for side in ("width", "height")], axis=1)
        # The same for expressions, of which sequences have different numbers.
        self.expression_starts = self._offsets("expressions")
        self.expressions: pa.StringArray = self.rows["expressions"].values
        self.expression_spans = np.stack([self._values("starts"), self._values("stops")], axis=1)
        self.frames: pa.StringArray = self.rows["frames"].values
        self.folders: pa.StringArray = self.rows["folder"]

    def _offsets(self, column: str) -> np.ndarray:
        return self.rows[column].offsets.to_numpy().astype(np.int64)

    def _values(self, column: str) -> np.ndarray:
        values: np.ndarray = self.rows[column].values.to_numpy(zero_copy_only=True)
        return values

    def __len__(self) -> int:
        return self.rows.num_rows

    def sequence(self, number: int) -> Sequence:
        """A sequence as its reader returned it, with paths below the root of the index."""
        try:
            row = {name: self.rows[name][number].as_py() for name in ROW_COLUMNS}
        except UnicodeDecodeError as fault:
            raise _no_index(self.path, fault) from None
        folder = Path(self.about.root) / row["folder"]
        # The slices of the arrays over all frames and all expressions.
        frames = slice(self.starts[number], self.starts[number + 1])
        expressions = slice(self.expression_starts[number], self.expression_starts[number + 1])
        return Sequence(
            name=row["name"],
            frames=ImageFrames(
                tuple(folder / name for name in row["frames"]),
                (row["width"], row["height"]),
            ),
            expressions=tuple(row["expressions"]),
            fps=row["fps"],
            spans=tuple((int(start), int(stop)) for start, stop in self.expression_spans[expressions]),
            truth=Truth(self.boxes_xywh[frames], self.present[frames]),
        )


# Pairs of columns whose lists must be equally long, and by which factor.
SAME_LENGTHS = (("frames", "present", 1), ("boxes_xywh", "present", 4), ("starts", "expressions", 1))
SPANS = ("starts", "stops")


def check_rows(rows: pa.RecordBatch, schema: pa.Schema) -> None:
    """Raise ValueError for other columns, offsets outside of their data, or lists of unequal lengths.

    Only offsets are read, no boxes and no characters of texts, so this is fast for an index of any size.
    """
    if not rows.schema.equals(schema):
        raise ValueError("its columns are not those of an index")
    # Arrow checks the sizes of buffers here, but not that offsets rise or stay inside of them.
    rows.validate()  # pa.ArrowInvalid is a ValueError
    for name in schema.names:
        _check_offsets(name, rows[name])
    # Each sequence must have as many flags as frames, four numbers for each box, and a span for each
    # expression.
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
        # A string column has three buffers: validity, offsets and characters.
        _, offsets, letters = column.buffers()
        # Buffers of Arrow are padded, so only the first entries are offsets.
        numbers = np.frombuffer(offsets, np.int32) if offsets else np.zeros(1, np.int32)
        _check_rising(name, numbers[: len(column) + 1], letters.size if letters else 0)


def _check_rising(name: str, offsets: np.ndarray, end: int) -> None:
    if len(offsets) and (offsets[0] != 0 or offsets[-1] > end or (np.diff(offsets) < 0).any()):
        raise ValueError(f"offsets of {name} are outside of its data")


def _offsets(column: pa.Array) -> np.ndarray:
    return np.asarray(column.offsets, np.int64)
