"""RefCOCO, RefCOCO+, RefCOCOg: every JSON form in miniature, and the refusal of pickles."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from configs.errors import UserError
from data_prep.readers.reader import Reader
from data_prep.readers.refcoco import REFCOCO, REFCOCOG, REFCOCOPLUS
from data_prep.sequence import PRESENT, UNKNOWN, Sequence
from tests.dataset_miniature import SIZE, grey_of

WIDTH, HEIGHT = SIZE
# Image, COCO's number of the object, box and expressions; the second and the third share an image.
REFERENCES = (
    (581857, 1719310, [2.5, 3.25, 8.0, 6.5], ["the lady, in blue", "lady"]),
    (72, 11, [0.0, 0.0, 32.0, 24.0], ["left bus"]),
    (72, 12, [1.0, 2.0, 3.0, 4.0], ["right bus", "bus"]),
)
NAMES = [
    "COCO_train2014_000000581857_1",
    "COCO_train2014_000000000072_1",
    "COCO_train2014_000000000072_2",
]
SIDES = {"width": WIDTH, "height": HEIGHT}


def picture(number: int) -> str:
    return f"COCO_train2014_{number:012d}.jpg"


def as_seqtr() -> Any:
    records = [
        {"image_id": image, **SIDES, "bbox": box, "mask": [[1, 2]], "expressions": texts}
        for image, _, box, texts in REFERENCES
    ]
    return {"train": [], "val": records, "testA": records[:1]}


def as_uninext() -> Any:
    images = [
        {"file_name": picture(image), **SIDES, "id": number, "expressions": texts}
        for number, (image, _, _, texts) in enumerate(REFERENCES, start=1)
    ]
    boxes = [{"bbox": box, "image_id": number} for number, (_, _, box, _) in enumerate(REFERENCES, start=1)]
    return {"images": images, "annotations": boxes, "categories": []}


def as_sentences(ending: str = ".jpg") -> Any:
    """MDETR's and ReferFormer's form; the first object's sentences do not stand together."""
    rows = [(image, item, box, text) for image, item, box, texts in REFERENCES for text in texts]
    rows = [rows[0], rows[2], rows[1], *rows[3:]]
    images = [
        {
            "file_name": picture(image).replace(".jpg", ending),
            **SIDES,
            "id": number,
            "original_id": image,
            "caption": text,
        }
        for number, (image, _, _, text) in enumerate(rows, start=70)
    ]
    boxes = [
        {"bbox": box, "image_id": number, "original_id": item, "id": number}
        for number, (_, item, box, _) in enumerate(rows, start=70)
    ]
    return {"images": images, "annotations": boxes[::-1], "categories": []}


def as_lines() -> list[Any]:
    return [
        {
            "image": f"data/coco/train2014/{picture(image)}",
            "sent": text,
            "bbox": [x, y, x + width, y + height],
            **SIDES,
        }
        for image, _, (x, y, width, height), texts in REFERENCES
        for text in texts
    ]


def put(root: Path, name: str, content: Any) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".jsonl"):
        path.write_text("".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in content), "utf-8")
    else:
        path.write_text(json.dumps(content))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "images" / "mscoco" / "train2014"
    folder.mkdir(parents=True)
    for image, grey in ((581857, 10), (72, 20)):
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), grey, np.uint8)).save(folder / picture(image))
    return tmp_path


def read(root: Path, reader: Reader = REFCOCO, split: str = "val") -> list[Sequence]:
    return [reader.read(entry) for entry in reader.find(root, split)]


def assert_read(sequences: list[Sequence]) -> None:
    assert [sequence.name for sequence in sequences] == NAMES
    for sequence, (image, _, box, texts) in zip(sequences, REFERENCES, strict=True):
        assert sequence.expressions == tuple(texts) and sequence.frames.size == SIZE
        assert sequence.truth is not None and len(sequence.frames) == 1
        assert sequence.truth.boxes_xywh.tolist() == [box] and sequence.truth.present.tolist() == [PRESENT]
        assert sequence.folder is not None
        assert grey_of(sequence.folder / picture(image)) == (10 if image == 581857 else 20)
        assert int(np.median(next(iter(sequence.frames)))) == (10 if image == 581857 else 20)


@pytest.mark.parametrize(
    ("reader", "name", "content"),
    [
        (REFCOCO, "annotations/refcoco-unc/instances.json", as_seqtr()),
        (REFCOCOPLUS, "refcocoplus-unc/instances.json", as_seqtr()),
        (REFCOCOG, "annotations/refcocog-umd/instances.json", as_seqtr()),
        (REFCOCO, "annotations/refcoco-unc/instances_val.json", as_uninext()),
        (REFCOCOPLUS, "mdetr_annotations/finetune_refcoco+_val.json", as_sentences()),
        (REFCOCO, "mdetr_annotations/finetune_refcoco_val.json", as_sentences("_7.jpg")),
        (REFCOCOG, "refcocog/instances_refcocog_val.json", as_sentences()),
        (REFCOCOPLUS, "refcoco+/instances_refcoco+_val.json", as_sentences()),
        (REFCOCO, "refcoco/refcoco_val.jsonl", as_lines()),
        (REFCOCOPLUS, "refcoco+_val.jsonl", as_lines()),
    ],
)
def test_every_form_gives_the_same_references(root: Path, reader: Reader, name: str, content: Any) -> None:
    put(root, name, content)
    assert_read(read(root, reader))


def test_a_split_is_not_another_one(root: Path) -> None:
    put(root, "annotations/refcoco-unc/instances.json", as_seqtr())
    assert [sequence.name for sequence in read(root, split="testA")] == NAMES[:1]
    with pytest.raises(UserError, match=r"instances\.json: has no split 'testB', but testA, train, val"):
        REFCOCO.find(root, "testB")
    with pytest.raises(UserError, match=r"instances\.json: holds no references"):
        REFCOCO.find(root, "train")


def test_the_makers_of_refcocog_are_told_apart(root: Path) -> None:
    put(root, "annotations/refcocog-google/instances.json", as_seqtr())
    assert_read(read(root, REFCOCOG, "google_val"))
    with pytest.raises(UserError, match=r"holds no refcocog val; put one of annotations/refcocog-umd/"):
        REFCOCOG.find(root, "val")
    put(root, "refcocog/instances_refcocog_val.json", as_sentences())
    (root / "annotations" / "refcocog-google" / "instances.json").unlink()
    with pytest.raises(
        UserError, match=r"holds no refcocog google_val; put one of annotations/refcocog-google/"
    ):
        REFCOCOG.find(root, "google_val")


def test_two_objects_of_one_box_stay_two_where_they_have_numbers(root: Path) -> None:
    content = as_sentences()
    for annotation in content["annotations"]:
        annotation["bbox"] = [1, 2, 3, 4]
    put(root, "refcoco/instances_refcoco_val.json", content)
    assert [sequence.name for sequence in read(root)] == NAMES


def test_expressions_are_kept_whole_and_empty_ones_are_none(root: Path) -> None:
    content = as_seqtr()
    content["val"][0]["expressions"] = ["  a dog, running ", " ", "a dog, running"]
    content["val"][1]["expressions"] = [""]
    put(root, "annotations/refcoco-unc/instances.json", content)
    first, second, _ = read(root)
    assert first.expressions == ("a dog, running", "a dog, running") and second.expressions == ()


def test_a_line_holds_what_elsewhere_ends_one(root: Path) -> None:
    lines = as_lines()
    lines[0]["sent"] = "the lady\u2028in blue"
    put(root, "refcoco_val.jsonl", lines)
    assert read(root)[0].expressions == ("the lady\u2028in blue", "lady")


def test_a_box_without_an_area_is_unknown(root: Path) -> None:
    content = as_seqtr()
    content["val"][0]["bbox"] = [2, 3, 0, 4]
    put(root, "annotations/refcoco-unc/instances.json", content)
    truth = read(root)[0].truth
    assert truth is not None and truth.present.tolist() == [UNKNOWN]


@pytest.mark.parametrize(
    "name", ["refcoco/refs(unc).p", "mask_dict.pkl", "annotations/refcoco-unc/refcoco.pth"]
)
def test_pickles_are_never_opened(root: Path, name: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    with pytest.raises(UserError, match=r"a pickle can run code, so it is not opened; put annotations/"):
        REFCOCO.find(root, "val")


def test_pickles_beside_a_conversion_do_not_matter(root: Path) -> None:
    put(root, "refcoco/instances_refcoco_val.json", as_sentences())
    (root / "refcoco" / "refs(unc).p").write_bytes(b"")
    assert_read(read(root))


def test_cocos_own_file_of_the_same_name_is_told(root: Path) -> None:
    content = as_uninext()
    for image in content["images"]:
        del image["expressions"]
    put(root, "annotations/refcoco-unc/instances.json", content)
    with pytest.raises(UserError, match=r"instances\.json: is COCO's own file, which has no expressions"):
        REFCOCO.find(root, "val")


def test_faulty_coco_files_are_told(root: Path) -> None:
    several, lost = as_uninext(), as_uninext()
    several["annotations"].append(several["annotations"][0])
    lost["annotations"].pop(1)
    for content, told in (
        (several, "has entries of several objects"),
        (lost, r"record 2 is faulty \(has no annotation\)"),
        ({"images": [{"caption": "x"}], "annotations": []}, r"is no COCO file \('id'\)"),
    ):
        put(root, "annotations/refcoco-unc/instances_val.json", content)
        with pytest.raises(UserError, match=told):
            REFCOCO.find(root, "val")


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("bbox", [10, 8, 6, 4], "is not left, top, right, bottom"),
        ("bbox", [100, 200, 900, 950], "is not left, top, right, bottom"),
        ("bbox", [1, 2, 3], r"record 2 is faulty \(not enough values"),
        ("bbox", None, "record 2 is faulty"),
        ("image", "../../etc/passwd", r"image '\.\./\.\./etc/passwd' is not COCO_train2014_"),
        ("image", 7, "record 2 is faulty"),
        ("sent", 7, "expressions are not a list of texts"),
    ],
)
def test_faulty_lines_are_told_with_their_number(root: Path, key: str, value: Any, told: str) -> None:
    lines = as_lines()
    lines[1][key] = value
    put(root, "refcoco_val.jsonl", lines)
    with pytest.raises(UserError, match=told) as raised:
        REFCOCO.find(root, "val")
    assert "\n" not in str(raised.value) and "refcoco_val.jsonl: record 2" in str(raised.value)


def test_a_damaged_line_is_told_with_its_number(root: Path) -> None:
    put(root, "refcoco_val.jsonl", as_lines()).write_text("\n{}\n")
    with pytest.raises(UserError, match=r"record 1 is faulty \(no 'image'\)"):
        REFCOCO.find(root, "val")
    (root / "refcoco_val.jsonl").write_text('{"image": \n')
    with pytest.raises(UserError, match=r"record 1 is faulty \(Expecting value"):
        REFCOCO.find(root, "val")


@pytest.mark.parametrize("content", ["{", "[]", "7", '{"val": {}}'])
def test_what_is_no_known_form_is_told(root: Path, content: str) -> None:
    path = put(root, "annotations/refcoco-unc/instances.json", {})
    path.write_text(content)
    with pytest.raises(UserError, match=r"instances\.json: .*; put one of the known JSON conversions there"):
        REFCOCO.find(root, "val")


def test_a_lacking_key_is_named(root: Path) -> None:
    content = as_seqtr()
    del content["val"][2]["bbox"]
    put(root, "annotations/refcoco-unc/instances.json", content)
    with pytest.raises(UserError, match=r"instances\.json: record 3 is faulty \(no 'bbox'\)"):
        REFCOCO.find(root, "val")


def test_pictures_that_are_missing_or_of_another_size_are_told(root: Path) -> None:
    put(root, "annotations/refcoco-unc/instances.json", as_seqtr())
    path = root / "images" / "mscoco" / "train2014" / picture(72)
    Image.new("RGB", (16, 12)).save(path)
    with pytest.raises(UserError, match=r"000072\.jpg: is 16x12 but its annotations are of 32x24"):
        read(root)
    path.unlink()
    with pytest.raises(UserError, match=r"000072\.jpg: frame is missing"):
        read(root)
    path.parent.rename(root / "elsewhere")
    with pytest.raises(UserError, match="holds none of train2014, images/train2014"):
        REFCOCO.find(root, "val")
