"""Folders written whole or not at all, as `data_prep.files` does it with files."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PART, OLD = ".part-", ".old-"


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; on success it replaces `path`, else it is removed."""
    temporary = part_of(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        put(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def part_of(path: Path) -> Path:
    """Where a folder is written before it has its name."""
    return path.with_name(PART + path.name)


def put(temporary: Path, path: Path) -> None:
    """Give a written folder its name when all of it is on the disk; one of that name goes.

    After a crash in between `tidy` brings the old one back.
    """
    for written in sorted(temporary.rglob("*")):
        if written.is_file():
            _sync(written)
    _sync(temporary)
    old = path.with_name(OLD + path.name)
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    temporary.rename(path)
    _sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def tidy(folder: Path) -> None:
    """Clear away what killed processes left in a folder: unfinished files and folders, and replaced ones."""
    for old in folder.glob(f"{OLD}*"):
        kept = old.with_name(old.name.removeprefix(OLD))
        if kept.exists():
            shutil.rmtree(old)
        else:
            old.rename(kept)
    for part in folder.glob(f"{PART}*"):
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
