"""RefCOCO, RefCOCO+ and RefCOCOg: expressions for objects in images of COCO (arXiv 1608.00272, 1511.02283).

Each reference (an object with its expressions) is a sequence of one frame. The original annotations
(https://github.com/lichengunc/refer) are pickles, which can run code when they are opened, so they are never
read. Instead the JSON conversions of other projects are read, in any of the places in `FORMS` below the
root. Boxes count pixels from 0. The splits of RefCOCOg are those of `umd`; the splits of `google` share
images.
"""

from functools import partial
from pathlib import Path

import numpy as np

from configs.errors import UserError
from data_prep.readers.annotations import truth_of
from data_prep.readers.reader import Entry, Reader, register_reader
from data_prep.readers.refcoco_forms import Reference, read_references
from data_prep.sequence import Sequence
from data_prep.video.frames import ImageFrames
from data_prep.video.images import image_size

# Files of SeqTR and UNINEXT, MDETR, ReferFormer, Qwen-VL. `{sign}` is the name of the data set with a plus
# sign (`refcoco+`), `{maker}` whoever made its splits.
FORMS = (
    "annotations/{dataset}-{maker}/instances_{split}.json",
    "annotations/{dataset}-{maker}/instances.json",
    "{dataset}-{maker}/instances_{split}.json",
    "{dataset}-{maker}/instances.json",
    "mdetr_annotations/finetune_{sign}_{split}.json",
    "{sign}/instances_{sign}_{split}.json",
    "refcoco/{sign}_{split}.jsonl",
    "{sign}_{split}.jsonl",
)
IMAGES = (
    "train2014",
    "images/train2014",
    "coco/train2014",
    "images/mscoco/train2014",
    "images/mscoco/images/train2014",
)
SIGNS = {"refcocoplus": "refcoco+"}
PICKLES = {".p", ".pkl", ".pickle", ".pth"}


def images_folder(root: Path) -> Path:
    """The folder of COCO's images. Raises UserError where none of `IMAGES` exists."""
    folder = next((root / place for place in IMAGES if (root / place).is_dir()), None)
    if folder is None:
        raise UserError(f"{root}: holds none of {', '.join(IMAGES)}; unpack COCO's train2014 images there")
    return folder


def annotations_of(root: Path, split: str, dataset: str) -> Path:
    """The first conversion that exists. Raises UserError that names them all, or a pickle that was found."""
    # 1. All places in which the projects have this split. Only SeqTR and UNINEXT have the splits of `google`.
    maker = "unc" if dataset != "refcocog" else "google" if split.startswith("google_") else "umd"
    sign = SIGNS.get(dataset, dataset)
    forms = FORMS[:4] if maker == "google" else FORMS  # the other forms are of one maker for each data set
    names = [
        form.format(dataset=dataset, sign=sign, maker=maker, split=split.removeprefix("google_"))
        for form in forms
    ]
    for name in names:
        if (root / name).is_file():
            return root / name
    # 2. Nothing was found. If the original pickles are there, say why they are not read.
    folders = (root, root / sign, root / dataset, *((root / name).parent for name in names))
    for folder in filter(Path.is_dir, folders):
        pickles = sorted(path for path in folder.iterdir() if path.suffix in PICKLES)
        if pickles:
            message = "a pickle can run code, so it is not opened"
            raise UserError(f"{pickles[0]}: {message}; put {names[0]} in {root}")
    raise UserError(f"{root}: holds no {sign} {split}; put one of {', '.join(names)} there")


def find(root: Path, split: str, dataset: str) -> list[Entry]:
    """The references of a split, in the order of its file, named after the image and numbered in it."""
    path, folder = annotations_of(root, split, dataset), images_folder(root)
    # Several references may be in one image.
    counts: dict[int, int] = {}
    entries = []
    for reference in read_references(path, split.removeprefix("google_")):
        counts[reference.image] = counts.get(reference.image, 0) + 1
        entries.append(_entry(folder, reference, counts[reference.image]))
    return entries


def _entry(folder: Path, reference: Reference, count: int) -> Entry:
    image = f"COCO_train2014_{reference.image:012d}"
    facts = {
        "image": f"{image}.jpg",
        "size": reference.size,
        "box_xywh": reference.box_xywh,
        "expressions": reference.expressions,
    }
    return Entry(f"{image}_{count}", folder, facts)


def read(entry: Entry) -> Sequence:
    """Read one reference. Raises UserError where its image is missing or has another size than annotated."""
    path = entry.folder / entry.facts["image"]
    size, wanted = image_size(path), tuple(entry.facts["size"])
    # Another size means that the boxes belong to another version of the image.
    if size != wanted:
        raise UserError(
            f"{path}: is {size[0]}x{size[1]} but its annotations are of {wanted[0]}x{wanted[1]}; "
            "restore COCO's image"
        )
    boxes = np.array([entry.facts["box_xywh"]], np.float32)
    truth = truth_of(boxes, np.ones(1, bool))  # an object with an expression is always visible
    expressions, metadata = tuple(entry.facts["expressions"]), {"image": path.name}
    return Sequence(
        entry.name, ImageFrames((path,), size), expressions, 25.0, entry.folder, metadata, truth=truth
    )


def _reader(name: str, *splits: str) -> Reader:
    return Reader(name, splits, partial(find, dataset=name), read)


REFCOCO = register_reader(_reader("refcoco", "train", "val", "testA", "testB"))
REFCOCOPLUS = register_reader(_reader("refcocoplus", "train", "val", "testA", "testB"))
REFCOCOG = register_reader(_reader("refcocog", "train", "val", "test", "google_train", "google_val"))
