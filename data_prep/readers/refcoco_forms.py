"""The JSON formats in which RefCOCO, RefCOCO+ and RefCOCOg are distributed, all read as references.

- SeqTR's `instances.json` (https://github.com/seanzhuh/SeqTR): a list of references for each split;
- UNINEXT's `instances_<split>.json`: COCO format, an image entry for each reference, with its `expressions`;
- MDETR's `finetune_<set>_<split>.json` and ReferFormer's `instances_<set>_<split>.json`: COCO format,
  an image entry for each sentence, with its `caption`;
- Qwen-VL's `<set>_<split>.jsonl`: a line for each sentence, with boxes as left, top, right, bottom.

The sentences of one object become one reference. Masks are ignored.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import UserError
from data_prep.files import read_text
from data_prep.geometry import Box, Size, xyxy_to_xywh
from data_prep.readers.meta_expressions import read_json

REMEDY = "put one of the known JSON conversions there"
NUMBER = re.compile(r"COCO_train2014_(\d{12})")


@dataclass(frozen=True)
class Reference:
    """An object with its expressions: COCO's number of the image, the image's size (width, height),
    the box.
    """

    image: int
    size: Size
    box_xywh: Box
    expressions: tuple[str, ...]


Keyed = tuple[object, Reference]  # references with the same key are of one object


def read_references(path: Path, split: str) -> list[Reference]:
    """The references of a split, in the order of the file.

    Raises UserError where the file is missing, not JSON, of another format, or has a faulty record.
    """
    # The form is recognised by the ending and the keys, not by the name of the file.
    if path.suffix == ".jsonl":
        lines = read_text(path, REMEDY).split(
            "\n"
        )  # not `splitlines`: a text may contain other characters that end a line
        return _gathered(_each(path, [line for line in lines if line.strip()], _of_line))
    data = read_json(path, REMEDY)
    if not isinstance(data, dict):
        raise UserError(f"{path}: holds no known form of references; {REMEDY}")
    if {"images", "annotations"} <= data.keys():
        return _gathered(_each(path, _joined(path, data), _of_coco))
    if not isinstance(data.get(split), list):
        raise UserError(f"{path}: has no split {split!r}, but {', '.join(sorted(data)[:5])}; {REMEDY}")
    return [reference for _, reference in _each(path, data[split], _of_split)]


def _each(path: Path, records: Iterable[Any], of: Callable[[Any], Keyed]) -> list[Keyed]:
    """Every record as a reference; a fault becomes a UserError with the record's number."""
    found = []
    for number, record in enumerate(records, start=1):
        try:
            found.append(of(record))
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as fault:
            said = f"no {fault}" if isinstance(fault, KeyError) else str(fault)
            raise UserError(f"{path}: record {number} is faulty ({said}); {REMEDY}") from None
    if not found:
        raise UserError(f"{path}: holds no references; {REMEDY}")
    return found


def _gathered(found: list[Keyed]) -> list[Reference]:
    """One reference for each object, with the expressions of all its sentences, in the order of the first."""
    # In the order in which the objects first appear.
    first: dict[object, Reference] = {}
    expressions: dict[object, list[str]] = {}
    for key, reference in found:
        first.setdefault(key, reference)
        expressions.setdefault(key, []).extend(reference.expressions)
    return [
        Reference(kept.image, kept.size, kept.box_xywh, tuple(expressions[key]))
        for key, kept in first.items()
    ]


def _of_split(record: Any) -> Keyed:
    # No key: a record of this form holds all sentences of its object, so records are not gathered.
    return None, _reference(record["image_id"], record, record["bbox"], record["expressions"])


def _joined(path: Path, data: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Every image entry with its annotation. Each entry stands for one object, so it must have
    exactly one.
    """
    try:
        if not any("expressions" in image or "caption" in image for image in data["images"]):
            raise UserError(f"{path}: is COCO's own file, which has no expressions; {REMEDY}")
        annotations = {item["image_id"]: item for item in data["annotations"]}
        if len(annotations) != len(data["annotations"]):
            raise UserError(f"{path}: has entries of several objects; {REMEDY}")
        return [(image, annotations.get(image["id"])) for image in data["images"]]
    except (KeyError, TypeError) as fault:
        raise UserError(f"{path}: is no COCO file ({fault}); {REMEDY}") from None


def _of_coco(record: tuple[Any, Any]) -> Keyed:
    image, annotation = record
    if annotation is None:
        raise ValueError("has no annotation")
    number, box = _number(image["file_name"]), annotation["bbox"]
    # An entry of UNINEXT has all sentences of an object; one of MDETR a single sentence.
    if "expressions" in image:
        return ("entry", image["id"]), _reference(number, image, box, image["expressions"])
    return _key(number, box, annotation), _reference(number, image, box, [image["caption"]])


def _of_line(line: str) -> Keyed:
    record = json.loads(line)
    number = _number(record["image"])
    left, top, right, bottom = (float(value) for value in record["bbox"])
    # Boxes of another form or scale are the most frequent fault of such files, and would be accepted
    # otherwise.
    if not (left < right <= record["width"] + 1 and top < bottom <= record["height"] + 1):
        raise ValueError(f"bbox {record['bbox']} is not left, top, right, bottom in pixels of the image")
    box_xywh = xyxy_to_xywh((left, top, right, bottom))
    return _key(number, box_xywh, record), _reference(number, record, box_xywh, [record["sent"]])


def _key(number: int, box: Iterable[float], record: Any) -> object:
    """The key of an object: its number in COCO, or its image and box where there is none."""
    return (number, record["original_id"]) if "original_id" in record else (number, tuple(box))


def _number(name: str) -> int:
    """COCO's number of an image, from the name or path of its file; what follows the number is ignored."""
    found = NUMBER.search(name)
    if found is None:
        raise ValueError(f"image {name!r} is not COCO_train2014_<12 digits>.jpg")
    return int(found[1])


def _reference(number: Any, sized: Any, box: Any, expressions: Any) -> Reference:
    if not isinstance(expressions, list) or not all(isinstance(text, str) for text in expressions):
        raise ValueError("expressions are not a list of texts")
    x, y, width, height = (float(value) for value in box)
    # Some conversions contain empty sentences.
    texts = tuple(filter(None, (text.strip() for text in expressions)))
    size = int(sized["width"]), int(sized["height"])
    return Reference(int(number), size, (x, y, width, height), texts)
