"""A list of sequences that an index is told to leave out, as `task=check` writes it."""

from collections import Counter
from pathlib import Path

from configs.errors import UserError, did_you_mean
from data_prep.files import read_text
from data_prep.index.store import LeftOut
from data_prep.readers.entry import Entry

MOST_NAMES = 5  # of unknown ones in a message


def split_off(entries: list[Entry], path: Path | None) -> tuple[list[Entry], list[LeftOut]]:
    """The entries that a file does not name, and those it names, a line each, with the reason.

    Blank lines are none, and an empty file names nothing. Raises UserError where the file is missing or
    names what is not there: it may be another split's.
    """
    if path is None:
        return entries, []
    text = read_text(path, "write it with task=check, or take leave_out= away")
    listed = Counter(filter(None, map(str.strip, text.splitlines())))
    names = {entry.name for entry in entries}
    unknown = [name for name in listed if name not in names]
    if unknown:
        told = ", ".join(unknown[:MOST_NAMES]) + (", …" if len(unknown) > MOST_NAMES else "")
        hint = did_you_mean(unknown[0], names)
        raise UserError(
            f"{path}: names {told} ({len(unknown)} in all), which the split has not; remove the names, or "
            f"take the list of this split{hint}"
        )
    left = [
        LeftOut(entry.name, _named(listed[entry.name], path)) for entry in entries if entry.name in listed
    ]
    return [entry for entry in entries if entry.name not in listed], left


def _named(times: int, path: Path) -> str:
    return f"named in {path}" + (f" {times} times" if times > 1 else "")
