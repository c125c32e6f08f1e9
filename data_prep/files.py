"""Reading texts, writing files completely or not at all, and keeping names inside their folder."""

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from configs.errors import UserError

LARGEST_TEXT = 64 << 20  # bytes: a million lines of 64 characters
NONBLOCKING = getattr(os, "O_NONBLOCK", 0)  # with it, opening a pipe does not wait for a writer


@contextmanager
def whole_file(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on success it replaces `path`, else it is removed.

    The temporary name has the same ending as `path`, since writers choose a format by it. The data are on
    the disk before the file is renamed, so after a crash `path` is either the old file or the complete new
    one.

    Files that are not `durable` are complete after a crash of the program, but perhaps not after one of the
    machine. This is much faster for many small files, if a durable file that is written last says that they
    are valid.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, since only within a file system renaming is atomic.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        if durable:
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
        # `mkstemp` makes files that only their owner may read; give them the usual mode.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    """The process's file mode mask (it can only be read by setting it)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failure to write to `path`, a file or a folder, into a UserError."""
    try:
        yield
    except OSError as fault:
        raise UserError(f"{path}: cannot be written ({_reason(fault)}); {_remedy(path, fault)}") from None


def _reason(fault: OSError) -> str:
    return fault.strerror or str(fault)


def _remedy(path: Path, fault: OSError) -> str:
    """What helps against a failure to write to `path`."""
    if fault.errno == errno.ENAMETOOLONG:
        return "choose a shorter name"
    # The system names what it failed at, which may lie inside `path`; of a renamed file, the second name.
    named = next((name for name in (fault.filename2, fault.filename) if isinstance(name, str)), None)
    failed = Path(named) if named is not None else path
    # The nearest existing path above: the reason may be a file where a folder is needed.
    blocking = next((each for each in (failed, *failed.parents) if os.path.lexists(each)), failed)
    if fault.errno in (errno.ENOTDIR, errno.EEXIST) and not blocking.is_dir():
        return f"{blocking} is a file where a folder is needed; move it away"
    if fault.errno == errno.EISDIR:
        return f"{blocking} is a folder where a file is needed; move it away"
    return "free space or choose another folder"


@contextmanager
def reading() -> Iterator[None]:
    """Turn a failure to read a file or a folder into a UserError that names it."""
    try:
        yield
    except OSError as fault:
        raise UserError(f"{fault.filename}: cannot be read ({fault.strerror}); correct that") from None


def write_whole(path: Path, content: str | bytes, durable: bool = True) -> None:
    """Write a text (UTF-8, with its line ends unchanged) or bytes to `path`, completely or not at all.

    See `whole_file` for `durable`. Raises UserError where the disk is full or the folder cannot be written;
    `path` is then unchanged.
    """
    data = content.encode() if isinstance(content, str) else content
    with writing(path), whole_file(path, durable) as temporary:
        temporary.write_bytes(data)


def append_text(path: Path, text: str) -> None:
    """Append to a file, which is made if it does not exist. Raises UserError where `path` cannot be written.

    A link is refused, because it might lead to a file outside of the folder of the run.
    """
    # O_NOFOLLOW refuses a link; O_APPEND keeps simultaneous writers from overwriting each other.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    with writing(path), os.fdopen(os.open(path, flags, 0o666), "a", encoding="utf-8") as file:
        file.write(text)


def copy_whole(source: Path, path: Path) -> None:
    """Copy a file to `path`, completely or not at all. Raises UserError as `write_whole` does."""
    with writing(path), whole_file(path) as temporary:
        shutil.copyfile(source, temporary)


def real_path(path: Path | str) -> Path:
    """A path without links, as `Path.resolve` gives it; a link that leads to itself stays as it is."""
    return Path(os.path.realpath(path))


def is_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder is a file. A link that leads nowhere, or to itself, is not a file.

    For the latter `os.DirEntry.is_file` raises an error, and `Path.is_file` does not.
    """
    try:
        return entry.is_file()
    except OSError:
        return False


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder is a folder; of links as in `is_file`."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def check_regular(path: Path) -> None:
    """Raise OSError where a path is not a regular file. Opening a pipe, for example, would wait for
    a writer.
    """
    check_mode(path.stat().st_mode, path)


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading bytes. Raises OSError where it is missing, or a pipe, a device or a folder."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | NONBLOCKING)
    try:
        # The mode of the open file: the path may name another one by now.
        check_mode(os.fstat(handle).st_mode, path)
    except OSError:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


def check_mode(mode: int, path: Path | str) -> None:
    """Raise OSError where a mode from `os.stat` is not that of a regular file."""
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "a pipe or device, not a file", str(path))


def read_bytes(path: Path, remedy: str, limit: int = LARGEST_TEXT) -> bytes:
    """The bytes of a file of at most `limit` bytes, which is checked before it is read.

    Raises UserError, which ends in `remedy`, where the file is missing, too large or cannot be read.
    """
    try:
        with open_regular(path) as file:
            # The size is checked on the open file, which cannot be exchanged in between.
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                message = f"{size} bytes, more than the {limit >> 20} MiB that such a file may have"
                raise UserError(f"{path}: {message}; {remedy}")
            return file.read(limit)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path}: no such file; {remedy}") from None
    except OSError as fault:
        raise UserError(f"{path}: cannot be read ({fault.strerror}); {remedy}") from None


def read_text(path: Path, remedy: str, limit: int = LARGEST_TEXT) -> str:
    """A UTF-8 text without its byte order mark, with plain line ends.

    Raises UserError, which ends in `remedy`, where the file is missing, larger than `limit` bytes or cannot
    be read.
    """
    try:
        text = read_bytes(path, remedy, limit).decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise UserError(f"{path}: not UTF-8 text (byte {fault.start}); save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def check_utf8(path: Path) -> None:
    """Raise UserError where a path is not UTF-8, which happens with archives from other systems."""
    try:
        # Python reads other bytes as lone surrogates, which UTF-8 cannot encode.
        str(path).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise UserError(f"{shown}: the name is not UTF-8; rename it") from None


def inside(folder: Path, name: str) -> Path:
    """The path `folder/name`.

    Raises UserError where the name would leave the folder (`../x`, an absolute path) or is empty.
    """
    # NUL would end the name in system calls, so that another file would be opened.
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts or "\0" in name:
        raise UserError(f"{folder}: the name {name!r} leaves its folder; rename it to a plain file name")
    return folder / name
