"""Ref-YouTube-VOS: its layout in miniature, sentences by object, and the videos of valid and test."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from configs.errors import UserError
from data_prep.readers.refytvos import REFYTVOS
from data_prep.sequence import ABSENT, PRESENT, UNKNOWN
from tests.dataset_miniature import CAR, DOG, assert_same, write_frames
from tests.index_miniature import is_watched
from tests.mask_miniature import ids_of, write_json, write_palette

NAMES = [f"{5 * number:05d}" for number in range(5)]
OTHER = {"exp": "the road", "obj_id": "2"}


def record(video: Any, expressions: dict[str, Any]) -> dict[str, Any]:
    return {"frames": NAMES[: len(video.boxes_xywh)], "expressions": expressions}


def write_pictures(folder: Path, video: Any) -> None:
    """The video under the names of `NAMES`."""
    write_frames(folder, video, "{:05d}.jpg", 0)
    for number in reversed(range(len(video.boxes_xywh))):
        (folder / f"{number:05d}.jpg").rename(folder / f"{NAMES[number]}.jpg")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    car = {"0": {"exp": CAR.prompt, "obj_id": "1"}}
    dog = {"0": {"exp": DOG.prompt, "obj_id": "12"}}
    videos = {"dog-12": record(DOG, dog), "car-1": record(CAR, car)}
    write_json(tmp_path / "meta_expressions/train/meta_expressions.json", {"videos": videos})
    for video, number in ((CAR, 1), (DOG, 12)):
        write_pictures(tmp_path / "train/JPEGImages" / video.name, video)
        for frame in range(len(video.boxes_xywh)):
            path = tmp_path / "train/Annotations" / video.name / f"{NAMES[frame]}.png"
            write_palette(path, ids_of((video, number), frame=frame))
    return tmp_path


def change(root: Path, split: str, video: str, **values: Any) -> None:
    """Write other values into a video's record."""
    path = root / "meta_expressions" / split / "meta_expressions.json"
    content = json.loads(path.read_text())
    content["videos"][video].update(values)
    write_json(path, content)


def test_sequences_are_read_in_the_order_of_the_file(root: Path) -> None:
    entries = REFYTVOS.find(root, "train")
    assert [entry.name for entry in entries] == ["dog-12_12", "car-1_1"]
    for entry, video, name in zip(entries, (DOG, CAR), ("dog-12_12", "car-1_1"), strict=True):
        sequence = REFYTVOS.read(entry)
        assert_same(sequence, video, name)
        assert sequence.notes == () and sequence.folder == root / "train/JPEGImages" / video.name


def test_frames_come_from_the_list(root: Path) -> None:
    Image.new("RGB", (32, 24), (200, 200, 200)).save(root / "train/JPEGImages/car-1/00003.jpg")
    assert_same(REFYTVOS.read(REFYTVOS.find(root, "train")[1]), CAR, "car-1_1")
    (root / "train/JPEGImages/car-1/00010.jpg").unlink()
    with pytest.raises(UserError, match=r"00010\.jpg: frame is missing"):
        REFYTVOS.read(REFYTVOS.find(root, "train")[1])


def test_sentences_of_an_object_are_its_prompts_by_number(root: Path) -> None:
    told = {str(number): {"exp": f" say {number} \n", "obj_id": "1"} for number in (0, 1, 10, 11, 2, 3)}
    told["4"], told["5"] = OTHER, {"exp": "  ", "obj_id": 1}
    change(root, "train", "car-1", expressions=told)
    entries = REFYTVOS.find(root, "train")
    assert [entry.name for entry in entries] == ["dog-12_12", "car-1_1", "car-1_2"]
    sequence = REFYTVOS.read(entries[1])
    assert sequence.expressions == ("say 0", "say 1", "say 2", "say 3", "say 10", "say 11")
    assert sequence.metadata["expressions"] == "0,1,2,3,10,11", "what an empty sentence leaves"


def test_only_an_empty_sentence_leaves_no_prompt(root: Path) -> None:
    change(root, "train", "car-1", expressions={"0": {"exp": " ", "obj_id": "1"}})
    assert REFYTVOS.read(REFYTVOS.find(root, "train")[1]).expressions == ()


def test_masks_are_ids_not_colours(root: Path) -> None:
    """Two objects of one colour, which a picture in RGB would make one; an object in no frame is told."""
    for frame in range(4):
        path = root / "train/Annotations/car-1" / f"{NAMES[frame]}.png"
        write_palette(path, ids_of((CAR, 1), (DOG, 2), frame=frame))
    told = {"0": {"exp": CAR.prompt, "obj_id": "1"}, "1": {"exp": "a dog", "obj_id": "2"}}
    told["2"] = {"exp": "a cat", "obj_id": "3"}
    change(root, "train", "car-1", expressions=told)
    _, car, dog, cat = map(REFYTVOS.read, REFYTVOS.find(root, "train"))
    assert_same(car, CAR, "car-1_1")
    assert dog.truth is not None and cat.truth is not None
    assert dog.truth.present.tolist() == [ABSENT, PRESENT, PRESENT, PRESENT, ABSENT]
    assert dog.truth.boxes_xywh[1].tolist() == [20, 10, 6, 8] and np.isnan(dog.truth.boxes_xywh[0]).all()
    assert cat.truth.present.tolist() == [ABSENT] * 5
    assert "object 3 has no pixel in any frame" in cat.notes[0] and dog.notes == ()


def test_a_mask_without_ids_missing_or_of_another_size_is_told(root: Path) -> None:
    path = root / "train/Annotations/car-1/00005.png"
    entry = REFYTVOS.find(root, "train")[1]
    Image.new("RGB", (32, 24)).save(path)
    with pytest.raises(UserError, match=r"00005\.png: mask is a PNG of kind RGB instead of P"):
        REFYTVOS.read(entry)
    write_palette(path, np.zeros((12, 16)))
    with pytest.raises(UserError, match=r"00005\.png: mask is 16x12, but the frames are 32x24"):
        REFYTVOS.read(entry)
    path.write_bytes(b"x")
    with pytest.raises(UserError, match=r"00005\.png: mask cannot be read"):
        REFYTVOS.read(entry)
    path.unlink()
    with pytest.raises(UserError, match=r"00005\.png: mask is missing"):
        REFYTVOS.read(entry)


def test_classes_come_from_meta_json_where_it_is_kept(root: Path) -> None:
    path = root / "train/meta.json"
    write_json(path, {"videos": {"car-1": {"objects": {"1": {"category": "sedan", "frames": NAMES}}}}})
    dog, car = map(REFYTVOS.read, REFYTVOS.find(root, "train"))
    assert car.metadata["class"] == "sedan" and "class" not in dog.metadata
    write_json(path, {"videos": []})
    with pytest.raises(UserError, match=r"meta\.json: does not hold"):
        REFYTVOS.find(root, "train")


@pytest.fixture
def valid(root: Path) -> Path:
    """The root with a file of valid that speaks of a video of the test set."""
    sentences = {"0": {"exp": CAR.prompt}, "1": {"exp": "the other one"}}
    videos = {"car-1": record(CAR, sentences), "dog-12": record(DOG, {"0": {"exp": DOG.prompt}})}
    write_json(root / "meta_expressions/valid/meta_expressions.json", {"videos": videos})
    write_json(root / "meta_expressions/test/meta_expressions.json", {"videos": {"dog-12": videos["dog-12"]}})
    for video in (CAR, DOG):
        write_pictures(root / "valid/JPEGImages" / video.name, video)
    write_palette(root / "valid/Annotations/car-1/00000.png", ids_of((CAR, 1), frame=0))
    return root


def test_valid_is_without_the_test_set_and_knows_nothing(valid: Path) -> None:
    entries = REFYTVOS.find(valid, "valid")
    assert [entry.name for entry in entries] == ["car-1_exp0", "car-1_exp1"]
    sequence = REFYTVOS.read(entries[0])
    assert sequence.expressions == (CAR.prompt,) and sequence.truth is not None
    assert sequence.truth.present.tolist() == [UNKNOWN] * 5 and np.isnan(sequence.truth.boxes_xywh).all()
    assert [entry.name for entry in REFYTVOS.find(valid, "test")] == ["dog-12_exp0"]
    assert len(REFYTVOS.read(REFYTVOS.find(valid, "test")[0]).frames) == 4
    assert len(REFYTVOS.find(valid, "valid_and_test")) == 3


def test_test_frames_may_lie_in_a_folder_of_their_own(valid: Path) -> None:
    write_pictures(valid / "test/JPEGImages/dog-12", DOG)
    assert REFYTVOS.find(valid, "test")[0].folder == valid / "test/JPEGImages/dog-12"


def test_without_the_list_of_test_valid_is_refused_where_it_holds_both(valid: Path) -> None:
    (valid / "meta_expressions/test/meta_expressions.json").unlink()
    assert len(REFYTVOS.find(valid, "valid")) == 3, "a file of 202 videos or fewer has been sorted out before"
    path = valid / "meta_expressions/valid/meta_expressions.json"
    one = {"frames": ["00000"], "expressions": {"0": {"exp": "it"}}}
    write_json(path, {"videos": {f"video{number}": one for number in range(203)}})
    with pytest.raises(UserError, match=r"test/meta_expressions\.json: no such file.* holds 203 videos"):
        REFYTVOS.find(valid, "valid")
    assert len(REFYTVOS.find(valid, "valid_and_test")) == 203


def test_the_older_file_of_the_same_name_is_refused(root: Path) -> None:
    older = {"objects": {"1": {"category": "car", "frames": NAMES, "expressions": [CAR.prompt]}}}
    write_json(root / "meta_expressions/train/meta_expressions.json", {"videos": {"car-1": older}})
    with pytest.raises(UserError, match=r"meta_expressions\.json: is the older file"):
        REFYTVOS.find(root, "train")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"frames": None}, "video 'car-1' has no 'frames'"),
        ({"frames": []}, "video 'car-1' lists no frames"),
        ({"expressions": {"0": {"exp": "x", "obj_id": [1, 2]}}}, "car-1_1-2: a sentence without one obj_id"),
        ({"expressions": []}, "video 'car-1' has no 'expressions'"),
        ({"expressions": {"a": {"exp": "x", "obj_id": "1"}}}, "is 'a', not a number"),
        ({"expressions": {"0": {"obj_id": "1"}}}, "sentence 0 of video 'car-1' has no 'exp'"),
        ({"expressions": {"0": {"exp": "x", "obj_id": "../1"}}}, "obj_id of sentence 0 .* not a number"),
        ({"expressions": {"0": {"exp": "x"}}}, "car-1_exp0: a sentence without one obj_id"),
    ],
)
def test_a_file_of_another_form_is_told(root: Path, values: dict[str, Any], told: str) -> None:
    change(root, "train", "car-1", **values)
    with pytest.raises(UserError, match=rf"meta_expressions\.json: .*{told}"):
        REFYTVOS.find(root, "train")


def test_names_that_leave_the_folder_and_a_missing_file_are_refused(root: Path) -> None:
    with pytest.raises(UserError, match=r"valid/meta_expressions\.json: no such file"):
        REFYTVOS.find(root, "valid")
    path = root / "meta_expressions/train/meta_expressions.json"
    write_json(path, {"videos": {"../car-1": record(CAR, {"0": OTHER})}})
    with pytest.raises(UserError, match="no plain name of a video"):
        REFYTVOS.find(root, "train")
    write_json(path, {"videos": {"car-1": {"frames": ["../dog-12/00000"], "expressions": {"0": OTHER}}}})
    with pytest.raises(UserError, match="frame is missing"):
        REFYTVOS.read(REFYTVOS.find(root, "train")[0])
    path.write_text('{"videos": ')
    with pytest.raises(UserError, match=r"meta_expressions\.json: not JSON"):
        REFYTVOS.find(root, "train")


def test_the_masks_are_watched(root: Path) -> None:
    assert is_watched(root / "train/Annotations/car-1", REFYTVOS, root, "train")
