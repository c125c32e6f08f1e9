"""SA-V: videos with masks of objects and parts, without words (SAM 2, https://github.com/facebookresearch/sam2).

Validation and test: `sav_val/sav_val.txt`, `JPEGImages_24fps/<video>/<frame>.jpg` and, for every fourth
frame, `Annotations_6fps/<video>/<object>/<frame>.png`, a mask an object, since they may overlap. The frames
between are not annotated. Training is read by `data_prep.readers.sav_train`. The folders `sav_train`,
`sav_val` and `sav_test` lie in the root, or one of them is the root.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from configs.errors import UserError
from data_prep.files import inside
from data_prep.geometry import Size
from data_prep.readers.entry import Entry, Reader, folders_of, read_names
from data_prep.readers.masks import nowhere_note, read_mask, truth_of_masks
from data_prep.readers.pictures import frames_of, picture_names
from data_prep.readers.sav_train import FPS, IMAGES, find_train, read_train
from data_prep.sequence import Sequence

ANNOTATIONS = "Annotations_6fps"
MODES = ("P", "L", "1")  # of PIL: any image of one channel


def find(root: Path, split: str) -> list[Entry]:
    """An entry an object: of `train` those drawn by people, of `train_auto` those that a model found."""
    folder = f"sav_{split.removesuffix('_auto')}"
    home = root / folder if (root / folder).is_dir() else root
    if split.startswith("train"):
        return find_train(home, "auto" if split == "train_auto" else "manual")
    entries = []
    for video in read_names(home / f"{folder}.txt"):
        for masks in _objects(home / ANNOTATIONS, video):
            facts = {"video": video, "object": masks.name}
            entries.append(Entry(f"{video}_{masks.name}", home / IMAGES / video, facts, (masks,)))
    return entries


def _objects(annotations: Path, video: str) -> list[Path]:
    """The folders of a video's objects; of a video without any, one that is told when it is read."""
    folder = inside(annotations, video)
    return folders_of(folder) if folder.is_dir() else [folder / "000"]


def read(entry: Entry) -> Sequence:
    """Read one object of one video."""
    (folder,) = entry.files
    if folder.suffix == ".json":
        return read_train(entry)
    pictures = picture_names(entry.folder)
    frames = frames_of(entry.folder, pictures)
    truth = truth_of_masks(_masks(folder, [Path(name).stem for name in pictures], frames.size))
    metadata = {name: entry.facts[name] for name in ("video", "object")}
    notes = nowhere_note(truth, folder, "the object")
    return Sequence(entry.name, frames, (), FPS, entry.folder, metadata, None, truth, notes)


def _masks(folder: Path, names: list[str], size: Size) -> Iterator[np.ndarray | None]:
    """A mask a frame: empty where only other objects of the video have one, None where none has."""
    own = _annotated(folder)
    annotated = own.union(*(_annotated(other) for other in folders_of(folder.parent)))
    strays = sorted(annotated - set(names))
    if strays:
        raise UserError(f"{folder.parent}: masks of frame {strays[0]}, which is missing; restore the frames")
    for name in names:
        if name in own:
            yield _only_one(folder / f"{name}.png", size)
        else:
            yield np.zeros((size[1], size[0]), bool) if name in annotated else None


def _annotated(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.png")}


def _only_one(path: Path, size: Size) -> np.ndarray:
    """The mask, bool (height, width), of a file of one object, whatever its value."""
    values = read_mask(path, size, MODES)
    mask = values > 0
    if (values[mask] != values.max()).any():
        raise UserError(f"{path}: masks of several objects in one file; take those of SA-V, a file an object")
    return mask


SPLITS = ("train", "train_auto", "val", "test")
SAV = Reader("sav", SPLITS, find, read, sparse=SPLITS)
