"""TNL2K: videos with expressions, 1,300 for training and 700 for testing (https://arxiv.org/abs/2103.16746).

Layout: `<root>/{train,test}/<name>/imgs/*`, `groundtruth.txt` (x,y,w,h) and `language.txt`, or one folder
deeper, as some archives unpack. `TNL2K_train`, `TNL2K_train_subset` and its parts `TNL2k_train_subset_p1`,
... count as `train` too.

The evaluation kit (https://github.com/wangxiao5791509/TNL2K_evaluation_toolkit) has what the data set lacks:
put its folder `annos` into the root for the flags of the test set, in which 1 means absent (the opposite of
TNLLT), and its lists for their order. In the training set only an empty box says that the target is absent.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from configs.errors import UserError
from configs.terminal import counted
from data_prep.files import inside
from data_prep.readers.annotations import (
    FOLDER,
    attributes,
    read_boxes,
    read_expressions,
    read_flags,
    truth_of,
)
from data_prep.readers.folders import fitted, folders_of, frames_of, image_names, read_names
from data_prep.readers.reader import Entry, Reader, register_reader
from data_prep.sequence import Sequence, Span

LISTS = {"train": "TNL2K_train_set.txt", "test": "TNL2K_testing_set.txt"}
CORRECTIONS = "revised_annotations"  # of 12 training sequences
BESIDE = (CORRECTIONS, "tnl2k_train_concise")  # folders among the sequences that are not sequences
ATTRIBUTES = "CM ROT DEF FOC IV OV POC VC SV BC MB ARC LR FM AS TC MS"


def find(root: Path, split: str) -> list[Entry]:
    """The sequences of a split in the order of its list, or by name.

    One name is in both splits (`monitor_manypeople`). In `all`, that of the test split gets the ending
    `_test`.
    """
    if split != "all":
        return _find(root, split)
    train, test = _find(root, "train"), _find(root, "test")
    # Results and indexes are stored by name, so names must be unique in `all`.
    taken = {entry.name for entry in train}
    return train + [
        replace(entry, name=f"{entry.name}_test") if entry.name in taken else entry for entry in test
    ]


def _find(root: Path, split: str) -> list[Entry]:
    # 1. The folders that exist, by their official names.
    places = _places(root, split)
    folders: dict[str, Path] = {}
    for folder in (folder for place in places for folder in _sequence_folders(place)):
        other = folders.setdefault(_official(folder.name), folder)
        if other != folder:
            raise UserError(f"{folder}: the same sequence as {other}; remove one of them")
    # 2. The order of the official list, if it is there. A listed name without a folder is reported when it is
    #    read.
    path = root / LISTS[split]
    names = [_official(name) for name in read_names(path)] if path.exists() else sorted(folders)
    found = [(name, folders.get(name, inside(places[0], name))) for name in names]
    return [Entry(name, folder, {}, _kit_files(root, split, name)) for name, folder in found]


def _places(root: Path, split: str) -> list[Path]:
    """The folder of a split by any of its names, or the folders of its parts."""
    # Capital letters differ between archives.
    there = {folder.name.lower(): folder for folder in folders_of(root)}
    for name in (split, f"tnl2k_{split}", f"tnl2k_{split}_subset"):
        if name in there:
            return [there[name]]
    parts = [folder for name, folder in there.items() if name.startswith(f"tnl2k_{split}_subset_p")]
    if not parts:
        raise UserError(f"{root / split}: no such folder; check root=, and that the data are unpacked there")
    return parts


def _sequence_folders(place: Path) -> Iterator[Path]:
    """The folders of sequences in `place`, or in its folders that are parts (`TNL2k_train_subset_p9`)."""
    for folder in folders_of(place, skip=BESIDE):
        # A folder with other folders but without a sequence's files is a part.
        is_sequence = (folder / "imgs").is_dir() or (folder / "groundtruth.txt").exists()
        if is_sequence or not any(path.is_dir() for path in folder.iterdir()):
            yield folder
        else:
            yield from folders_of(folder, skip=BESIDE)


def _official(name: str) -> str:
    """The name of a folder in the official lists, which left out the blanks and `&` of 18 names."""
    return name.replace(" ", "").replace("&", "")


def _kit_files(root: Path, split: str, name: str) -> tuple[Path, ...]:
    """The kit's files of flags and attributes. They are of the test set only, though a name may be
    in both sets.
    """
    kit = root / FOLDER
    return (kit / "absent" / f"{name}.txt", kit / "att" / f"{name}_attribute.txt") if split == "test" else ()


def read(entry: Entry) -> Sequence:
    """Read one sequence. Without flags an empty box means absent."""
    path, folder = entry.folder / "groundtruth.txt", entry.folder / "imgs"
    boxes, images = read_boxes(path), image_names(folder)
    if len(images) < len(boxes):
        raise UserError(
            f"{path}: {counted(len(boxes), 'box')} for {counted(len(images), 'frame')}; put the file of "
            f"{CORRECTIONS}.zip of the evaluation kit in its place, or restore the missing frames"
        )
    names, notes = fitted(folder, images, boxes)
    visible, message = _visible(entry, len(boxes))
    expressions, spans = _expressions(entry.folder / "language.txt", len(boxes))
    metadata = attributes(entry.files[1], ATTRIBUTES) if entry.files else {}
    frames, truth = frames_of(folder, names), truth_of(boxes, visible)
    return Sequence(
        entry.name, frames, expressions, 25.0, entry.folder, metadata, spans, truth, notes + message
    )


def _visible(entry: Entry, frames: int) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Where the target is visible, bool (frames,), and notes; None where there is no file of flags."""
    # Flags beside the sequence, as in the rendered world, or those of the kit.
    path = next(filter(Path.exists, (entry.folder / "absent_label.txt", *entry.files[:1])), None)
    if path is None:
        return None, ()
    flags = read_flags(path)
    message = f"{path}: {counted(len(flags), 'flag')} for {counted(frames, 'box')}"
    if len(flags) not in (frames, frames + 1):  # the kit has one flag too many for advSamp_monitor_bikeyellow
        raise UserError(f"{message}; restore it from the evaluation kit")
    notes = (f"{message}; the last is left",) if len(flags) > frames else ()
    # TNL2K flags absence: 0 is visible.
    return flags[:frames] == 0, notes


def _expressions(path: Path, frames: int) -> tuple[tuple[str, ...], tuple[Span, ...] | None]:
    """The expressions. One sequence of an early release has boxes in this file."""
    expressions, spans = read_expressions(path, frames)
    if expressions and not any(letter.isalpha() for letter in "".join(expressions)):
        raise UserError(
            f"{path}: contains numbers instead of text; put the file of "
            "updated_4_video_text_annotation.zip of the evaluation kit in its place"
        )
    return expressions, spans


TNL2K = register_reader(Reader("tnl2k", ("train", "test", "all"), find, read))
