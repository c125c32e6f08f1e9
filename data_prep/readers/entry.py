"""What every reader offers: the sequences of a data set by name, and each of them read."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError
from data_prep.files import is_folder, read_text
from data_prep.geometry import Size
from data_prep.sequence import Sequence


@dataclass(frozen=True)
class Entry:
    """A sequence before its files are read: its name, its folder, and what else its reader goes by.

    An entry travels to the processes that read, so `facts` holds plain values only. `files` are those
    that it is read from and that lie elsewhere than in its folder: an index is made anew when one changes.
    """

    name: str
    folder: Path
    facts: dict[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, eq=False)
class TrueMasks:
    """The masks of a target: the names of its frames without endings, their size (width, height), and one
    a frame, bool (height, width), in order, read as they are asked for. They can be gone through once.
    """

    names: list[str]
    size: Size
    masks: Iterator[np.ndarray]


@dataclass(frozen=True)
class Reader:
    """How one data set is read.

    `find(root, split)` lists the entries of a split (one of `splits`) in the order of its official list,
    else by name; it looks at no sequence's own files and raises UserError where the data are not there. What
    a list names twice is there twice: `data_prep.readers.listing` tells of it.
    `read(entry)` reads one; it raises UserError, one line with file and mend, where it cannot be used.
    `sparse` are the splits in which frames that nobody annotated are usual. `masks(entry)` gives the masks
    of sets whose results are scored by them; it raises UserError where the split has none or they cannot
    be read.
    """

    name: str
    splits: tuple[str, ...]
    find: Callable[[Path, str], list[Entry]]
    read: Callable[[Entry], Sequence]
    sparse: tuple[str, ...] = ()
    masks: Callable[[Entry], TrueMasks] | None = None


FOREIGN = {"__MACOSX", "@eaDir", "lost+found"}  # left by an archiver, a disk station, a file system


def folders_of(root: Path, skip: tuple[str, ...] = ()) -> list[Path]:
    """The folders in `root` by name, hidden and foreign ones and those of `skip` left out.

    Raises UserError where `root` is no folder or holds none.
    """
    mend = "check root=, and that the data are unpacked there"
    try:
        with os.scandir(root) as found:  # unlike a list of names it knows folders without a look at each
            names = sorted(each.name for each in found if each.name[0] != "." and is_folder(each))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{root}: no such folder; {mend}") from None
    except OSError as fault:
        raise UserError(f"{root}: cannot be listed ({fault.strerror}); {mend}") from None
    names = [name for name in names if name not in FOREIGN and name not in skip]
    if not names:
        raise UserError(f"{root}: holds no sequences; {mend}")
    return [root / name for name in names]


def first_there(folder: Path, *names: str) -> Path:
    """The first of some names that lies in a folder, the first of all where none does."""
    return next((folder / name for name in names if (folder / name).exists()), folder / names[0])


def read_names(path: Path) -> list[str]:
    """The names in a list file, one a line; blank lines and the last line's missing end are fine.

    Raises UserError where the file is missing or names nothing.
    """
    names = [line.strip() for line in read_text(path, "restore the list of the split").splitlines()]
    names = [name for name in names if name]
    if not names:
        raise UserError(f"{path}: names no sequence; restore the list of the split")
    return names
