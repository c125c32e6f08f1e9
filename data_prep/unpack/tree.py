"""One file of an archive put in its place, unless it is there and is the same.

The folder into which members go, whole files only, never through a link.
"""

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

LATEST = 1 << 33  # seconds since 1970; files with other times keep the time of unpacking


def put(path: Path, member: tarfile.TarInfo, content: IO[bytes], trusted: bool) -> bool:
    """Write a file unless it is there already; see `Tree.file`."""
    there = path.is_file() and not path.is_symlink() and path.stat().st_size == member.size
    if there and trusted:
        return False
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
        if not there:
            clear(path)
    return True


def _equal(path: Path, content: IO[bytes]) -> tuple[int, bytes]:
    """How many bytes of a file and of `content` are the same, by chunks, and the first chunk after them."""
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
    """Remove whatever lies there; what a link leads to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


SHARED = "file of several names"


class Tree:
    """Members below `root`, from where they go to `published`; `tops` are those that lie in no folder.

    Of a name that comes twice the last one stays, as with tar; `twice` counts them. But one that is a hard
    link, or that one leads to, may not come again: the other names would depend on when a run was stopped.
    Names and links were checked before (`members.checked`). Methods raise RefusedError where a member would
    be over one of another kind, UserError where `published` holds something of its name.
    """

    def __init__(self, root: Path, published: Path, most: int) -> None:
        """`most` is how many members, folders on their way counted, are taken."""
        self.root, self._published, self._most = root, published, most
        self.tops: list[str] = []
        self.whole = self.twice = 0  # files that this run wrote or found, and those it did so again
        self._kinds: dict[str, str] = {}  # what every member is
        self._ignores_case = root.with_name(root.name.swapcase()).exists()  # as exFAT and NTFS do
        self._spelled: dict[str, str] = {}  # there, how the first one was

    def folder(self, parts: PartsOf) -> None:
        """Make a folder and those that it lies in; each is a real one from then on."""
        for depth in range(1, len(parts) + 1):
            if self._claim("/".join(parts[:depth]), "folder"):
                path = self.root.joinpath(*parts[:depth])
                if path.is_symlink() or not path.is_dir():
                    clear(path)
                    path.mkdir()

    def file(self, parts: PartsOf, member: tarfile.TarInfo, content: IO[bytes], trusted: bool) -> bool:
        """Write a file, unless it is there and is the same: whether it was written.

        One that is there is compared with `content`; a `trusted` one only by its size. Files get the usual
        mode of new files and the time that the archive gives them.
        """
        path = self._place(parts, "file")
        written = put(path, member, content, trusted)
        self.whole += 1
        return written

    def symlink(self, parts: PartsOf, target: str, spare: Path) -> None:
        """Make a symbolic link; `spare` is a name for it before it is in place."""
        path = self._place(parts, "link")
        if not path.is_symlink() or str(path.readlink()) != target:
            spare.unlink(missing_ok=True)
            spare.symlink_to(target)
            clear(path)
            spare.replace(path)

    def hard_link(self, parts: PartsOf, target: PartsOf, spare: Path) -> None:
        """Make another name of a file that came before; `spare` is a name for it before it is in place."""
        source = "/".join(target)
        if self._kinds.get(source) not in ("file", SHARED) or target == parts:
            raise RefusedError(f"is a hard link to {shown(source)}, which is no file that came before it")
        path = self._place(parts, SHARED)
        self._kinds[source] = SHARED
        if path.is_symlink() or not path.is_file() or not path.samefile(self.root / source):
            spare.unlink(missing_ok=True)
            os.link(self.root / source, spare, follow_symlinks=False)
            clear(path)
            spare.replace(path)
        self.whole += 1

    def sweep(self) -> None:
        """Remove what is no member: what an interrupted run left, or parts that were replaced since."""
        for folder, folders, files in os.walk(self.root):
            for name in (*folders, *files):
                path = Path(folder, name)
                if path.relative_to(self.root).as_posix() not in self._kinds:
                    clear(path)

    def _place(self, parts: PartsOf, kind: str) -> Path:
        """The path of a member whose folders are made, and which nothing of another kind is yet."""
        self.folder(parts[:-1])
        self.twice += not self._claim("/".join(parts), kind)
        return self.root.joinpath(*parts)

    def _claim(self, name: str, kind: str) -> bool:
        """Note that `name` is a `kind`; whether it is new. Raises RefusedError where it is another kind."""
        held = self._kinds.get(name)
        if held is None:
            path = self._published / name
            if "/" not in name and (name == RECORD or os.path.lexists(path)):
                raise UserError(f"{path}: is there already; remove it or choose another folder as out=")
            if len(self._kinds) >= self._most:
                raise RefusedError(f"is one more than {self._most} members (max_members)")
            self._check_spelling(name)
            self._kinds[name] = kind
            self.tops += [] if "/" in name else [name]
        elif held != kind:
            raise RefusedError(f"makes {shown(name)} a {kind}, which is a {held} already")
        return held is None

    def _check_spelling(self, name: str) -> None:
        """Raise UserError where the disk would take a new name for another member's."""
        other = self._spelled.setdefault(name.casefold(), name) if self._ignores_case else name
        if other != name:
            raise UserError(
                f"{self.root / other}: and {shown(name)} are one name on this disk, which takes capitals "
                "for small letters; choose a folder on another disk as out="
            )
