"""File locks, with which several runs share a folder.

Locks are `flock`'s: the system releases them when a process ends, however it ends, so the lock of a dead
process never stands in the way. Linux passes them on over NFS. A lock file is removed by the last process
that holds it.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs.errors import UserError
from data_prep.files import writing

NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)  # of a file system without them


class FileLock:
    """A lock on a file that is made for it. Where the file system has no locks, it always succeeds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_real = True
        self._handle: int | None = None

    def acquire(self, shared: bool = False, wait: bool = False) -> bool:
        """Take the lock; False where another process holds it and `wait` is false. Raises UserError."""
        kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        while True:
            with writing(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            try:
                fcntl.flock(handle, kind)
                self.is_real = True
            except OSError as fault:
                if fault.errno not in NO_LOCKS:
                    os.close(handle)
                    if isinstance(fault, BlockingIOError):
                        return False
                    raise UserError(f"{self.path}: cannot be locked ({fault.strerror})") from None
                self.is_real = False
            except BaseException:  # Ctrl-C while it waits
                os.close(handle)
                raise
            if self._is_current(handle):
                self._handle = handle
                return True
            os.close(handle)  # its last holder removed it between open and flock

    def share(self) -> None:
        """Make an exclusive lock a shared one."""
        assert self._handle is not None
        if self.is_real:
            fcntl.flock(self._handle, fcntl.LOCK_SH)

    def release(self) -> None:
        """Give the lock back; the file is removed unless another process holds it."""
        if self._handle is None:
            return
        handle, self._handle = self._handle, None
        try:
            if self.is_real:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.path.unlink(missing_ok=True)
        except OSError:  # held by another process, or the folder is gone: nothing of ours stays
            pass
        finally:
            os.close(handle)

    def _is_current(self, handle: int) -> bool:
        """Whether the path still names the opened file."""
        try:
            return os.path.samestat(os.fstat(handle), self.path.stat())
        except OSError:
            return False


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """While this holds, no other process that asks for it changes a file. Raises UserError.

    Temporary files with the ending of `path` are removed from its folder: whoever writes such files there
    holds this lock, so they are left by a process that was killed.
    """
    lock = FileLock(path.parent / f".lock-{path.name}")
    lock.acquire(wait=True)
    try:
        if lock.is_real:
            for left in path.parent.glob(f".part-*{path.suffix}"):
                left.unlink(missing_ok=True)
        yield
    finally:
        lock.release()
