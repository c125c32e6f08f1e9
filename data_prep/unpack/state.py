"""What a run of unpacking leaves for the next one to go on from."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from configs.errors import UserError
from data_prep.files import write_whole

WORK = ".unpacking"  # in the folder to unpack into, until all is checked
RECORD = "unpacked.json"  # there, afterwards


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
    except (OSError, ValueError, TypeError):
        return None
    return state if state.parts else None


def write_state(path: Path, state: State, durable: bool = False) -> None:
    """Write the state, whole or not at all."""
    write_whole(path, json.dumps(asdict(state), indent=1) + "\n", durable)


@contextmanager
def alone_in(work: Path) -> Iterator[None]:
    """Hold the folder for this process. Raises UserError where another one holds it."""
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"{work}: another run unpacks there; let it end first") from None
        yield


def publish(work: Path, out: Path, state: State) -> None:
    """Move what is whole and checked from `work/tree` to `out`, and leave a record there.

    Raises UserError where `out` got something of the same name meanwhile. Stopped anywhere, it goes on.
    """
    os.sync()  # what is in place under its own name is on the disk
    for path in sorted((work / "tree").iterdir()):
        if os.path.lexists(out / path.name):
            raise UserError(f"{out / path.name}: is there already; remove it and run again")
        path.rename(out / path.name)
    write_state(out / RECORD, state, durable=True)
