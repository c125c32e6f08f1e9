"""Small archives that tests write: plain ones in parts, and hostile ones header by header."""

import gzip
import hashlib
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

WHEN = 1_600_000_000
Tree = dict[str, bytes | str]  # names to contents of files, or to what links lead to


@dataclass
class Member:
    """One member: its name, type and whatever its header says; `data` follow it."""

    name: str
    data: bytes = b""
    kind: bytes = tarfile.REGTYPE
    link: str = ""
    size: int | None = None  # what the header says, if not the truth
    pax: dict[str, str] = field(default_factory=dict)


def tar_of(*members: Member, end: bool = True) -> bytes:
    """A tar archive, with the marks of its end unless told otherwise."""
    blocks = b""
    for member in members:
        header = tarfile.TarInfo(member.name)
        header.type, header.linkname, header.mtime = member.kind, member.link, WHEN
        header.size = len(member.data) if member.size is None else member.size
        header.pax_headers = member.pax
        form = tarfile.PAX_FORMAT if member.pax else tarfile.GNU_FORMAT
        blocks += header.tobuf(form) + member.data + b"\0" * (-len(member.data) % tarfile.BLOCKSIZE)
    return blocks + b"\0" * (2 * tarfile.BLOCKSIZE if end else 0)


def write_parts(folder: Path, stream: bytes, count: int = 3, pattern: str = "set_part_{}") -> str:
    """Write a stream as parts `…aa`, `…ab`, …; returns the pattern that matches them."""
    folder.mkdir(parents=True, exist_ok=True)
    bounds = [len(stream) * part // count for part in range(count + 1)]
    for part in range(count):
        name = pattern.format("a" + chr(ord("a") + part))
        (folder / name).write_bytes(stream[bounds[part] : bounds[part + 1]])
    return str(folder / pattern.format("*"))


def video_members(videos: int = 2, frames: int = 4) -> list[Member]:
    """A data set: folders of frames (noise, which does not compress) and a text, and a link of each kind."""
    rng = Random(0)
    members = [Member("./", kind=tarfile.DIRTYPE)]
    for video in range(videos):
        folder = f"TNLLT/video{video}"
        members.append(Member(f"./{folder}/imgs/", kind=tarfile.DIRTYPE))
        members += [Member(f"./{folder}/imgs/{n:05}.png", rng.randbytes(3000 + n)) for n in range(frames)]
        members.append(Member(f"./{folder}/language.txt", b"the cup"))
    members.append(Member("./TNLLT/empty.txt"))
    members.append(Member("./TNLLT/first.txt", kind=tarfile.LNKTYPE, link="./TNLLT/video0/language.txt"))
    members.append(Member("./TNLLT/video0/other", kind=tarfile.SYMTYPE, link="../video1/imgs"))
    return members


def tree_of(folder: Path) -> Tree:
    """What lies below a folder."""
    found: Tree = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def zipped(data: bytes) -> bytes:
    """The same by gzip, the same bytes each time."""
    return gzip.compress(data, 1, mtime=0)


def md5_of(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()
