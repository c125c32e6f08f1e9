"""Headers of a tar archive, read without mercy.

Python's tarfile takes a broken or missing header in the middle for the archive's end, reads extended
headers of any size into memory, and follows the maps of sparse files. Formats:
https://www.gnu.org/software/tar/manual/html_node/Standard.html
"""

import tarfile
from typing import Any, Self

from data_prep.unpack.names import RefusedError

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
