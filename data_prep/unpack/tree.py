"""The folder into which members are extracted: complete files only, and never through a link."""

import os
import shutil
import tarfile
from pathlib import Path
from typing import IO

from configs.errors import UserError
from data_prep.files import whole_file
from data_prep.unpack.members import PartsOf, RefusedError, shown
from data_prep.unpack.state import RECORD
from data_prep.unpack.stream import CHUNK

LATEST = 1 << 33  # seconds since 1970; a file with a later time in the archive keeps the time of unpacking


def put(path: Path, member: tarfile.TarInfo, content: IO[bytes], trusted: bool) -> bool:
    """Write a file unless it exists already; returns whether it was written. See `Tree.file`."""
    # A link or folder in its place is replaced, never written through.
    there = path.is_file() and not path.is_symlink() and path.stat().st_size == member.size
    if there and trusted:
        return False
    # A file of the right size is compared with the stream. From the first difference on, the stream is
    # written; the equal beginning is copied from the old file, since the stream cannot be read again.
    equal, chunk = _equal(path, content) if there else (0, content.read(CHUNK))
    if there and equal == member.size:
        return False
    with whole_file(path, durable=False) as temporary:
        with temporary.open("wb") as sink:
            _copy(path, sink, equal)
            while chunk:
                sink.write(chunk)
                chunk = content.read(CHUNK)
        if 0 <= member.mtime < LATEST:
            os.utime(temporary, (member.mtime, member.mtime))
        # A file cannot be renamed to the name of a folder.
        if not there:
            clear(path)
    return True


def _equal(path: Path, content: IO[bytes]) -> tuple[int, bytes]:
    """The number of equal bytes at the start of a file and `content`, in whole chunks, and the
    chunk after them.
    """
    equal = 0
    with path.open("rb") as file:
        while chunk := content.read(CHUNK):
            if file.read(len(chunk)) != chunk:
                return equal, chunk
            equal += len(chunk)
    return equal, b""


def _copy(path: Path, sink: IO[bytes], count: int) -> None:
    """Copy the first bytes of a file."""
    if count:
        with path.open("rb") as file:
            while count and (chunk := file.read(min(CHUNK, count))):
                sink.write(chunk)
                count -= len(chunk)


def clear(path: Path) -> None:
    """Remove a file or folder. Of a link only the link is removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


SHARED = "file of several names"  # the kind of a member with hard links


class Tree:
    """The members below `root`, which are moved to `published` later; `tops` are the names at the top level.

    If a name occurs twice, the last member is kept, as by tar; `twice` counts them. A hard link, or a file
    that has one, may not occur again: the content of its other names would depend on when a run was
    interrupted. Names and links have been checked before (`members.checked`). The methods raise RefusedError
    where a member would replace one of another kind, and UserError where `published` contains something with
    its name.
    """

    def __init__(self, root: Path, published: Path, most: int) -> None:
        """`most` is the largest number of members, including folders that are only implied by a path."""
        self.root, self._published, self._most = root, published, most
        self.tops: list[str] = []
        self.whole = self.twice = (
            0  # files that this run wrote or found complete, and names that occurred again
        )
        self._kinds: dict[str, str] = {}  # the kind of every member, by path
        self._ignores_case = root.with_name(root.name.swapcase()).exists()  # as exFAT and NTFS do
        self._spelled: dict[str, str] = {}  # on such a disk, the first spelling of each path

    def folder(self, parts: PartsOf) -> None:
        """Make a folder and its parents; a link in their place is replaced by a real folder."""
        # From the top down. A folder that was made in this run is known to be real.
        for depth in range(1, len(parts) + 1):
            if self._claim("/".join(parts[:depth]), "folder"):
                path = self.root.joinpath(*parts[:depth])
                if path.is_symlink() or not path.is_dir():
                    clear(path)
                    path.mkdir()

    def file(self, parts: PartsOf, member: tarfile.TarInfo, content: IO[bytes], trusted: bool) -> bool:
        """Write a file unless the same file exists; returns whether it was written.

        An existing file is compared with `content`; if it is `trusted`, only its size is. Files get the
        default mode of new files and the modification time in the archive.
        """
        path = self._place(parts, "file")
        written = put(path, member, content, trusted)
        self.whole += 1
        return written

    def symlink(self, parts: PartsOf, target: str, spare: Path) -> None:
        """Make a symbolic link; `spare` is a temporary name, from which it is moved into place."""
        path = self._place(parts, "link")
        if not path.is_symlink() or str(path.readlink()) != target:
            spare.unlink(missing_ok=True)
            spare.symlink_to(target)
            clear(path)
            spare.replace(path)

    def hard_link(self, parts: PartsOf, target: PartsOf, spare: Path) -> None:
        """Make a hard link to an earlier file; `spare` is a temporary name, from which it is moved
        into place.
        """
        # The other name must be a file that is a member itself, and has been written before.
        source = "/".join(target)
        if self._kinds.get(source) not in ("file", SHARED) or target == parts:
            raise RefusedError(f"is a hard link to {shown(source)}, which is not an earlier file")
        path = self._place(parts, SHARED)
        self._kinds[source] = SHARED
        if path.is_symlink() or not path.is_file() or not path.samefile(self.root / source):
            spare.unlink(missing_ok=True)
            os.link(self.root / source, spare, follow_symlinks=False)
            clear(path)
            spare.replace(path)
        self.whole += 1

    def sweep(self) -> None:
        """Remove everything that is not a member, left by an interrupted run or by parts that were
        replaced.
        """
        # `os.walk` does not follow links, so nothing outside is touched.
        for folder, folders, files in os.walk(self.root):
            for name in (*folders, *files):
                path = Path(folder, name)
                if path.relative_to(self.root).as_posix() not in self._kinds:
                    clear(path)

    def _place(self, parts: PartsOf, kind: str) -> Path:
        """The path of a member, whose folders are made. Raises RefusedError where it is taken by
        another kind.
        """
        self.folder(parts[:-1])
        self.twice += not self._claim("/".join(parts), kind)
        return self.root.joinpath(*parts)

    def _claim(self, name: str, kind: str) -> bool:
        """Record that `name` is a `kind`; returns whether it is new. Raises RefusedError where it
        is another kind.
        """
        # 1. A new name: it must be free in the target folder, and within the limit of members.
        held = self._kinds.get(name)
        if held is None:
            path = self._published / name
            if "/" not in name and (name == RECORD or os.path.lexists(path)):
                raise UserError(f"{path}: exists already; remove it or choose another folder as out=")
            if len(self._kinds) >= self._most:
                raise RefusedError(f"is one more than {self._most} members (max_members)")
            self._check_spelling(name)
            self._kinds[name] = kind
            self.tops += [] if "/" in name else [name]
        # 2. A known name: only a member of the same kind may replace it.
        elif held != kind:
            raise RefusedError(f"makes {shown(name)} a {kind}, which is a {held} already")
        return held is None

    def _check_spelling(self, name: str) -> None:
        """Raise UserError where the disk would mistake a new name for that of another member."""
        other = self._spelled.setdefault(name.casefold(), name) if self._ignores_case else name
        if other != name:
            raise UserError(
                f"{self.root / other}: and {shown(name)} are the same name on this disk, which ignores "
                "case; choose a folder on another disk as out="
            )
