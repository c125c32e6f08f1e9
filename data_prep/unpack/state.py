"""What a run of unpacking leaves behind for the next one to continue from, and the MD5 sums that it
compares.
"""

import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from configs.errors import UserError
from data_prep.files import read_text, write_whole

UNREADABLE = (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError)
WORK = ".unpacking"  # folder inside the target folder, until everything is checked
RECORD = "unpacked.json"  # in the target folder: the state of every archive, by the name of its first part


@dataclass(frozen=True)
class State:
    """How far unpacking has come: the parts (name, size, time), the number of finished members and their
    bytes.

    `md5` is that of the joined parts and `tar_md5` that of the decompressed archive, both empty until the
    end was reached. `tops` are the names at the top level of the archive, which are then moved to the target
    folder.
    """

    parts: list[list[Any]]
    members: int = 0
    bytes: int = 0
    md5: str = ""
    tar_md5: str = ""
    tops: list[str] = field(default_factory=list)

    def is_of(self, parts: list[list[Any]]) -> bool:
        """Whether the members counted belong to `parts`: the same files, possibly followed by more."""
        return self.parts == parts[: len(self.parts)]


def parts_as_told(paths: list[Path]) -> list[list[Any]]:
    """Name, size and time of each part."""
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths]


def read_state(path: Path) -> State | None:
    """The state in a file; None where it is missing or damaged, and then every file is compared."""
    try:
        state = State(**json.loads(path.read_text()))
        return state if state.parts[0][0] else None
    except UNREADABLE:
        return None


def read_record(out: Path) -> dict[str, State]:
    """What was unpacked into a folder, by the name of the first part; empty where no record can be read."""
    try:
        return {name: State(**values) for name, values in json.loads((out / RECORD).read_text()).items()}
    except UNREADABLE:
        return {}


def write_state(path: Path, state: State) -> None:
    """Write the state, completely or not at all."""
    write_whole(path, json.dumps(asdict(state), indent=1) + "\n", durable=False)


def publish(work: Path, out: Path, state: State) -> None:
    """Move the checked files from `work/tree` to `out`, and write the record there.

    If it is interrupted anywhere, the next run continues. Raises UserError where `out` has meanwhile got
    something with the same name.
    """
    os.sync()  # files must be on the disk before they appear in the target folder
    for path in sorted((work / "tree").iterdir()):
        if os.path.lexists(out / path.name):
            raise UserError(f"{out / path.name}: exists already; remove it and run again")
        # `work` lies in `out`, so this stays within one file system and copies nothing.
        path.rename(out / path.name)
    # Archives that were unpacked into the same folder before keep their records.
    record = {**read_record(out), state.parts[0][0]: state}
    message = {name: asdict(each) for name, each in record.items()}
    write_whole(out / RECORD, json.dumps(message, indent=1) + "\n")


MD5 = re.compile(r"\b[0-9a-fA-F]{32}\b")
NAMES = {"md5": "the joined parts", "tar_md5": "the decompressed archive"}


def read_md5(key: str, value: str) -> str:
    """The MD5 that a key gives: 32 digits, or a file that contains them, as `md5sum` writes it.

    Empty for an empty value. Raises UserError where there is no MD5.
    """
    # The sum itself.
    if not value or MD5.fullmatch(value):
        return value.lower()
    if not Path(value).is_file():
        raise UserError(f"{key}={value}: neither 32 digits and letters a to f nor a file that holds them")
    # A file as `md5sum` writes it: one sum, with the name of the file behind it.
    found = set(MD5.findall(read_text(Path(value), "check the name")))
    if len(found) != 1:
        raise UserError(f"{value}: holds {len(found)} md5 sums where one is wanted; give it as {key}=")
    return found.pop().lower()


def check_md5(state: State, wanted: dict[str, str], where: Path) -> None:
    """Compare the published sums (`md5`, `tar_md5`; empty: not published) with those computed.

    Raises UserError where they differ; `where` is the folder of the data.
    """
    found = {"md5": state.md5, "tar_md5": state.tar_md5}
    for key, value in wanted.items():
        # The published sum may be that of the other stream.
        other = "tar_md5" if key == "md5" else "md5"
        if value and value != found[key]:
            remedy = "get the parts again and run again, only what differs is written"
            if value == found[other]:
                remedy = f"it is that of {NAMES[other]}: give it as {other}="
            raise UserError(
                f"{where}: the md5 of {NAMES[key]} is {found[key]}, not {value}; "
                f"do not use what lies there; {remedy}"
            )
