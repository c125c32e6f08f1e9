"""MeViS: its layout in miniature, several objects a sentence, and masks as packed runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.errors import UserError
from data_prep.readers.mevis import MEVIS
from data_prep.sequence import ABSENT, PRESENT, UNKNOWN
from tests.dataset_miniature import CAR, DOG, Video, assert_same, write_frames
from tests.index_miniature import is_watched
from tests.mask_miniature import rle, run_lengths, write_json

FRAMES = {video.name: [f"{frame:05d}" for frame in range(len(video.boxes_xywh))] for video in (CAR, DOG)}


def masks_of(video: Video, count: int | None = None) -> list[Any]:
    """The video's masks, null where the target is absent, for `count` frames."""
    present = [None if box is None else rle(video.mask(at)) for at, box in enumerate(video.boxes_xywh)]
    return present + [None] * ((count or len(present)) - len(present))


def sentence(text: str, *numbers: int) -> dict[str, Any]:
    return {"exp": text, "obj_id": [number % 10 for number in numbers], "anno_id": list(numbers)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    told = {
        "car-1": {
            "0": sentence(CAR.prompt, 10),
            "1": sentence("both", 10, 11),
            "2": sentence("both!", 11, 10),
        },
        "dog-12": {"0": sentence(DOG.prompt, 2)},
    }
    videos = {name: {"expressions": told[name], "frames": FRAMES[name]} for name in told}
    write_json(tmp_path / "train/meta_expressions.json", {"videos": videos})
    masks = {"10": masks_of(CAR), "2": masks_of(DOG), "11": masks_of(DOG, 5)}
    write_json(tmp_path / "train/mask_dict.json", masks)
    for video in (CAR, DOG):
        write_frames(tmp_path / "train/JPEGImages" / video.name, video, "{:05d}.jpg", 0)
    return tmp_path


def change(root: Path, **masks: Any) -> None:
    """Write other masks, named `_10`, into the file."""
    path = root / "train/mask_dict.json"
    content = json.loads(path.read_text())
    write_json(path, content | {name[1:]: value for name, value in masks.items()})


def test_sequences_are_read(root: Path) -> None:
    entries = MEVIS.find(root, "train")
    assert [entry.name for entry in entries] == ["car-1_10", "car-1_10-11", "dog-12_2"]
    assert_same(MEVIS.read(entries[0]), CAR, "car-1_10")
    assert_same(MEVIS.read(entries[2]), DOG, "dog-12_2")


def test_several_objects_are_one_target(root: Path) -> None:
    """In the last frame but one both are there, apart; null is absent, also of one of two."""
    sequence = MEVIS.read(MEVIS.find(root, "train")[1])
    assert sequence.expressions == ("both", "both!") and sequence.metadata["objects"] == "10,11"
    assert sequence.truth is not None
    assert sequence.truth.present.tolist() == [PRESENT] * 5
    boxes = [[2, 3, 8, 6], [3, 3, 23, 15], [19, 10, 6, 8], [5, 4, 19, 16], [6, 4, 9, 7]]
    assert sequence.truth.boxes_xywh.tolist() == boxes


def test_where_objects_overlap_they_are_not_added(root: Path) -> None:
    change(root, _11=masks_of(CAR))
    sequence = MEVIS.read(MEVIS.find(root, "train")[1])
    assert sequence.truth is not None and sequence.truth.boxes_xywh[0].tolist() == [2, 3, 8, 6]


def test_masks_may_be_runs_and_hold_brackets(root: Path) -> None:
    runs = [{"size": [24, 32], "counts": run_lengths(CAR.mask(at))} for at in range(5)]
    change(root, _10=runs)
    assert_same(MEVIS.read(MEVIS.find(root, "train")[0]), CAR, "car-1_10")
    noise = np.random.default_rng(7).random((60, 24, 32)) > 0.4
    packed = [rle(mask) for mask in noise]
    assert any("]" in mask["counts"] or "[" in mask["counts"] for mask in packed)
    change(root, _9=packed)
    assert_same(MEVIS.read(MEVIS.find(root, "train")[2]), DOG, "dog-12_2")


def test_many_objects_leave_a_short_name(root: Path) -> None:
    change(root, **{f"_{number}": masks_of(CAR) for number in range(20, 40)})
    path = root / "train/meta_expressions.json"
    content = json.loads(path.read_text())
    content["videos"]["car-1"]["expressions"]["3"] = sentence("all of them", *range(20, 40))
    write_json(path, content)
    assert MEVIS.find(root, "train")[2].name == "car-1_exp3"


def test_a_sentence_of_no_object_is_absent_throughout(root: Path) -> None:
    path = root / "train/meta_expressions.json"
    content = json.loads(path.read_text())
    content["videos"]["dog-12"]["expressions"]["1"] = sentence("a cat")
    write_json(path, content)
    entry = MEVIS.find(root, "train")[-1]
    sequence = MEVIS.read(entry)
    assert sequence.name == "dog-12_exp1" and sequence.truth is not None
    assert sequence.truth.present.tolist() == [ABSENT] * 4 and sequence.notes == ()


@pytest.mark.parametrize("name", ["meta_expressions_v2.json", "meta_expressions_v2_release.json"])
def test_the_second_version_goes_before_the_first(root: Path, name: str) -> None:
    """Here with sentences alone that refer to nothing."""
    told = {"7": sentence("a cat"), "8": sentence("a bird")}
    videos = {"car-1": {"expressions": told, "frames": FRAMES["car-1"]}}
    write_json(root / "train" / name, {"videos": videos})
    (entry,) = MEVIS.find(root, "train")
    sequence = MEVIS.read(entry)
    assert (sequence.name, sequence.expressions) == ("car-1_exp7", ("a cat", "a bird"))
    assert sequence.truth is not None and sequence.truth.present.tolist() == [ABSENT] * 5


def test_valid_tells_no_objects_and_has_no_masks(root: Path) -> None:
    told = {"0": {"exp": CAR.prompt}, "1": {"exp": CAR.prompt}}
    videos = {"car-1": {"expressions": told, "frames": FRAMES["car-1"]}}
    write_json(root / "valid/meta_expressions.json", {"videos": videos})
    write_frames(root / "valid/JPEGImages/car-1", CAR, "{:05d}.jpg", 0)
    entries = MEVIS.find(root, "valid")
    assert [entry.name for entry in entries] == ["car-1_exp0", "car-1_exp1"]
    sequence = MEVIS.read(entries[0])
    assert sequence.expressions == (CAR.prompt,) and sequence.truth is not None
    assert sequence.truth.present.tolist() == [UNKNOWN] * 5 and np.isnan(sequence.truth.boxes_xywh).all()


@pytest.mark.parametrize(
    ("masks", "told"),
    [
        (masks_of(CAR)[:3], "3 masks of 10 for 5 frames"),
        ([rle(np.zeros((32, 24), bool))] * 5, "mask is 24x32, but the frames are 32x24"),
        ([{"size": [24, 32], "counts": "012"}] * 5, "runs do not fill"),
    ],
)
def test_a_fault_in_the_masks_is_told(root: Path, masks: list[Any], told: str) -> None:
    change(root, _10=masks)
    with pytest.raises(UserError, match=rf"mask_dict\.json: .*{told}"):
        MEVIS.read(MEVIS.find(root, "train")[0])


def test_missing_masks_are_told(root: Path) -> None:
    path = root / "train/mask_dict.json"
    whole = path.read_text()
    path.write_text(whole[: whole.index('"11"')])
    with pytest.raises(UserError, match=r"mask_dict\.json: has no masks of 11, which car-1_10-11"):
        MEVIS.find(root, "train")
    path.write_text(whole[:-20])
    with pytest.raises(UserError, match=r"mask_dict\.json: the masks of 11 are not JSON"):
        MEVIS.read(MEVIS.find(root, "train")[1])
    for broken in ("", None):
        path.unlink()
        if broken is not None:
            path.write_text(broken)
        with pytest.raises(UserError, match=r"mask_dict\.json: cannot be read"):
            MEVIS.find(root, "train")
    told = r"meta_expressions_v2\.json: no such file; put it or the split's meta_expressions\.json there"
    with pytest.raises(UserError, match=rf"valid_u/{told}"):
        MEVIS.find(root, "valid_u")


def test_the_file_of_masks_is_watched(root: Path) -> None:
    assert is_watched(root / "train/mask_dict.json", MEVIS, root, "train")
