"""What every reader offers: the sequences of a data set by name, and each of them read.

The sequences of a split as commands take them: each once, and told where a list repeats one.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError
from data_prep.files import check_utf8, reading, real_path
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
    a list names twice is there twice: `data_prep.readers.reader` tells of it.
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


@dataclass(frozen=True)
class Listing:
    """`entries`, each once, in their order. `repeated`: by name, what is to be told of those listed again."""

    entries: list[Entry]
    repeated: dict[str, str]


def list_split(reader: Reader, root: Path, split: str) -> Listing:
    """What a reader finds.

    Raises UserError where the data or their list are not there or cannot be read, or where a name is not
    UTF-8, which neither an index nor a report could hold.
    """
    with reading():
        if not root.is_dir():
            raise UserError(f"root={root}: no such folder; point root= at the data set")
        found = reader.find(real_path(root), split)
    places: dict[tuple[str, Path], list[int]] = defaultdict(list)
    for number, entry in enumerate(found):
        check_utf8(entry.folder)
        check_utf8(Path(entry.name))
        places[entry.name, entry.folder].append(number)
    repeated = {
        name: f"{folder}: stands {len(numbers)} times in the list of {split}, as the names "
        f"{', '.join(str(number + 1) for number in numbers)}; it is taken once, remove the others"
        for (name, folder), numbers in places.items()
        if len(numbers) > 1
    }
    return Listing([found[numbers[0]] for numbers in places.values()], repeated)
