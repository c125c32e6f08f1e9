"""What a reader of a data set is, the registry of all readers, and the sequences of a split.

A data set is one file. It defines how the sequences of a split are found and how one of them is read, and
registers both under the name of the data set:

    def find(root: Path, split: str) -> list[Entry]:
        return [Entry(folder.name, folder) for folder in folders_of(root / split)]

    def read(entry: Entry) -> Sequence:
        ...

    MY_SET = register_reader(Reader("my_set", ("train", "test"), find, read))

Files in `data_prep/readers/` are found by listing the package. A file elsewhere registers
its reader when it is imported, for example by `plugins=[my_set.py]`.
"""

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError
from configs.extensions import Registry
from data_prep.files import check_utf8, reading, real_path
from data_prep.geometry import Size
from data_prep.sequence import Sequence


@dataclass(frozen=True)
class Entry:
    """A sequence before its files are read.

    `folder` is the sequence's own folder. `facts` is whatever else its reader needs to read it; an entry is
    sent to worker processes, so it holds plain values only. `files` are the files outside of `folder` that
    the sequence is read from. An index is rebuilt when one of them changes.
    """

    name: str
    folder: Path
    facts: dict[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, eq=False)
class TrueMasks:
    """The ground-truth masks of one target.

    `names` are the file names of the frames without their endings, and `size` is (width, height). `masks`
    yields one mask for each frame in order, bool (height, width), and reads it only then; it can be iterated
    once.
    """

    names: list[str]
    size: Size
    masks: Iterator[np.ndarray]


@dataclass(frozen=True)
class Reader:
    """How one data set is read.

    `find(root, split)` lists the entries of a split (one of `splits`), in the order of the official list if
    there is one, else by name. It does not read the sequences' own files. It raises UserError where the data
    are missing. A name that the list contains twice is returned twice; `list_split` handles that.

    `read(entry)` reads one sequence. It raises UserError, one line that names the file and the remedy, where
    the sequence cannot be used.

    `sparse` are the splits in which most frames have no annotation by design. `masks(entry)` returns the
    ground-truth masks, for data sets whose results are scored by masks. It raises UserError where the split
    has none or they cannot be read.
    """

    name: str
    splits: tuple[str, ...]
    find: Callable[[Path, str], list[Entry]]
    read: Callable[[Entry], Sequence]
    sparse: tuple[str, ...] = ()
    masks: Callable[[Entry], TrueMasks] | None = None


# ---- the registry --------------------------------------------------------------------------------

READERS: Registry[Reader] = Registry("data", __package__)
"""The registered readers by the name of their data set."""


def register_reader(reader: Reader) -> Reader:
    """Register a reader under its name, and return it. Raises ValueError if another file has this name."""
    READERS.register(reader.name, reader, _module_of(reader))
    return reader


def reader_of(name: str, split: str) -> Reader:
    """The reader of a data set. Raises UserError where the data set has no such split."""
    READERS.load_package()
    reader = READERS[name]
    if split not in reader.splits:
        raise UserError(f"split={split}: {name} has {', '.join(reader.splits)}")
    return reader


def _module_of(reader: Reader) -> str:
    """The module that defines how a reader finds its sequences."""
    # Readers of several data sets are partial functions of a common one.
    find = reader.find
    while isinstance(find, functools.partial):
        find = find.func
    return find.__module__


# ---- the sequences of a split --------------------------------------------------------------------


@dataclass(frozen=True)
class Listing:
    """The entries of a split, each once and in order.

    `repeated` holds, by name, a message for each sequence that the list contains more than once.
    """

    entries: list[Entry]
    repeated: dict[str, str]


def list_split(reader: Reader, root: Path, split: str) -> Listing:
    """The entries that a reader finds, without repetitions.

    Raises UserError where the data or their list are missing or cannot be read, and where a name is not
    UTF-8, because neither an index nor a report could store it.
    """
    with reading():
        # A missing root gets a message that names the key.
        if not root.is_dir():
            raise UserError(f"root={root}: no such folder; point root= at the data set")
        found = reader.find(real_path(root), split)
    # The entry is the same only if name and folder are: two folders of one name are different sequences.
    places: dict[tuple[str, Path], list[int]] = defaultdict(list)
    for number, entry in enumerate(found):
        check_utf8(entry.folder)
        check_utf8(Path(entry.name))
        places[entry.name, entry.folder].append(number)
    repeated = {
        name: f"{folder}: is {len(numbers)} times in the list of {split} (lines "
        f"{', '.join(str(number + 1) for number in numbers)} of names); it is used once, remove the others"
        for (name, folder), numbers in places.items()
        if len(numbers) > 1
    }
    return Listing([found[numbers[0]] for numbers in places.values()], repeated)
