"""Which form an archive is in, told by its first bytes, and which it is not."""

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from pathlib import Path
from typing import IO, Any, cast

from configs.errors import UserError

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
