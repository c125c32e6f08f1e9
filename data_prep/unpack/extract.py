"""One pass over the archive: every member is checked, then written or refused.

The limits guard against archives that fill the disk or the memory: the bytes of all files, the number of
members (each costs an entry in memory and a file), and the ratio of decompressed to compressed bytes (a "zip
bomb").
"""

import errno
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, cast

from configs.errors import UserError
from data_prep.unpack.members import PartsOf, RefusedError, StrictTarInfo, checked, parts_of, shown
from data_prep.unpack.state import State, write_state
from data_prep.unpack.stream import DAMAGES, Decompressed, Joined
from data_prep.unpack.tree import Tree

FULL = (errno.ENOSPC, errno.EDQUOT)  # no space, or the quota is exceeded


@contextmanager
def message(joined: Joined, work: Path, name: Callable[[], str], tree: Tree) -> Iterator[None]:
    """Turn refusals, damage and failures to write into UserError. `name()` is the name of the last member."""
    try:
        yield
    except RefusedError as fault:
        raise UserError(
            f"{joined.path}: member {shown(fault.name or name())} {fault.reason}; do not use this archive; "
            f"nothing was written outside {work}, which keeps {_files(tree)} from before it"
        ) from None
    except (*DAMAGES, tarfile.TarError, OSError) as fault:
        if not isinstance(fault, OSError) or fault.errno is None:  # errors of decompressors have none
            after = f"after member {shown(name())}" if name() else "before its first member"
            raise UserError(
                f"{joined.path}: no archive, damaged, or a part is missing ({_line(fault)}, {after}); "
                "get this part again, or those before it, and run again; "
                f"{work} keeps {_files(tree)} from before it"
            ) from None
        kept = f"run again, it goes on: {work} keeps {_files(tree)}"
        if fault.errno in FULL:
            raise UserError(f"{work}: the disk is full; free space and {kept}") from None
        place = fault.filename or work
        raise UserError(
            f"{place}: cannot be read or written ({_line(fault)}); correct that and {kept}"
        ) from None


def _files(tree: Tree) -> str:
    return f"{tree.whole} file{'' if tree.whole == 1 else 's'}"


def _line(fault: Exception) -> str:
    """The message of an exception, on one line."""
    reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
    return " ".join(reason.split()) or type(fault).__name__


SAVE_EVERY_S = 5.0
BUFFER = 1 << 16  # bytes; a larger buffer is slower, since tarfile copies it with every read
# Errors that tarfile raises for malformed headers, besides its own.
BROKEN = (ValueError, LookupError, TypeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Limits:
    """Upper limits: bytes of all files, number of members, decompressed bytes for each compressed byte."""

    bytes: float = 1 << 40
    members: int = 10_000_000
    ratio: float = 100.0


class Extraction:
    """Extracts the stream below `work/tree`, keeping the state in `work/state.json`."""

    def __init__(self, work: Path, published: Path, state: State, limits: Limits) -> None:
        """Prepare to extract; `state.members` is how many members an earlier run of the same parts
        finished.
        """
        (work / "tree").mkdir(exist_ok=True)
        self.tree, self.limits, self.work = Tree(work / "tree", published, limits.members), limits, work
        self.state, self._trusted = replace(state, members=0, bytes=0), state.members
        self.written, self.name, self._saved = 0, "", time.monotonic()

    def run(self, joined: Joined) -> int:
        """Extract everything and complete the state. Returns the number of unused bytes after the archive's
        end.

        Raises UserError, one line, where a member is refused, the data are damaged or the disk is full. The
        state is saved, so that the next run continues.
        """
        stream = None
        try:
            # Every fault in here becomes one line that names the member and the part.
            with message(joined, self.work, lambda: self.name, self.tree):
                # 1. Extract all members, then read to the end of the last part for the checksums.
                stream = Decompressed(joined, self.limits.ratio)
                strange = stream.drain(self._members(stream))
                self.tree.sweep()
            # 2. Only now the sums are known, and the archive is complete.
            md5, tar_md5 = joined.digest.hexdigest(), stream.digest.hexdigest()
            self.state = replace(self.state, md5=md5, tar_md5=tar_md5, tops=sorted(self.tree.tops))
        except BaseException:
            with suppress(
                UserError
            ):  # a full disk is being reported already, and the earlier state is valid too
                self._save()
            raise
        finally:
            if stream is not None:
                stream.close()
        self._save()
        return strange

    def _members(self, stream: Decompressed) -> IO[bytes]:
        """Extract the members one by one. Returns the file in which the rest of the stream can be read."""
        archive = None
        while True:
            try:
                # Opening an archive reads its first header, which may be broken like any other.
                if archive is None:
                    file = cast(IO[bytes], stream)  # in stream mode tarfile only calls `read`
                    archive = tarfile.open(  # noqa: SIM115  # closes nothing of its own
                        fileobj=file, mode="r|", bufsize=BUFFER, tarinfo=StrictTarInfo
                    )
                member = archive.next()
            except BROKEN as fault:
                raise tarfile.ReadError(f"a header is broken: {fault}") from None
            # Without a member the parts are not an archive: tarfile accepts an empty file.
            if member is None and not self.name:
                raise tarfile.ReadError("it holds nothing")
            if member is None:
                return cast(IO[bytes], archive.fileobj)
            archive.members = []  # type: ignore[attr-defined]  # else it keeps every member in memory
            self.name = member.name
            self._take(archive, member)
            self.state = replace(self.state, members=self.state.members + 1)
            if time.monotonic() - self._saved > SAVE_EVERY_S:
                self._save()

    def _take(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Write one member."""
        # Everything is checked before anything is written.
        parts = checked(member, self.tree.root)
        # The four kinds that are extracted; all others have been refused.
        if member.isdir():
            self.tree.folder(parts)
        elif member.issym():
            self.tree.symlink(parts, member.linkname, self.work / "link")
        elif member.islnk():
            self.tree.hard_link(parts, parts_of(member.linkname), self.work / "link")
        else:
            self._file(archive, member, parts)

    def _file(self, archive: tarfile.TarFile, member: tarfile.TarInfo, parts: PartsOf) -> None:
        # The size in the header counts, before any byte is read: a file cannot be larger than that.
        total = self.state.bytes + member.size
        if total > self.limits.bytes:
            size = f"{self.limits.bytes / 2**30:g} GiB"
            raise RefusedError(f"of {member.size} bytes makes more than {size} of files in all (max_gib)")
        content = archive.extractfile(member)
        assert content is not None, "a plain file"
        # An earlier run has finished this member; if its size is right, its content is not compared.
        trusted = self.state.members < self._trusted
        self.written += self.tree.file(parts, member, content, trusted)
        self.state = replace(self.state, bytes=total)

    def _save(self) -> None:
        """Save the state, unless an earlier run came further."""
        self._saved = time.monotonic()
        if self.state.md5 or self.state.members > self._trusted:
            write_state(self.work / "state.json", self.state)
