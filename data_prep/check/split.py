"""Faults of a split as a whole: its names, its lists, and sequences that exist twice."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from configs.errors import UserError
from data_prep.check.report import Finding
from data_prep.readers.folders import ENDINGS
from data_prep.readers.reader import Entry, Reader, list_split

TRAINING, EVALUATION = "train", ("val", "valid", "valid_u", "test")
IMAGE, UNREADABLE = "an image", "an unreadable folder"  # used in place of names
EXAMPLES = 20  # sequences whose folders are examined to learn what such a folder contains


@dataclass(frozen=True)
class Lists:
    """The entries of each split whose list or folder exists, and the names of the other splits."""

    entries: dict[str, list[Entry]]
    missing: tuple[str, ...] = ()


def read_lists(reader: Reader, root: Path, split: str, entries: list[Entry]) -> Lists:
    """The entries of all splits of a reader. The split `all` is left out unless it is the only one.

    The result is empty where sequences have no folders of their own (images of RefCOCO, chunks of
    TrackingNet).
    """
    # The name of an entry begins with its folder's: an object's `<video>_<object>`, a target's `Skating2-1`.
    # Only where sequences have folders of their own can unlisted folders be found.
    if not any(entry.name.startswith(entry.folder.name) for entry in entries):
        return Lists({})
    # A split whose list is missing is reported beside unlisted folders, which may belong to it.
    found, missing = {}, []
    for each in [name for name in reader.splits if name != "all"] or reader.splits:
        try:
            found[each] = entries if each == split else list_split(reader, root, each).entries
        except UserError:
            missing.append(each)
    return Lists(found, tuple(missing))


def strays(lists: Lists, entries: list[Entry]) -> list[Path]:
    """Folders beside those of the entries that have similar contents but that no split names, by name."""
    if not lists.entries:
        return []
    # A dict keeps the order of the lists, which a set would not.
    named = dict.fromkeys(entry.folder for each in lists.entries.values() for entry in each)
    parents = sorted({entry.folder.parent for entry in entries})
    examples = islice((folder for folder in named if folder.is_dir()), EXAMPLES)
    # Learn from some sequences what their folders contain, to recognise folders of the same kind.
    alike = {UNREADABLE, *(mark for folder in examples for mark in _marks(folder))}
    return [
        folder
        for parent in parents
        for folder in sorted(parent.iterdir() if parent.is_dir() else ())
        if folder not in named and folder.is_dir() and folder.name[0] != "." and alike & _marks(folder)
    ]


def _marks(folder: Path) -> set[str]:
    """The names of the files in a folder, with one mark in place of all images."""
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return {UNREADABLE}
    return {IMAGE if name.lower().endswith(ENDINGS) else name for name in names if name[0] != "."}


def list_findings(lists: Lists, entries: list[Entry], unnamed: list[Path]) -> Iterator[Finding]:
    """Findings for folders that no list names (`unnamed`), and for sequences in two splits."""
    known = ", ".join(lists.entries) + (f" (not found: {', '.join(lists.missing)})" if lists.missing else "")
    for folder in unnamed:
        message = f"no list names it, of {known}; add its name to one, or remove it"
        yield Finding(folder.name, "unlisted", f"{folder}: {message}")
    # A sequence in both splits would be trained on and then evaluated.
    training = {entry.folder for entry in lists.entries.get(TRAINING, ())}
    for split in EVALUATION:
        both = training & {entry.folder for entry in lists.entries.get(split, ())}
        for entry in entries:
            if entry.folder in both:
                message = f"is in both {TRAINING} and {split}; remove it from one of their lists"
                yield Finding(entry.name, "two_splits", f"{entry.folder}: {message}")


def name_findings(entries: Iterable[Entry]) -> Iterator[Finding]:
    """Findings for names that several sequences share. Results are stored by name, so names must be
    unique.
    """
    named: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        named[entry.name].append(entry)
    for name, group in named.items():
        if len(group) > 1:
            message = f"has the name of {group[0].folder}; rename one of them, or remove it"
            yield Finding(name, "same_name", f"{group[1].folder}: {message}", len(group))


def twin_findings(entries: Iterable[Entry], fingerprints: Iterable[str]) -> Iterator[Finding]:
    """Findings for sequences with the fingerprint of an earlier one (see `check.sequences.fingerprint`)."""
    first: dict[str, Entry] = {}
    for entry, mark in zip(entries, fingerprints, strict=True):
        other = first.setdefault(mark, entry)
        if mark and other is not entry:
            message = (
                f"has boxes and expressions of {other.name}; remove one of them if the videos are the same"
            )
            yield Finding(entry.name, "same_annotations", f"{entry.folder}: {message}")
