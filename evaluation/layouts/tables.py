"""Reading many small text files of numbers at once.

Opening a file and starting a parser cost more than the few kilobytes in it. So files are opened ahead of
being read, read behind one another into a buffer that stays in the processor's cache, and what lies in it is
parsed in one call. Where that fails, each file of the buffer is read line by line
(`evaluation.layouts.strict`): the numbers are the same, those of Python's `float`, and a wrong line is found.
"""

import errno
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv

from configs.errors import UserError
from data_prep.files import LARGEST_TEXT, NONBLOCKING, check_mode
from evaluation.layouts.strict import parse_strictly

AHEAD = 64  # files that are open at the same time


def opened(paths: Iterable[str]) -> Iterator[tuple[str, int | None]]:
    """Yield each path with a file descriptor, or None where there is no such file; descriptors are closed
    here.

    The kernel is asked to read the next `AHEAD` files in the meantime. Files that are not in the page cache
    are read about six times as fast as one after the other. Raises UserError where a file cannot be opened.
    """
    rest = iter(paths)
    waiting: deque[tuple[str, int | None]] = deque()
    try:
        waiting.extend(_open(path) for path in islice(rest, AHEAD))
        while waiting:
            # The caller reads this file before it asks for the next one, when it is closed.
            yield waiting[0]
            _close(waiting.popleft())
            waiting.extend(_open(path) for path in islice(rest, 1))
    finally:
        for each in waiting:
            _close(each)


def _open(path: str) -> tuple[str, int | None]:
    try:
        # Opening a pipe would wait for a writer. `check_mode` refuses it later.
        handle = os.open(path, os.O_RDONLY | NONBLOCKING)
    except (FileNotFoundError, NotADirectoryError):
        return path, None
    except OSError as fault:
        raise UserError(f"{path}: cannot be read ({fault.strerror}); check its rights") from None
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):  # of a pipe, which the reader refuses later
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_WILLNEED)
    return path, handle


def _close(each: tuple[str, int | None]) -> None:
    if each[1] is not None:
        os.close(each[1])


BUFFER = 1 << 20  # bytes
WHITESPACE = b" \t\r\n"
NEWLINE = ord("\n")


@dataclass(frozen=True, eq=False)
class Tables:
    """The rows of K files, concatenated: float64 (width, N). `counts` int64 (K,) are the rows of each file.

    `missing` bool (K,): there is no such file. `wrong` lists, by the number of the file, the lines that could
    not be parsed, from 1, with the reason; their rows are NaN.
    """

    values: np.ndarray
    counts: np.ndarray
    missing: np.ndarray
    wrong: dict[int, tuple[tuple[int, str], ...]]


def read_tables(paths: Sequence[str], width: int, rows: int = 0) -> Tables:
    """Read files with `width` numbers on each line; `rows` is the expected number of rows in all, if known.

    Raises UserError where a file exists but cannot be read.
    """
    reader = _Reader(len(paths), width, max(rows, 1))
    for number, (path, handle) in enumerate(opened(paths)):
        reader.take(number, path, handle)
    reader.parse()
    return Tables(reader.values[:, : reader.filled], reader.counts, reader.missing, reader.wrong)


@dataclass(frozen=True)
class _BufferedFile:
    """A file in the buffer: its number, its part of the buffer from `start` to `stop`, and its separator."""

    number: int
    start: int
    stop: int
    separator: bytes


@dataclass(eq=False)
class _Reader:
    """The buffer, and the numbers that have been parsed so far."""

    files: int
    width: int
    rows: int
    filled: int = 0
    wrong: dict[int, tuple[tuple[int, str], ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.counts = np.zeros(self.files, np.int64)
        self.missing = np.zeros(self.files, bool)
        self.values = np.empty((self.width, self.rows))
        self.buffer = bytearray(BUFFER)
        self.buffered: list[_BufferedFile] = []

    def take(self, number: int, path: str, handle: int | None) -> None:
        """Read a file into the buffer after the others; if it does not fit, parse and empty the
        buffer first.
        """
        if handle is None:
            self.missing[number] = True
            return
        try:
            self._read(number, path, handle)
        except OSError as fault:
            raise UserError(f"{path}: cannot be read ({fault.strerror}); replace the file") from None

    def _read(self, number: int, path: str, handle: int) -> None:
        """Read an open file into the buffer. Raises OSError where it is too large or cannot be read."""
        status = os.fstat(handle)
        check_mode(status.st_mode, path)
        if status.st_size > LARGEST_TEXT:
            raise OSError(errno.EFBIG, f"{status.st_size} bytes, more than {LARGEST_TEXT >> 20} MiB")
        size = status.st_size + 1  # room for a newline
        start = self.buffered[-1].stop if self.buffered else 0
        # Too much for the rest of the buffer: what is in it is parsed, and this file begins it anew. The
        # buffer grows only for a file that is larger than all of it.
        if start + size > len(self.buffer):
            self.parse()
            start = 0
            if size > len(self.buffer):
                self.buffer = bytearray(size)
        # `readv` fills part of the buffer in place. It may return less than asked, so it is repeated.
        with memoryview(self.buffer) as view:
            stop = start
            end = start + size - 1
            # 0 bytes mean that the file was shortened after `fstat`.
            while stop < end and (got := os.readv(handle, [view[stop:end]])):
                stop += got
        self._add(number, start, stop)

    def _add(self, number: int, start: int, stop: int) -> None:
        """Register the bytes of a file: end them by one newline, and find their separator in
        the first line.
        """
        # Files end with a newline, with several, or with none. With exactly one each, the number of newlines
        # in the buffer is the number of rows.
        while stop > start and self.buffer[stop - 1] in WHITESPACE:
            stop -= 1
        self.buffer[stop] = NEWLINE
        end = self.buffer.find(b"\n", start, stop)
        first = self.buffer[start : stop if end < 0 else end]
        # Blanks come last, because they may follow a comma too.
        separator = next((mark for mark in (b",", b"\t") if mark in first), b" ")
        # An empty file has no row, so it gets no newline either.
        file = _BufferedFile(number, start, stop + 1 if stop > start else stop, separator)
        if self.buffered and self.buffered[-1].separator != separator:
            # A call of the parser takes one separator. So the files before are parsed first, and this one is
            # moved to the begin of the buffer.
            moved = self.buffer[start : file.stop]
            self.parse()
            self.buffer[: len(moved)] = moved
            file = _BufferedFile(number, 0, len(moved), separator)
        self.buffered.append(file)

    def parse(self) -> None:
        """Parse the files in the buffer, and empty it."""
        if not self.buffered:
            return
        data = np.frombuffer(self.buffer, np.uint8)
        counts = [int(np.count_nonzero(data[file.start : file.stop] == NEWLINE)) for file in self.buffered]
        del data
        columns = self._columns(sum(counts))
        if columns is None:  # some file is invalid, or valid only for Python's `float`
            for file in self.buffered:
                rows = parse_strictly(bytes(self.buffer[file.start : file.stop]), self.width)
                self._append(rows.values)
                self.counts[file.number] = rows.values.shape[1]
                if rows.wrong:
                    self.wrong[file.number] = rows.wrong
        else:
            self._append(columns)
            for file, count in zip(self.buffered, counts, strict=True):
                self.counts[file.number] = count
        self.buffered = []

    def _columns(self, rows: int) -> list[np.ndarray] | None:
        """The buffer as columns of numbers; None where it contains anything but rows of `width` numbers."""
        stop = self.buffered[-1].stop
        # Arrow accepts nan(…), Python's `float` does not.
        if stop == 0 or self.buffer.find(b"(", 0, stop) >= 0:
            return None
        names = [f"f{place}" for place in range(self.width)]
        source = pa.BufferReader(pa.py_buffer(memoryview(self.buffer)[:stop]))
        # One block, so that a column is one chunk. Without null values an empty field is an error and not a
        # null. An empty line is an error too: if it were skipped, later rows would move to other frames.
        try:
            table = csv.read_csv(
                source,
                csv.ReadOptions(use_threads=False, column_names=names, block_size=stop + 1),
                csv.ParseOptions(
                    delimiter=self.buffered[-1].separator.decode(),
                    quote_char=False,
                    escape_char=False,
                    ignore_empty_lines=False,
                ),
                csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.float64()), null_values=[], check_utf8=False
                ),
            )
        except pa.ArrowInvalid:
            return None
        if table.num_rows != rows:  # other characters end lines for Arrow, such as a lone \r
            return None
        return [_joined(column) for column in table.columns]

    def _append(self, columns: np.ndarray | list[np.ndarray]) -> None:
        """Append rows to `values`, whose capacity is doubled where it is too small."""
        stop = self.filled + len(columns[0])
        if stop > self.values.shape[1]:
            # Doubling keeps the number of copies small where the number of rows is not known.
            more = np.empty((self.width, max(stop, 2 * self.values.shape[1])))
            more[:, : self.filled] = self.values[:, : self.filled]
            self.values = more
        for place, column in enumerate(columns):
            self.values[place, self.filled : stop] = column
        self.filled = stop


def _joined(column: pa.ChunkedArray) -> np.ndarray:
    """A column as float64, without nulls.

    The buffers are read directly, because `to_numpy` imports pandas, which takes a second.
    """
    parts = [
        np.frombuffer(chunk.buffers()[1], np.float64, len(chunk), 8 * chunk.offset) for chunk in column.chunks
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
