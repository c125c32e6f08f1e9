"""RefCOCO, RefCOCO+ and RefCOCOg: expressions for objects of COCO's pictures (arXiv 1608.00272, 1511.02283).

Each reference is a sequence of one frame with all its expressions as expressions. The original annotations
(https://github.com/lichengunc/refer) are pickles, which may run code when they are opened: they never are.
Instead the JSON conversions of other projects are read, wherever `refcoco_places` finds them below the root.
Boxes count pixels from 0. RefCOCOg's splits are `umd`'s; `google`'s share images.
"""

from functools import partial
from pathlib import Path

import numpy as np

from configs.errors import UserError
from data_prep.frames import ImageFrames
from data_prep.images import image_size
from data_prep.readers.annotations import truth_of
from data_prep.readers.entry import Entry, Reader
from data_prep.readers.refcoco_forms import Reference, read_references
from data_prep.readers.refcoco_places import annotations_of, pictures_of
from data_prep.sequence import Sequence


def find(root: Path, split: str, dataset: str) -> list[Entry]:
    """The references of a split, in the order of its file, named by picture and count in that picture."""
    path, folder = annotations_of(root, split, dataset), pictures_of(root)
    counts: dict[int, int] = {}
    entries = []
    for reference in read_references(path, split.removeprefix("google_")):
        counts[reference.image] = counts.get(reference.image, 0) + 1
        entries.append(_entry(folder, reference, counts[reference.image]))
    return entries


def _entry(folder: Path, reference: Reference, count: int) -> Entry:
    picture = f"COCO_train2014_{reference.image:012d}"
    facts = {
        "picture": f"{picture}.jpg",
        "size": reference.size,
        "box_xywh": reference.box_xywh,
        "expressions": reference.expressions,
    }
    return Entry(f"{picture}_{count}", folder, facts)


def read(entry: Entry) -> Sequence:
    """Read one reference. Raises UserError where its picture is missing or not as large as it should be."""
    path = entry.folder / entry.facts["picture"]
    size, wanted = image_size(path), tuple(entry.facts["size"])
    if size != wanted:
        raise UserError(
            f"{path}: is {size[0]}x{size[1]} but its annotations are of {wanted[0]}x{wanted[1]}; "
            "restore COCO's picture"
        )
    boxes = np.array([entry.facts["box_xywh"]], np.float32)
    truth = truth_of(boxes, np.ones(1, bool))  # an object that is referred to is there
    expressions, metadata = tuple(entry.facts["expressions"]), {"picture": path.name}
    return Sequence(
        entry.name, ImageFrames((path,), size), expressions, 25.0, entry.folder, metadata, truth=truth
    )


def _reader(name: str, *splits: str) -> Reader:
    return Reader(name, splits, partial(find, dataset=name), read)


REFCOCO = _reader("refcoco", "train", "val", "testA", "testB")
REFCOCOPLUS = _reader("refcocoplus", "train", "val", "testA", "testB")
REFCOCOG = _reader("refcocog", "train", "val", "test", "google_train", "google_val")
