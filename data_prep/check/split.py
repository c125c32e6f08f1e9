"""What is wrong with a split as a whole: its names, its lists, and sequences that are there twice."""

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
PICTURE, UNREADABLE = "a picture", "what cannot be read"  # in place of names
EXAMPLES = 20  # sequences from which it is learnt what lies in a sequence's folder


@dataclass(frozen=True)
class Lists:
    """The entries of every split that a data set's root has lists or folders of, and the other splits."""

    entries: dict[str, list[Entry]]
    missing: tuple[str, ...] = ()


def read_lists(reader: Reader, root: Path, split: str, entries: list[Entry]) -> Lists:
    """What the splits of a reader hold; `all` is no list of its own, unless there is no other.

    Nothing where sequences have no folders of their own (RefCOCO's pictures, TrackingNet's chunks).
    """
    # The name of an entry begins with its folder's: an object's `<video>_<object>`, a target's `Skating2-1`.
    if not any(entry.name.startswith(entry.folder.name) for entry in entries):
        return Lists({})
    found, missing = {}, []
    for each in [name for name in reader.splits if name != "all"] or reader.splits:
        try:
            found[each] = entries if each == split else list_split(reader, root, each).entries
        except UserError:
            missing.append(each)
    return Lists(found, tuple(missing))


def strays(lists: Lists, entries: list[Entry]) -> list[Path]:
    """Folders beside those of the entries that hold the like and that no split names, by name."""
    if not lists.entries:
        return []
    named = dict.fromkeys(entry.folder for each in lists.entries.values() for entry in each)
    parents = sorted({entry.folder.parent for entry in entries})
    examples = islice((folder for folder in named if folder.is_dir()), EXAMPLES)
    alike = {UNREADABLE, *(mark for folder in examples for mark in _marks(folder))}
    return [
        folder
        for parent in parents
        for folder in sorted(parent.iterdir() if parent.is_dir() else ())
        if folder not in named and folder.is_dir() and folder.name[0] != "." and alike & _marks(folder)
    ]


def _marks(folder: Path) -> set[str]:
    """Names of what lies in a folder, of pictures only that there are some."""
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return {UNREADABLE}
    return {PICTURE if name.lower().endswith(ENDINGS) else name for name in names if name[0] != "."}


def list_findings(lists: Lists, entries: list[Entry], unnamed: list[Path]) -> Iterator[Finding]:
    """Folders that no list names (`unnamed`), and sequences in the training split and in another."""
    known = ", ".join(lists.entries) + (f" (not found: {', '.join(lists.missing)})" if lists.missing else "")
    for folder in unnamed:
        told = f"no list names it, of {known}; add its name to one, or remove it"
        yield Finding(folder.name, "unlisted", f"{folder}: {told}")
    training = {entry.folder for entry in lists.entries.get(TRAINING, ())}
    for split in EVALUATION:
        both = training & {entry.folder for entry in lists.entries.get(split, ())}
        for entry in entries:
            if entry.folder in both:
                told = f"is in both {TRAINING} and {split}; take it off one of their lists"
                yield Finding(entry.name, "two_splits", f"{entry.folder}: {told}")


def name_findings(entries: Iterable[Entry]) -> Iterator[Finding]:
    """Names that several sequences of a split have: results are kept by name."""
    named: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        named[entry.name].append(entry)
    for name, group in named.items():
        if len(group) > 1:
            told = f"has the name of {group[0].folder}; rename one of them, or remove it"
            yield Finding(name, "same_name", f"{group[1].folder}: {told}", len(group))


def twin_findings(entries: Iterable[Entry], fingerprints: Iterable[str]) -> Iterator[Finding]:
    """Sequences whose fingerprint (see `fingerprint`) an earlier one has."""
    first: dict[str, Entry] = {}
    for entry, mark in zip(entries, fingerprints, strict=True):
        other = first.setdefault(mark, entry)
        if mark and other is not entry:
            told = f"its boxes and words are those of {other.name}; remove one if the videos are the same"
            yield Finding(entry.name, "same_annotations", f"{entry.folder}: {told}")
