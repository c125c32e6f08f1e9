"""Which members of an archive are extracted: their names, their headers and their kinds.

Names. Python's own guard (`tarfile.data_filter`) changes some names and follows links that exist on the disk.
Here no name is changed: one that is anything but a plain place below the folder is refused.

Headers. Python's tarfile takes a broken or missing header in the middle for the end of the archive, reads
extended headers of any size into memory, and follows the maps of sparse files. `StrictTarInfo` refuses all
of these. Formats: https://www.gnu.org/software/tar/manual/html_node/Standard.html
"""

import os
import re
import tarfile
from pathlib import Path
from typing import Any, Self

PartsOf = tuple[str, ...]
DRIVE = re.compile(r"[A-Za-z]:")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
DEEPEST = 64  # nested folders
LONGEST = 255  # bytes of one name, the limit of most file systems
SHOWN = 100  # characters of a name that a message shows


class RefusedError(Exception):
    """Why a member is not extracted. `reason` is a text that follows its name; `name` may be unknown here."""

    def __init__(self, reason: str, name: str = "") -> None:
        super().__init__(reason)
        self.reason, self.name = reason, name


def shown(name: str) -> str:
    """A name on one line, with unprintable characters escaped, shortened where it is long."""
    return repr(name if len(name) <= SHOWN else f"{name[:SHOWN]}…")


def parts_of(name: str) -> PartsOf:
    """The parts of a member's path; empty for the root of the archive (`./`).

    Raises RefusedError for a path that leaves the folder on any operating system (absolute paths, `..`,
    backslashes, drive letters), for control characters including NUL, and for names that no file system
    takes.
    """
    _check_letters(name, "its name")
    # `a//b` and `./a` are usual in archives; `..` is not.
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise RefusedError("climbs out of its folder ('..')")
    if not parts and "." not in name:
        raise RefusedError("has no name")
    _check_sizes(parts)
    return parts


def check_target(parts: PartsOf, target: str) -> None:
    """Raise RefusedError where a symbolic link at `parts` could lead out of the folder.

    `..` is only allowed at the beginning. There it leaves real folders, since links are never used as
    folders. After a name it could start from wherever that name, if it is a link, leads.
    """
    # 1. The same rules as for names.
    _check_letters(target, "what it links to")
    # 2. How many folders the link climbs, counted from its own.
    steps = [step for step in target.split("/") if step not in ("", ".")]
    # As many `..` as the link has folders above it lead to the root, one more out of it.
    climbs = next((at for at, step in enumerate(steps) if step != ".."), len(steps))
    if not target or climbs >= len(parts) or ".." in steps[climbs:]:
        raise RefusedError(
            f"links to {shown(target)}, outside the folder or by a way that cannot be determined"
        )
    _check_sizes(tuple(steps))


def _check_letters(name: str, what: str) -> None:
    if CONTROL.search(name):
        raise RefusedError(f"has a control character in {what}")
    if "\\" in name:
        raise RefusedError(f"has a backslash in {what}")
    if name.startswith("/") or DRIVE.match(name):
        raise RefusedError(f"has an absolute path for {what}")


def _check_sizes(parts: PartsOf) -> None:
    if len(parts) > DEEPEST:
        raise RefusedError(f"lies deeper than {DEEPEST} folders")
    try:
        longest = max((len(os.fsencode(part)) for part in parts), default=0)
    except UnicodeEncodeError:
        raise RefusedError("has a name that cannot be written in any encoding") from None
    if longest > LONGEST:
        raise RefusedError(f"has a name of more than {LONGEST} bytes")


EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
LARGEST = 1 << 16  # bytes of an extended header, which is read into memory; real ones have a few hundred
SPARSE = "is a sparse file, which may be huge; pack it as a plain one"


class StrictTarInfo(tarfile.TarInfo):
    """A header as tarfile reads it, except that faults which tarfile ignores raise ReadError or
    RefusedError.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read one block of 512 bytes. Only a complete block of zeros is the end of the archive."""
        try:
            member = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as fault:
            # A block of zeros is the regular end. Anything else that is not a header is damage.
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise
            reason = f"a header is broken: {fault}" if len(buf) else "its end mark is missing"
            raise tarfile.ReadError(reason) from None
        cls._check(member)
        return member

    @staticmethod
    def _check(member: tarfile.TarInfo) -> None:
        if member.size < 0:
            raise RefusedError("has a negative size", member.name)
        if member.type == tarfile.GNUTYPE_SPARSE:
            raise RefusedError(SPARSE, member.name)
        if member.type in EXTENDED and member.size > LARGEST:
            raise RefusedError(f"has an extended header of {member.size} bytes", member.name)

    def _sparse(self, member: tarfile.TarInfo, *_: Any) -> None:
        """Replaces tarfile's readers of sparse maps, which may read without end."""
        raise RefusedError(SPARSE, member.name)

    # tarfile calls these private methods for the versions 0.0, 0.1 and 1.0 of GNU's sparse format.
    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _sparse


FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
TAKEN = (*FILES, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE)


def checked(member: tarfile.TarInfo, root: Path) -> PartsOf:
    """The parts of the member's path below `root`.

    Raises RefusedError for anything but a file, folder or link, for names and links that may lead out of
    `root`, and for what tarfile's own filter refuses. Whether a member may replace another one is decided by
    `Tree`.
    """
    # 1. The name.
    parts = parts_of(member.name)
    # 2. The kind, and the size of what it would take.
    if member.issparse():
        raise RefusedError(SPARSE)
    if member.type not in TAKEN:
        raise RefusedError("is a device, a pipe or of an unknown kind")
    if member.size < 0:
        raise RefusedError("has a negative size")
    if not parts and not member.isdir():
        raise RefusedError("is no folder, but names the folder itself")
    # 3. Where a link leads.
    if member.issym():
        check_target(parts, member.linkname)
    elif member.islnk():
        parts_of(member.linkname)
    _ask_tarfile(member, root)
    return parts


def _ask_tarfile(member: tarfile.TarInfo, root: Path) -> None:
    """Ask tarfile's own filter as well (Python 3.11.4 and later), which follows the links on the disk."""
    if data_filter := getattr(tarfile, "data_filter", None):
        try:
            data_filter(member, str(root))
        except tarfile.FilterError as fault:
            raise RefusedError(f"is refused by tarfile ({type(fault).__name__})") from None
