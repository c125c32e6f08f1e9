"""Where projects have the JSON conversions of RefCOCO, RefCOCO+ and RefCOCOg, and COCO's pictures."""

from pathlib import Path

from configs.errors import UserError

FORMS = (  # by SeqTR and UNINEXT, MDETR, ReferFormer, Qwen-VL; `{sign}` is the set with RefCOCO's plus sign
    "annotations/{dataset}-{maker}/instances_{split}.json",
    "annotations/{dataset}-{maker}/instances.json",
    "{dataset}-{maker}/instances_{split}.json",
    "{dataset}-{maker}/instances.json",
    "mdetr_annotations/finetune_{sign}_{split}.json",
    "{sign}/instances_{sign}_{split}.json",
    "refcoco/{sign}_{split}.jsonl",
    "{sign}_{split}.jsonl",
)
PICTURES = (
    "train2014",
    "images/train2014",
    "coco/train2014",
    "images/mscoco/train2014",
    "images/mscoco/images/train2014",
)
SIGNS = {"refcocoplus": "refcoco+"}
PICKLES = {".p", ".pkl", ".pickle", ".pth"}


def pictures_of(root: Path) -> Path:
    """The folder of COCO's pictures. Raises UserError where none of `PICTURES` is there."""
    folder = next((root / place for place in PICTURES if (root / place).is_dir()), None)
    if folder is None:
        raise UserError(
            f"{root}: holds none of {', '.join(PICTURES)}; unpack COCO's train2014 pictures there"
        )
    return folder


def annotations_of(root: Path, split: str, dataset: str) -> Path:
    """The first conversion that is there; raises UserError that names them all, or a pickle."""
    maker = "unc" if dataset != "refcocog" else "google" if split.startswith("google_") else "umd"
    sign = SIGNS.get(dataset, dataset)
    forms = FORMS[:4] if maker == "google" else FORMS  # the others have one maker a set
    names = [
        form.format(dataset=dataset, sign=sign, maker=maker, split=split.removeprefix("google_"))
        for form in forms
    ]
    for name in names:
        if (root / name).is_file():
            return root / name
    folders = (root, root / sign, root / dataset, *((root / name).parent for name in names))
    for folder in filter(Path.is_dir, folders):
        pickles = sorted(path for path in folder.iterdir() if path.suffix in PICKLES)
        if pickles:
            told = "a pickle, which may run code, is not opened"
            raise UserError(f"{pickles[0]}: {told}; put {names[0]} in {root}")
    raise UserError(f"{root}: holds no {sign} {split}; put one of {', '.join(names)} there")
