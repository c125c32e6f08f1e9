"""File locks, with which several runs share a folder, also on several machines with a shared disk.

The locks are those of `flock`. The system releases them when a process ends, in whatever way, so a dead
process never blocks others. Linux passes them on over NFS. The last process that holds a lock removes its
file.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from configs.errors import UserError
from data_prep.files import writing

NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)  # from file systems without locks


class FileLock:
    """A lock on a file that exists only for this purpose.

    `is_real` is False on a file system without locks; there every attempt to acquire the lock succeeds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_real = True
        self._handle: int | None = None

    def acquire(self, shared: bool = False, wait: bool = False) -> bool:
        """Acquire the lock. False if another process holds it and `wait` is false.

        Several processes may hold a `shared` lock at once. Raises UserError if the file cannot be locked.
        """
        # The file may be removed and made anew while this process waits, so several attempts may be needed.
        kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        while True:
            # 1. Open the file, or make it. O_NOFOLLOW: a link is not followed out of the folder.
            with writing(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            # 2. Lock it.
            try:
                fcntl.flock(handle, kind)
                self.is_real = True
            except OSError as fault:
                # A file system without locks must not keep anybody from tracking: `Claim.warnings` says so.
                if fault.errno not in NO_LOCKS:
                    os.close(handle)
                    if isinstance(fault, BlockingIOError):
                        return False
                    raise UserError(f"{self.path}: cannot be locked ({fault.strerror})") from None
                self.is_real = False
            except BaseException:  # Ctrl-C while waiting
                os.close(handle)
                raise
            # 3. Between steps 1 and 2 the last holder may have removed the file. Another process could then
            #    make and lock a new one, so a lock on the removed file protects nothing: try again.
            if self._is_current(handle):
                self._handle = handle
                return True
            os.close(handle)

    def share(self) -> None:
        """Change an exclusive lock into a shared one."""
        assert self._handle is not None
        if self.is_real:
            fcntl.flock(self._handle, fcntl.LOCK_SH)

    def release(self, alone: Callable[[], None] = lambda: None) -> None:
        """Release the lock. Unless another process holds it, call `alone` before, and remove the file."""
        if self._handle is None:
            return
        # Cleared first, so that an interrupt in between cannot make a second release close another file.
        handle, self._handle = self._handle, None
        try:
            if self.is_real:  # an exclusive lock succeeds only for the last holder
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                alone()
            self.path.unlink(missing_ok=True)
        except OSError:  # another process holds it, or the folder is gone: there is nothing to remove
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
    """Keep other processes that use this function from changing the file meanwhile. Raises UserError.

    Temporary files with the suffix of `path` are removed from its folder. Only the holder of this lock writes
    such files there, so a killed process has left them.
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
