"""LaSOT and its extension LaSOText: long videos with expressions (https://arxiv.org/abs/2009.03465).

Layout: `<root>/<class>/<class>-<number>/img/%08d.jpg`, `groundtruth.txt`, `nlp.txt`, and
`full_occlusion.txt` and `out_of_view.txt`, each a line of flags. Most frames in which the target is absent
have an ordinary box, so the flags are required. Boxes are x,y,w,h in pixels counted from 1.

The lists of the 1,120 and 280 names of LaSOT are expected in the root. All 150 videos of LaSOText are its
test set; some copies of it have no expressions. If the folder `annos` of the evaluation kit
(https://github.com/HengLan/LaSOT_Evaluation_Toolkit) lies in the root, attributes are read from there.
"""

from pathlib import Path

import numpy as np

from data_prep.readers.annotations import FOLDER, attributes, flags_of, read_boxes, read_expressions, truth_of
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

LISTS = {
    "train": ("training_set.txt", "lasot_train_split.txt"),
    "test": ("testing_set.txt", "lasot_test_split.txt"),
}
BESIDE = (FOLDER, "lasot_train_concise")  # folders among those of the classes that are not classes
ATTRIBUTES = "IV POC DEF MB CM ROT BC VC SV FOC FM OV LR ARC"
FPS = 30.0  # of every video, by the paper


def find_lasot(root: Path, split: str) -> list[Entry]:
    """The sequences of a list, or every folder of every class for `all`."""
    if split == "all":
        return _every(root)
    return [_entry(root, name) for name in read_names(first_there(root, *LISTS[split]))]


def find_lasotext(root: Path, split: str) -> list[Entry]:  # noqa: ARG001 -- both splits are the same
    """Every folder of every class."""
    return _every(root)


def _every(root: Path) -> list[Entry]:
    # Folders of classes, and in each of them the folders of its sequences.
    groups = folders_of(root, skip=BESIDE)
    return [_entry(root, folder.name) for group in groups for folder in sequences_of(group)]


def _entry(root: Path, name: str) -> Entry:
    # The file of attributes is outside of the folder, so it is part of the entry: an index notices its
    # changes.
    return Entry(name, folder_of(root, name), {}, (root / FOLDER / "att" / f"{name}.txt",))


def read_lasot(entry: Entry) -> Sequence:
    """Read one sequence of LaSOT."""
    return _read(entry, ())


def read_lasotext(entry: Entry) -> Sequence:
    """Read one sequence of LaSOText; without `nlp.txt` it has no expression, and a note."""
    path = entry.folder / "nlp.txt"
    return _read(entry, () if path.exists() else (f"{path}: no such file; the sequence has no expression",))


def _read(entry: Entry, wordless: tuple[str, ...]) -> Sequence:
    """Read one sequence. `wordless` is the note that there is no expression, or empty."""
    folder = entry.folder / "img"
    # Boxes, frames and flags must agree in number, which `fitted` and `flags_of` check.
    boxes = read_boxes(entry.folder / "groundtruth.txt")
    names, notes = fitted(folder, image_names(folder), boxes)
    expressions, spans = ((), None) if wordless else read_expressions(entry.folder / "nlp.txt", len(boxes))
    metadata = {"class": class_of(entry.name), **attributes(entry.files[0], ATTRIBUTES)}
    frames, truth = frames_of(folder, names), truth_of(boxes, _visible(entry.folder, boxes))
    return Sequence(
        entry.name, frames, expressions, FPS, entry.folder, metadata, spans, truth, notes + wordless
    )


def _visible(folder: Path, boxes: np.ndarray) -> np.ndarray:
    """Where the target is neither fully occluded nor out of view, bool (F,), for boxes (F, 4)."""
    # Both flags mean absent for evaluation: a target that is fully occluded cannot be seen either.
    hidden, outside = (flags_of(folder / name, boxes) for name in ("full_occlusion.txt", "out_of_view.txt"))
    return (hidden == 0) & (outside == 0)


LASOT = register_reader(Reader("lasot", ("train", "test", "all"), find_lasot, read_lasot))
LASOTEXT = register_reader(Reader("lasotext", ("test", "all"), find_lasotext, read_lasotext))
