"""Which names of an archive's members may be followed.

Python's own guard (`tarfile.data_filter`) mends some names and follows links that lie on the disk. Here
nothing is mended: a name that says anything but a plain place below the folder is refused.


Headers of a tar archive, read without mercy.

Python's tarfile takes a broken or missing header in the middle for the archive's end, reads extended
headers of any size into memory, and follows the maps of sparse files. Formats:
https://www.gnu.org/software/tar/manual/html_node/Standard.html


What is asked of one member before anything of it is written.
"""

import os
import re
import tarfile
from pathlib import Path
from typing import Any, Self

PartsOf = tuple[str, ...]
DRIVE = re.compile(r"[A-Za-z]:")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
DEEPEST = 64  # folders within one another
LONGEST = 255  # bytes in one name, as most file systems have it
SHOWN = 100  # letters of a name that a message holds


class RefusedError(Exception):
    """Why a member is not extracted: words that follow its name, and the name where it is known."""

    def __init__(self, reason: str, name: str = "") -> None:
        super().__init__(reason)
        self.reason, self.name = reason, name


def shown(name: str) -> str:
    """A name on one line, with what cannot be printed escaped, cut where it is long."""
    return repr(name if len(name) <= SHOWN else f"{name[:SHOWN]}…")


def parts_of(name: str) -> PartsOf:
    """The names of the folders on a member's way and its own; empty for the archive's root (`./`).

    Raises RefusedError for names that leave the folder or that some system would read so: absolute ones,
    `..`, backslashes, drives; for control characters (NUL too) and for names no file system takes.
    """
    _check_letters(name, "its name")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise RefusedError("climbs out of its folder ('..')")
    if not parts and "." not in name:
        raise RefusedError("has no name")
    _check_sizes(parts)
    return parts


def check_target(parts: PartsOf, target: str) -> None:
    """Raise RefusedError where a symbolic link at `parts` could lead out of the folder.

    `..` may only stand first: then it climbs folders that are real, since links are never used as
    folders. After a name it could climb from wherever that name, as a link, leads.
    """
    _check_letters(target, "what it links to")
    steps = [step for step in target.split("/") if step not in ("", ".")]
    climbs = next((at for at, step in enumerate(steps) if step != ".."), len(steps))
    if not target or climbs >= len(parts) or ".." in steps[climbs:]:
        raise RefusedError(f"links to {shown(target)}, outside the folder or by a way that cannot be told")
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
LARGEST = 1 << 16  # bytes of an extended header; real ones have a few hundred
SPARSE = "is a sparse file, which may be huge; pack it as a plain one"


class StrictTarInfo(tarfile.TarInfo):
    """A header as tarfile reads it; what it would pass over raises ReadError or RefusedError."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read one block of 512 bytes. Only a whole block of zeros is the archive's end."""
        try:
            member = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as fault:
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
        """Stands in for tarfile's readers of sparse maps, which may read without end."""
        raise RefusedError(SPARSE, member.name)

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _sparse


FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
TAKEN = (*FILES, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE)


def checked(member: tarfile.TarInfo, root: Path) -> PartsOf:
    """The names on the member's way below `root`.

    Raises RefusedError for what is neither file, folder nor link, for names and links that may lead out of
    `root`, and for what tarfile's own filter refuses. What a member may be over is `Tree`'s to say.
    """
    parts = parts_of(member.name)
    if member.issparse():
        raise RefusedError(SPARSE)
    if member.type not in TAKEN:
        raise RefusedError("is a device, a pipe or of an unknown kind")
    if member.size < 0:
        raise RefusedError("has a negative size")
    if not parts and not member.isdir():
        raise RefusedError("is no folder, but names the folder itself")
    if member.issym():
        check_target(parts, member.linkname)
    elif member.islnk():
        parts_of(member.linkname)
    _ask_tarfile(member, root)
    return parts


def _ask_tarfile(member: tarfile.TarInfo, root: Path) -> None:
    """A second opinion (in Python from 3.11.4 on), which goes by the links that lie on the disk."""
    if data_filter := getattr(tarfile, "data_filter", None):
        try:
            data_filter(member, str(root))
        except tarfile.FilterError as fault:
            raise RefusedError(f"is refused by tarfile ({type(fault).__name__})") from None
