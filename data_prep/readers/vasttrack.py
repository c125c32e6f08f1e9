"""VastTrack: short videos of 2,115 classes with a sentence each (https://github.com/HengLan/VastTrack).

Layout: `<root>/<class>/<class>-<n>/{imgs/%05d.jpg, Groundtruth.txt, nlp.txt}`; arXiv 2403.03493. Names of
classes contain blanks and hyphens. The folders of classes may lie in others named after the archives
(`part-1`, ...). Boxes are x,y,w,h and count pixels from 1; `0,0,0,0` means absent, and there are no flags.

Splits: they may have folders `train` and `test`. In a common root they share classes, and lists distinguish
them: the official `vasttrack_test_list.txt`, and `vasttrack_train_split.txt`. Without the second list, all
sequences that are not in the test list are used for training.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from data_prep.readers.annotations import FOLDER, read_boxes, read_expressions, truth_of
from data_prep.readers.folders import (
    class_of,
    first_there,
    fitted,
    folder_of,
    folders_of,
    frames_of,
    image_names,
    read_names,
    sequences_of,
)
from data_prep.readers.reader import Entry, Reader, register_reader
from data_prep.sequence import Sequence

LISTS = {"train": "vasttrack_train_split.txt", "test": "vasttrack_test_list.txt"}
PART = re.compile(r"part[-_ ]?\d+")


def find(root: Path, split: str) -> list[Entry]:
    """The sequences of a list or of a split's folder; `all` are those of both."""
    apart = _apart(root)
    if split == "all":
        bases = [root / part for part in apart] or [root]
        return sorted((entry for base in bases for entry in _all(base)), key=lambda entry: entry.name)
    # With a list, the list decides, also about the order.
    base, path = root / split if apart else root, root / LISTS[split]
    if path.exists() or (split == "test" and not apart):
        return _listed(base, read_names(path))
    if apart:
        return _all(base)
    # Neither folders nor a list of training sequences: everything that is not in the test list.
    test = set(read_names(root / LISTS["test"]))
    return [entry for entry in _all(base) if entry.name not in test]


def _apart(root: Path) -> list[str]:
    """The splits that have folders. Names are compared exactly: a disk may take a class `Train` for
    `train`.
    """
    there = {folder.name for folder in folders_of(root)}
    return [split for split in LISTS if split in there]


def _listed(base: Path, names: list[str]) -> list[Entry]:
    """The sequences of a list, in any of the parts."""
    # A class may be split over several parts.
    homes: dict[str, list[Path]] = {}
    for group in _groups(base):
        homes.setdefault(group.name, []).append(group.parent)
    entries = []
    for name in names:
        # Where no part has it, the name stays, and reading it reports the missing folder.
        places = [folder_of(home, name) for home in homes.get(class_of(name), ())]
        entries.append(Entry(name, next(filter(Path.is_dir, places), folder_of(base, name))))
    return entries


def _all(base: Path) -> list[Entry]:
    return [Entry(folder.name, folder) for group in _groups(base) for folder in sequences_of(group)]


def _groups(base: Path) -> Iterator[Path]:
    """The folders of classes in `base`, and in folders named after archives (`part-1`)."""
    for folder in folders_of(base, skip=(FOLDER,)):
        # A folder named after an archive contains folders of classes.
        if PART.fullmatch(folder.name):
            yield from folders_of(folder)
        else:
            yield folder


def read(entry: Entry) -> Sequence:
    """Read one sequence. One without `nlp.txt` has no expression, and a note."""
    boxes = read_boxes(first_there(entry.folder, "Groundtruth.txt", "groundtruth.txt"))
    folder = first_there(entry.folder, "imgs", "img")
    names, notes = fitted(folder, image_names(folder), boxes)
    path = entry.folder / "nlp.txt"
    expressions: tuple[str, ...] = ()
    spans = None
    if path.exists():
        expressions, spans = read_expressions(path, len(boxes))
    else:
        notes += (f"{path}: no such file; the sequence has no expression",)
    metadata = {"class": class_of(entry.name)}
    frames, truth = frames_of(folder, names), truth_of(boxes, None)
    return Sequence(entry.name, frames, expressions, 25.0, entry.folder, metadata, spans, truth, notes)


VASTTRACK = register_reader(Reader("vasttrack", ("train", "test", "all"), find, read))
