"""What is asked of one member before anything of it is written."""

import tarfile
from pathlib import Path

from data_prep.unpack.headers import SPARSE
from data_prep.unpack.names import PartsOf, RefusedError, check_target, parts_of

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
