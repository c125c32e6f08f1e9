"""Folders that are written completely or not at all, and by one run at a time (see
`data_prep.files` for files).
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs.errors import UserError
from data_prep.files import writing

PART, OLD = ".part-", ".old-"
LOCK = ".lock"
LOCK_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW  # a link could lead anywhere
log = logging.getLogger(__name__)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; on success it replaces `path`, else it is removed."""
    # The name is fixed, so that leftovers of a killed process are found and removed.
    temporary = part_of(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        put(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def part_of(path: Path) -> Path:
    """The temporary folder in which the content of a folder is written."""
    return path.with_name(PART + path.name)


def put(temporary: Path, path: Path) -> None:
    """Rename a written folder to `path` when all of it is on the disk; an existing folder is replaced.

    If the process is killed in between, `tidy` restores the old folder.
    """
    for written in sorted(temporary.rglob("*")):
        if written.is_file():
            _sync(written)
    _sync(temporary)
    # A folder cannot be replaced by a single operation, so the old one is moved aside first.
    old = path.with_name(OLD + path.name)
    shutil.rmtree(old, ignore_errors=True)
    # A reader sees either the old folder, no folder for a moment, or the new one.
    if path.exists():
        path.rename(old)
    temporary.rename(path)
    _sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def alone_in(folder: Path, does: str) -> Iterator[None]:
    """Lock a folder, which is made if it does not exist, for this process; `does` is what it does there
    ("trains").

    Raises UserError where another process holds the lock, or the folder cannot be made. Some shared file
    systems have no locks; there a warning is logged.
    """
    # The lock is a file in the folder, which works across processes of all programs.
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # The lock ends with the process, however it ends; the file itself stays.
        lock = os.fdopen(os.open(folder / LOCK, LOCK_FLAGS, 0o666), "w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder}: another run {does} there; let it end first") from None
        except OSError as fault:
            log.warning(
                "%s: cannot be locked (%s); see that no other run %s there", folder, fault.strerror, does
            )
        yield


def tidy(folder: Path) -> None:
    """Remove what killed processes left in a folder: unfinished files and folders, and replaced folders."""
    for old in folder.glob(f"{OLD}*"):
        # A replaced folder is only needed if the new one did not get its name.
        kept = old.with_name(old.name.removeprefix(OLD))
        if kept.exists() or old.is_symlink():  # `put` makes no links, so a link is not an earlier state
            _remove(old)
        else:
            old.rename(kept)
    for part in folder.glob(f"{PART}*"):
        _remove(part)


def _remove(path: Path) -> None:
    """Remove a file or a folder; of a link the link itself, and never what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
