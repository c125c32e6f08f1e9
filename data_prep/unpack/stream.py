"""The archive as one stream: the parts are joined, decompressed, hashed and counted while they are read.

The format of the archive is recognised by its first bytes, not by its name.
"""

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, cast

from configs.errors import UserError
from data_prep.unpack.members import RefusedError

WEB_PAGE = "a web page; get the archive itself, for which the page may ask to log in or to wait"
OTHERS = {
    b"PK\x03\x04": "a zip archive; unpack it with unzip",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it with 7z",
    b"Rar!\x1a\x07": "a rar archive; unpack it with unrar",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; decompress it with unzstd",
    b"<!doctype": WEB_PAGE,
    b"<html": WEB_PAGE,
}
DAMAGES = (gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError)


def opened(file: "io.BufferedReader[Any]", path: Path) -> IO[bytes]:
    """The decompressed content of `file`, which is at its start.

    Raises UserError, which calls the file `path`, where it is a format that cannot be unpacked here.
    """
    # `peek` leaves the bytes in the stream.
    start = file.peek()
    for mark, message in OTHERS.items():
        if start[: len(mark)].lower() == mark.lower():
            raise UserError(f"{path}: is {message}")
    if start.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if start.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMAFile(file)
    return bz2.BZ2File(file) if start.startswith(b"BZh") else file


def begins_archive(data: bytes) -> bool:
    """Whether the first block that is not zero is the header of a tar archive."""
    start = len(data) - len(data.lstrip(b"\0"))
    try:
        tarfile.TarInfo.frombuf(data[start : start + tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


CHUNK = 1 << 20
FREE_OF_RATIO = 1 << 24  # decompressed bytes before the ratio is checked: many empty files compress a lot


class Digest:
    """An MD5 that is computed in a thread of its own, one chunk behind the reading."""

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._worker = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None

    def update(self, data: bytes) -> None:
        """Add bytes."""
        # One chunk at a time, in order: an MD5 cannot be computed in parallel.
        self._wait()
        # hashlib releases the GIL for large data, so the MD5 runs while the next chunk is read.
        self._pending = self._worker.submit(self._md5.update, data)

    def hexdigest(self) -> str:
        """The MD5 of the bytes so far, 32 hexadecimal digits."""
        self._wait()
        return self._md5.hexdigest()

    def close(self) -> None:
        """End the thread."""
        self._worker.shutdown()

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()


class Joined(io.RawIOBase):
    """Several files as one. `count` bytes have been read, `path` is the file being read, `first`
    the first one.
    """

    def __init__(self, paths: list[Path], report_progress: Callable[[int], object]) -> None:
        """Open the files when they are needed; `report_progress(n)` is called after n more bytes."""
        self.digest, self.count = Digest(), 0
        self.first = self.path = paths[0]
        self._rest, self._report_progress = iter(paths), report_progress
        self._file: IO[bytes] = io.BytesIO()

    def readable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]  # typeshed's is private
        """Fill the buffer, across the ends of files. It is only filled in part at the end of the
        last file.
        """
        filled = 0
        # A part may end anywhere, even within a block of the archive, so go on with the next one.
        while filled < len(buffer):
            data = self._file.read(len(buffer) - filled)
            if not data and not self._next():
                break
            buffer[filled : filled + len(data)] = data
            filled += len(data)
        self.count += filled
        # A copy, since the caller fills the buffer again while the thread still reads.
        self.digest.update(bytes(buffer[:filled]))
        self._report_progress(filled)
        return filled

    def close(self) -> None:
        """Close the open file."""
        self._file.close()
        self.digest.close()
        super().close()

    def _next(self) -> bool:
        self._file.close()
        path = next(self._rest, None)
        self._file = path.open("rb") if path else io.BytesIO()
        self.path = path or self.path
        return path is not None


class Decompressed:
    """The decompressed content of the joined parts: a tar archive, compressed by gzip, xz, bzip2 or not at
    all.

    `count` bytes of it have been read. `read` raises RefusedError where the data decompress to more than
    `ratio` times their bytes, and one of `DAMAGES` where they are damaged. The constructor raises UserError
    for another format.
    """

    def __init__(self, joined: Joined, ratio: float) -> None:
        self.digest, self.count = Digest(), 0
        self._joined, self._ratio = joined, ratio
        self._buffered = io.BufferedReader(joined, CHUNK)
        self._file = opened(self._buffered, joined.first)

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; empty at the end."""
        data = self._file.read(size)
        self.count += len(data)
        self.digest.update(data)
        # Compare what came out with what went in, over the whole stream so far.
        if self.count > max(FREE_OF_RATIO, self._ratio * self._joined.count):
            raise RefusedError(f"decompresses to more than {self._ratio:g} times its bytes (max_ratio)")
        return data

    def drain(self, rest: IO[bytes]) -> int:
        """Read to the end, for the digests. Returns the number of bytes that are neither the archive nor
        padding.

        `rest` first returns what tarfile has read ahead, then this stream. Raises UserError where another
        archive follows, as it does when several archives were mistaken for parts of one.
        """
        # 1. What tarfile has not read of the decompressed stream: zeros are padding.
        strange = 0
        while data := rest.read(CHUNK):
            if not strange and begins_archive(data):
                raise UserError(
                    f"{self._joined.path}: an archive ends here or before, and another follows; they are not "
                    "parts of one archive: unpack each of them into a folder of its own"
                )
            strange += len(data) - data.count(0)
        # 2. Bytes after the end of the compressed data.
        while data := self._buffered.read(CHUNK):
            strange += len(data) - data.count(0)
        return strange

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        self.digest.close()
        self._buffered.close()
