"""One file of an archive put in its place, unless it is there and is the same."""

import os
import shutil
import tarfile
from pathlib import Path
from typing import IO

from data_prep.files import whole_file
from data_prep.unpack.stream import CHUNK

LATEST = 1 << 33  # seconds since 1970; files with other times keep the time of unpacking


def put(path: Path, member: tarfile.TarInfo, content: IO[bytes], trusted: bool) -> bool:
    """Write a file unless it is there already; see `Tree.file`."""
    there = path.is_file() and not path.is_symlink() and path.stat().st_size == member.size
    if there and trusted:
        return False
    equal, chunk = _equal(path, content) if there else (0, content.read(CHUNK))
    if there and equal == member.size:
        return False
    with whole_file(path, durable=False) as temporary:
        with temporary.open("wb") as sink:
            _copy(path, sink, equal)
            while chunk:
                sink.write(chunk)
                chunk = content.read(CHUNK)
        if 0 <= member.mtime < LATEST:
            os.utime(temporary, (member.mtime, member.mtime))
        if not there:
            clear(path)
    return True


def _equal(path: Path, content: IO[bytes]) -> tuple[int, bytes]:
    """How many bytes of a file and of `content` are the same, by chunks, and the first chunk after them."""
    equal = 0
    with path.open("rb") as file:
        while chunk := content.read(CHUNK):
            if file.read(len(chunk)) != chunk:
                return equal, chunk
            equal += len(chunk)
    return equal, b""


def _copy(path: Path, sink: IO[bytes], count: int) -> None:
    """Copy the first bytes of a file."""
    if count:
        with path.open("rb") as file:
            while count and (chunk := file.read(min(CHUNK, count))):
                sink.write(chunk)
                count -= len(chunk)


def clear(path: Path) -> None:
    """Remove whatever lies there; what a link leads to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
