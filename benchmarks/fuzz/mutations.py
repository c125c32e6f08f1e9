"""Random mutations of files: bytes flipped, lines cut, values replaced, names mangled.

`mutate_folder` draws files and operations from one generator, so the same seed always makes the same changes.
Operations on lines, JSON and tensors are drawn for files of that kind, and operations on bytes for any file.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks.fuzz.tensor_mutations import TENSORS
from benchmarks.fuzz.text_mutations import JSON, LINES

# Bytes to insert: terminal codes, NUL, a lone CR, byte order marks, a bidirectional override.
RAW = (
    *(b"\x1b[31m", b"\x1b]0;title\x07", b"\x00", b"\r", b"\xff\xfe", b"\xef\xbb\xbf", b"\xe2\x80\xae"),
    b"\x9b1m",
)
# File names that may be mistaken for terminal codes, options, formulas, formats or shell code.
NAMES = (
    *("\x1b[31mred", "new\nline", "täü\u0308\u4e2d", " ", "-rf", "a" * 200, "con.", "..x", "b\udce9", "a;b"),
    *("=1+1", "%d", "{x}", "$(touch x)", "'q'\"", "\u202egnp"),
)
TEXTS = {".txt", ".json", ".ini", ".yaml", ".jsonl", ".md5", ".jinja", "", ".csv", ".md"}


@dataclass(frozen=True)
class Mutation:
    """The name of an operation, and the files that it changed (relative paths)."""

    operation: str
    files: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.operation} {' and '.join(self.files)}"


@dataclass(frozen=True)
class Chosen:
    """The file that an operation changes, below `root`. Links may point into the folder `outside`."""

    rng: Random
    root: Path
    path: Path
    other: Path  # a file with the same suffix, or the same file
    outside: Path


Operation = Callable[[Chosen], None]


def mutate_folder(rng: Random, root: Path, files: Sequence[Path], outside: Path) -> list[Mutation]:
    """Change one to three of `files` below `root`, and return the mutations.

    `outside` is a folder that links point into. It is created when it is needed.
    """
    done = []
    # Mostly a single mutation, so that a fault has one cause.
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
        # Listed for each mutation, since an earlier one may have removed or renamed files.
        there = [path for path in files if path.is_file() and not path.is_symlink()]
        if not there:
            break
        path = rng.choice(there)
        operation = rng.choice(_operations(path))
        # A file with the same suffix, so that a swap leaves both readable.
        others = [other for other in there if other != path and other.suffix == path.suffix]
        other = rng.choice(others or [path])
        OPERATIONS[operation](Chosen(rng, root, path, other, outside))
        touched = [path, *([other] if operation == "swap" else [])]
        done.append(Mutation(operation, tuple(str(each.relative_to(root)) for each in touched)))
    return done


def _operations(path: Path) -> list[str]:
    """The names of the operations for a file. Those of its own format occur more often."""
    # Repeating the names of operations makes them more frequent: mutations of the format reach deeper into a
    # reader than random bytes, which often fail in the first check.
    kinds = [*BYTES, *PLACES]
    if path.suffix == ".json":
        kinds += 4 * list(JSON)
    if path.suffix in TEXTS:
        kinds += 3 * list(LINES)
    if path.suffix == ".safetensors":
        kinds += 4 * list(TENSORS)
    return kinds


def _flip_bytes(chosen: Chosen) -> None:
    content = bytearray(chosen.path.read_bytes())
    for _ in range(chosen.rng.randint(1, 8) if content else 0):
        content[chosen.rng.randrange(len(content))] = chosen.rng.randrange(256)
    chosen.path.write_bytes(content)


def _flip_head(chosen: Chosen) -> None:
    """The header of a file holds sizes and offsets, which a reader may trust."""
    content = bytearray(chosen.path.read_bytes())
    # Values at the limits of signed and unsigned bytes.
    for _ in range(chosen.rng.randint(1, 4) if content else 0):
        content[chosen.rng.randrange(min(len(content), 64))] = chosen.rng.choice((0, 1, 0x7F, 0x80, 0xFF))
    chosen.path.write_bytes(content)


def _cut_tail(chosen: Chosen) -> None:
    size = chosen.path.stat().st_size
    os.truncate(chosen.path, chosen.rng.randrange(size) if size else 0)


def _cut_end(chosen: Chosen) -> None:
    os.truncate(chosen.path, max(0, chosen.path.stat().st_size - chosen.rng.randint(1, 40)))


def _cut_middle(chosen: Chosen) -> None:
    content = chosen.path.read_bytes()
    first, last = sorted(chosen.rng.randrange(len(content) + 1) for _ in range(2))
    chosen.path.write_bytes(content[:first] + content[last:])


def _empty(chosen: Chosen) -> None:
    chosen.path.write_bytes(b"")


def _zeros(chosen: Chosen) -> None:
    """As after a power failure: the size of the file was written, and its data were not."""
    chosen.path.write_bytes(bytes(chosen.path.stat().st_size))


def _insert(chosen: Chosen) -> None:
    content, what = chosen.path.read_bytes(), chosen.rng.choice(RAW)
    at = chosen.rng.randrange(len(content) + 1)
    chosen.path.write_bytes(content[:at] + what + content[at:])


def _append(chosen: Chosen) -> None:
    chosen.path.write_bytes(chosen.path.read_bytes() + chosen.rng.randbytes(chosen.rng.randint(1, 300)))


def _remove(chosen: Chosen) -> None:
    chosen.path.unlink()


def _folder(chosen: Chosen) -> None:
    chosen.path.unlink()
    chosen.path.mkdir()


def _link_outside(chosen: Chosen) -> None:
    """The content moves elsewhere. A command that writes to this path must not write through the link."""
    chosen.outside.mkdir(exist_ok=True)
    target = chosen.outside / f"linked{chosen.path.suffix}"
    shutil.move(chosen.path, target)
    chosen.path.symlink_to(target)


def _link_nowhere(chosen: Chosen) -> None:
    chosen.path.unlink()
    chosen.path.symlink_to(chosen.outside / "nothing")


def _link_loop(chosen: Chosen) -> None:
    chosen.path.unlink()
    chosen.path.symlink_to(chosen.path.name)


def _rename(chosen: Chosen) -> None:
    name = chosen.rng.choice(NAMES)
    # Mostly with its suffix, so that the file is still read as what it was.
    keep = chosen.path.suffix if chosen.rng.random() < 0.7 else ""
    chosen.path.rename(chosen.path.with_name(f"{name}{keep}"))


def _rename_folder(chosen: Chosen) -> None:
    """Rename the folder of the file, or the file itself if it lies in the root."""
    if chosen.path.parent == chosen.root:
        return _rename(chosen)
    chosen.path.parent.rename(chosen.path.parent.with_name(chosen.rng.choice(NAMES)))
    return None


def _locked(chosen: Chosen) -> None:
    # This has no effect for root, who may read every file.
    chosen.path.chmod(0)


def _swap(chosen: Chosen) -> None:
    one, other = chosen.path.read_bytes(), chosen.other.read_bytes()
    chosen.path.write_bytes(other)
    chosen.other.write_bytes(one)


def _on_file(change: Callable[[Random, Path], None]) -> Operation:
    return lambda chosen: change(chosen.rng, chosen.path)


BYTES: dict[str, Operation] = {
    "flip bytes of": _flip_bytes,
    "flip the head of": _flip_head,
    "cut the tail of": _cut_tail,
    "cut the end of": _cut_end,
    "cut the middle of": _cut_middle,
    "empty": _empty,
    "fill with zeros": _zeros,
    "insert into": _insert,
    "append to": _append,
    "swap": _swap,
}
PLACES: dict[str, Operation] = {
    "remove": _remove,
    "replace by a folder": _folder,
    "link to outside": _link_outside,
    "link to nowhere": _link_nowhere,
    "link to itself": _link_loop,
    "rename": _rename,
    "rename the folder of": _rename_folder,
    "lock": _locked,
}
OPERATIONS: dict[str, Operation] = {
    **BYTES,
    **PLACES,
    **{name: _on_file(change) for name, change in {**LINES, **JSON, **TENSORS}.items()},
}
