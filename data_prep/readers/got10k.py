"""GOT-10k: short videos of many classes (https://github.com/got-10k/toolkit, arXiv 1810.11981).

Layout: `<root>/{train,val,test}/list.txt` names the folders beside it. Each has `%08d.jpg`,
`groundtruth.txt` and, outside the test split, `absence.label` (1 = absent), `cover.label` (visible share in
eighths, 0 to 8) and `meta_info.ini`. Boxes are x,y,w,h and count pixels from 1. There are no sentences; the
expression is the class.

Splits: `vot_train` and `vot_val` are the parts of the train split without the videos of VOT, as published by
PyTracking. Its two files hold numbers of lines of `train/list.txt`, counted from 0, and are expected in the
root. What trackers call `train_full` is `train` here, and their `official_val` is `val`.
"""

import re
from configparser import ConfigParser
from configparser import Error as IniError
from pathlib import Path

import numpy as np

from configs.errors import UserError
from data_prep.files import inside, read_text
from data_prep.readers.annotations import REMEDY, flags_of, read_boxes, truth_of, truth_of_test
from data_prep.readers.folders import fitted, frames_of, image_names, read_names
from data_prep.readers.reader import Entry, Reader, register_reader
from data_prep.sequence import Sequence, Truth

NUMBERED = {"vot_train": "got10k_vot_train_split.txt", "vot_val": "got10k_vot_val_split.txt"}
KEPT = ("object_class", "motion_class", "major_class", "root_class", "motion_adverb", "resolution", "url")
COVERS = 8  # the largest flag of visible shares: from 0 (hidden) to 8 (all of the target)
FPS = 10.0  # of the published frames, unless meta_info.ini says otherwise


def find(root: Path, split: str) -> list[Entry]:
    """The sequences of `list.txt`, or of a file of its line numbers."""
    part = "train" if split in NUMBERED else split
    # 1. The official list of the split.
    names = read_names(root / part / "list.txt")
    # 2. Of the training list only the lines that PyTracking chose.
    if split in NUMBERED:
        names = _numbered(root / NUMBERED[split], names)
    return [Entry(name, inside(root / part, name), {"test": part == "test"}) for name in names]


def _numbered(path: Path, names: list[str]) -> list[str]:
    """The names at the lines, counted from 0, whose numbers a file lists."""
    picked = []
    for line in read_names(path):
        if not line.isdecimal() or int(line) >= len(names):
            raise UserError(
                f"{path}: {line!r} is no line of train/list.txt, counted from 0 to {len(names) - 1}; "
                "restore both lists"
            )
        picked.append(names[int(line)])
    return picked


def read(entry: Entry) -> Sequence:
    """Read one sequence. In the test split only the first box is public."""
    folder = entry.folder
    names, boxes = image_names(folder), read_boxes(folder / "groundtruth.txt")
    if entry.facts["test"]:
        names, truth, notes = truth_of_test(folder, names, boxes)
    else:
        names, notes = fitted(folder, names, boxes)
        truth, more = _truth(folder, boxes)
        notes += more
    metadata, fps = _metadata(folder / "meta_info.ini", entry.facts["test"])
    class_name = metadata.get("object_class", "")
    expressions = (class_name,) if class_name else ()
    return Sequence(
        entry.name, frames_of(folder, names), expressions, fps, folder, metadata, truth=truth, notes=notes
    )


def _truth(folder: Path, boxes: np.ndarray) -> tuple[Truth, tuple[str, ...]]:
    """The truth: a target is present where it is not absent and some share of it is visible."""
    # 1. Not absent.
    seen = flags_of(folder / "absence.label", boxes) == 0
    # 2. And visible to some share.
    path = folder / "cover.label"
    cover = flags_of(path, boxes, COVERS)
    if cover.any() or not seen.any():
        return truth_of(boxes, seen & (cover > 0)), ()
    # Some training videos have zeros only, since their shares were never labelled. By these zeros the target
    # would be absent throughout, so they are ignored.
    return truth_of(boxes, seen), (f"{path}: 0 in every frame; only absence.label is gone by",)


def _metadata(path: Path, optional: bool) -> tuple[dict[str, str], float]:
    """The classes of the ini file, and the frames per second."""
    if optional and not path.exists():
        return {}, FPS
    # Values contain colons and percent signs, and keys may be repeated.
    parser = ConfigParser(delimiters=(":",), interpolation=None, strict=False)
    try:
        parser.read_string(read_text(path, REMEDY))
        found = {key: value.strip() for key, value in parser["METAINFO"].items()}
    except (IniError, KeyError):
        raise UserError(f"{path}: has no section [METAINFO] of `key: value` lines; {REMEDY}") from None
    # The value has a unit behind it, such as `10Hz`.
    rate = re.match(r"\d+(\.\d+)?", found.get("anno_fps", ""))
    fps = float(rate[0]) if rate else FPS
    return {key: found[key] for key in KEPT if found.get(key)}, fps or FPS


GOT10K = register_reader(Reader("got10k", ("train", "val", "test", *NUMBERED), find, read, sparse=("test",)))
