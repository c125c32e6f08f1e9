"""The sequences of a split as commands take them: each once, and told where a list repeats one."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from configs.errors import UserError
from data_prep.files import check_utf8, reading, real_path
from data_prep.readers.entry import Entry, Reader


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
