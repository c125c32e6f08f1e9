"""Which form an archive is in, told by its first bytes, and which it is not.

The archive as one stream: parts joined, decompressed, hashed and counted while they are read.
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
    """What `file`, at its start, holds when decompressed. Raises UserError where it is something else.

    `path` is what the file is called then.
    """
    start = file.peek()
    for mark, told in OTHERS.items():
        if start[: len(mark)].lower() == mark.lower():
            raise UserError(f"{path}: is {told}")
    if start.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if start.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMAFile(file)
    return bz2.BZ2File(file) if start.startswith(b"BZh") else file


def begins_archive(data: bytes) -> bool:
    """Whether the first block that is not all zeros is the header of a tar archive."""
    start = len(data) - len(data.lstrip(b"\0"))
    try:
        tarfile.TarInfo.frombuf(data[start : start + tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


CHUNK = 1 << 20
FREE_OF_RATIO = 1 << 24  # decompressed bytes before the ratio counts: many empty files shrink a lot


class Digest:
    """An md5 that is computed beside the reading, in a thread of its own, one chunk behind."""

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._worker = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None

    def update(self, data: bytes) -> None:
        """Take in more bytes."""
        self._wait()
        self._pending = self._worker.submit(self._md5.update, data)

    def hexdigest(self) -> str:
        """The md5 so far, 32 hexadecimal digits."""
        self._wait()
        return self._md5.hexdigest()

    def close(self) -> None:
        """End the thread."""
        self._worker.shutdown()

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()


class Joined(io.RawIOBase):
    """Several files read as one, from `first` on. `count` bytes are read; `path` is read now."""

    def __init__(self, paths: list[Path], told: Callable[[int], object]) -> None:
        """`told(n)` is called after every n bytes more."""
        self.digest, self.count = Digest(), 0
        self.first = self.path = paths[0]
        self._rest, self._told = iter(paths), told
        self._file: IO[bytes] = io.BytesIO()

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]  # typeshed's is private
        """Fill the buffer, over the ends of files; shorter only where all are read."""
        filled = 0
        while filled < len(buffer):
            data = self._file.read(len(buffer) - filled)
            if not data and not self._next():
                break
            buffer[filled : filled + len(data)] = data
            filled += len(data)
        self.count += filled
        self.digest.update(bytes(buffer[:filled]))
        self._told(filled)
        return filled

    def close(self) -> None:
        """Close the file that is open."""
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
    """What the joined parts hold: a tar archive, from gzip, xz, bzip2 or plain, by the first bytes.

    `count` bytes of it are read. `read` raises RefusedError where more than `ratio` times the bytes come out
    than went in, and one of `DAMAGES` where the compressed data are broken; making it raises UserError for
    what is no such archive.
    """

    def __init__(self, joined: Joined, ratio: float) -> None:
        self.digest, self.count = Digest(), 0
        self._joined, self._ratio = joined, ratio
        self._buffered = io.BufferedReader(joined, CHUNK)
        self._file = opened(self._buffered, joined.first)

    def read(self, size: int) -> bytes:
        """The next bytes, `size` at most; empty at the end."""
        data = self._file.read(size)
        self.count += len(data)
        self.digest.update(data)
        if self.count > max(FREE_OF_RATIO, self._ratio * self._joined.count):
            raise RefusedError(f"decompresses to more than {self._ratio:g} times its bytes (max_ratio)")
        return data

    def drain(self, rest: IO[bytes]) -> int:
        """Read on to the end, for the digests; how many bytes were not zero or not even compressed.

        `rest` reads this stream, and first what was read of it ahead. Raises UserError where another archive
        follows, as where several archives were taken for parts of one.
        """
        strange = 0
        while data := rest.read(CHUNK):
            if not strange and begins_archive(data):
                raise UserError(
                    f"{self._joined.path}: an archive ends here or before, and another follows; they are no "
                    "parts of one: unpack each by itself, into a folder of its own"
                )
            strange += len(data) - data.count(0)
        while data := self._buffered.read(CHUNK):
            strange += len(data) - data.count(0)
        return strange

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        self.digest.close()
        self._buffered.close()
