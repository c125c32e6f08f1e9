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

AHEAD = 64  # files open at once


def opened(paths: Iterable[str]) -> Iterator[tuple[str, int | None]]:
    """Each path in turn, with its descriptor, None where there is no such file; it is closed afterwards.

    Cold files come some six times as fast as opened and read one by one. Raises UserError where a file is
    there but cannot be opened.
    """
    rest = iter(paths)
    waiting: deque[tuple[str, int | None]] = deque()
    try:
        waiting.extend(_open(path) for path in islice(rest, AHEAD))
        while waiting:
            yield waiting[0]
            _close(waiting.popleft())
            waiting.extend(_open(path) for path in islice(rest, 1))
    finally:
        for each in waiting:
            _close(each)


def _open(path: str) -> tuple[str, int | None]:
    try:
        handle = os.open(path, os.O_RDONLY | NONBLOCKING)
    except (FileNotFoundError, NotADirectoryError):
        return path, None
    except OSError as fault:
        raise UserError(f"{path}: cannot be read ({fault.strerror}); check its rights") from None
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):  # a pipe, which its reader refuses
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_WILLNEED)
    return path, handle


def _close(each: tuple[str, int | None]) -> None:
    if each[1] is not None:
        os.close(each[1])


BUFFER = 1 << 20  # bytes
SPACES = b" \t\r\n"
NEWLINE = ord("\n")


@dataclass(frozen=True, eq=False)
class Tables:
    """The rows of K files behind one another, float64 (width, N); `counts` int64 (K,) says how many of each.

    `missing` bool (K,): there is no such file. `wrong`: lines that could not be read, from 1 on, by the
    file's number; their rows are NaN.
    """

    values: np.ndarray
    counts: np.ndarray
    missing: np.ndarray
    wrong: dict[int, tuple[tuple[int, str], ...]]


def read_tables(paths: Sequence[str], width: int, rows: int = 0) -> Tables:
    """Read files of `width` numbers a line; `rows` is how many they may have in all, if that is known.

    Raises UserError where a file is there but cannot be read.
    """
    reader = _Reader(len(paths), width, max(rows, 1))
    for number, (path, handle) in enumerate(opened(paths)):
        reader.take(number, path, handle)
    reader.parse()
    return Tables(reader.values[:, : reader.filled], reader.counts, reader.missing, reader.wrong)


@dataclass(frozen=True)
class _Held:
    """A file in the buffer: its number, its bytes from `start` to `stop`, and its separator."""

    number: int
    start: int
    stop: int
    separator: bytes


@dataclass(eq=False)
class _Reader:
    """The buffer, and what has been parsed so far."""

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
        self.held: list[_Held] = []

    def take(self, number: int, path: str, handle: int | None) -> None:
        """Read a file behind those in the buffer; parse what is there first where it does not fit."""
        if handle is None:
            self.missing[number] = True
            return
        try:
            self._read(number, path, handle)
        except OSError as fault:
            raise UserError(f"{path}: cannot be read ({fault.strerror}); replace the file") from None

    def _read(self, number: int, path: str, handle: int) -> None:
        told = os.fstat(handle)
        check_mode(told.st_mode, path)
        if told.st_size > LARGEST_TEXT:
            raise OSError(errno.EFBIG, f"{told.st_size} bytes, more than {LARGEST_TEXT >> 20} MiB")
        size = told.st_size + 1  # room for an end of line
        start = self.held[-1].stop if self.held else 0
        if start + size > len(self.buffer):
            self.parse()
            start = 0
            if size > len(self.buffer):
                self.buffer = bytearray(size)
        with memoryview(self.buffer) as view:
            stop = start
            end = start + size - 1
            while stop < end and (got := os.readv(handle, [view[stop:end]])):
                stop += got
        self._hold(number, start, stop)

    def _hold(self, number: int, start: int, stop: int) -> None:
        while stop > start and self.buffer[stop - 1] in SPACES:
            stop -= 1
        self.buffer[stop] = NEWLINE
        end = self.buffer.find(b"\n", start, stop)
        first = self.buffer[start : stop if end < 0 else end]
        separator = next((mark for mark in (b",", b"\t") if mark in first), b" ")
        held = _Held(number, start, stop + 1 if stop > start else stop, separator)
        if self.held and self.held[-1].separator != separator:
            # One call parses one separator. What is in the buffer goes first, this file to its beginning.
            moved = self.buffer[start : held.stop]
            self.parse()
            self.buffer[: len(moved)] = moved
            held = _Held(number, 0, len(moved), separator)
        self.held.append(held)

    def parse(self) -> None:
        """Parse the files in the buffer, and empty it."""
        if not self.held:
            return
        data = np.frombuffer(self.buffer, np.uint8)
        counts = [int(np.count_nonzero(data[file.start : file.stop] == NEWLINE)) for file in self.held]
        del data
        columns = self._columns(sum(counts))
        if columns is None:
            for file in self.held:
                rows = parse_strictly(bytes(self.buffer[file.start : file.stop]), self.width)
                self._append(rows.values)
                self.counts[file.number] = rows.values.shape[1]
                if rows.wrong:
                    self.wrong[file.number] = rows.wrong
        else:
            self._append(columns)
            for file, count in zip(self.held, counts, strict=True):
                self.counts[file.number] = count
        self.held = []

    def _columns(self, rows: int) -> list[np.ndarray] | None:
        """The buffer as columns of numbers; None where it does not hold such rows and nothing else."""
        stop = self.held[-1].stop
        if stop == 0 or self.buffer.find(b"(", 0, stop) >= 0:  # the parser reads nan(…), `float` does not
            return None
        names = [f"f{place}" for place in range(self.width)]
        source = pa.BufferReader(pa.py_buffer(memoryview(self.buffer)[:stop]))
        try:
            table = csv.read_csv(
                source,
                csv.ReadOptions(use_threads=False, column_names=names, block_size=stop + 1),
                csv.ParseOptions(
                    delimiter=self.held[-1].separator.decode(),
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
        if table.num_rows != rows:  # lines that end otherwise
            return None
        return [_joined(column) for column in table.columns]

    def _append(self, columns: np.ndarray | list[np.ndarray]) -> None:
        stop = self.filled + len(columns[0])
        if stop > self.values.shape[1]:
            more = np.empty((self.width, max(stop, 2 * self.values.shape[1])))
            more[:, : self.filled] = self.values[:, : self.filled]
            self.values = more
        for place, column in enumerate(columns):
            self.values[place, self.filled : stop] = column
        self.filled = stop


def _joined(column: pa.ChunkedArray) -> np.ndarray:
    """A column of float64 without nulls. (Its own `to_numpy` would import pandas, for a second.)"""
    parts = [
        np.frombuffer(chunk.buffers()[1], np.float64, len(chunk), 8 * chunk.offset) for chunk in column.chunks
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
