"""What a run of unpacking leaves for the next one to go on from."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from configs.errors import UserError
from data_prep.files import write_whole

UNREADABLE = (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError)
WORK = ".unpacking"  # in the folder to unpack into, until all is checked
RECORD = "unpacked.json"  # there, afterwards: the state of every archive, by the name of its first part


@dataclass(frozen=True)
class State:
    """How far it is: of which parts (name, size, time), how many members, and their bytes.

    `md5` and `tar_md5` are those of the whole streams, empty until the end was reached; `tops` are the
    names that then come to lie in the folder.
    """

    parts: list[list[Any]]
    members: int = 0
    bytes: int = 0
    md5: str = ""
    tar_md5: str = ""
    tops: list[str] = field(default_factory=list)

    def is_of(self, parts: list[list[Any]]) -> bool:
        """Whether the members counted are those of `parts`: the same files, or the same and more."""
        return self.parts == parts[: len(self.parts)]


def parts_as_told(paths: list[Path]) -> list[list[Any]]:
    """Name, size and time of each part."""
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths]


def read_state(path: Path) -> State | None:
    """The state in a file; None where there is none or none that can be read: then all is compared."""
    try:
        state = State(**json.loads(path.read_text()))
        return state if state.parts[0][0] else None
    except UNREADABLE:
        return None


def read_record(out: Path) -> dict[str, State]:
    """What was unpacked into a folder, by the name of the first part; nothing where no record can be read."""
    try:
        return {name: State(**values) for name, values in json.loads((out / RECORD).read_text()).items()}
    except UNREADABLE:
        return {}


def write_state(path: Path, state: State) -> None:
    """Write the state, whole or not at all."""
    write_whole(path, json.dumps(asdict(state), indent=1) + "\n", durable=False)


def publish(work: Path, out: Path, state: State) -> None:
    """Move what is whole and checked from `work/tree` to `out`, and leave a record there.

    Raises UserError where `out` got something of the same name meanwhile. Stopped anywhere, it goes on.
    """
    os.sync()  # what is in place under its own name is on the disk
    for path in sorted((work / "tree").iterdir()):
        if os.path.lexists(out / path.name):
            raise UserError(f"{out / path.name}: is there already; remove it and run again")
        path.rename(out / path.name)
    record = {**read_record(out), state.parts[0][0]: state}
    told = {name: asdict(each) for name, each in record.items()}
    write_whole(out / RECORD, json.dumps(told, indent=1) + "\n")
