"""Ref-DAVIS17: as it is published and converted, which give the same sequences."""

from pathlib import Path

import numpy as np
import pytest

from configs.errors import UserError
from data_prep.readers.refdavis import REFDAVIS, TEXTS
from data_prep.sequence import Sequence
from tests.dataset_miniature import CAR, DOG, Video, assert_same, write_frames
from tests.index_miniature import is_watched
from tests.mask_miniature import ids_of, write_json, write_palette

CLASSIC = Video("classic-car", CAR.boxes_xywh, CAR.prompt)


def write_masks(folder: Path, video: Video, number: int) -> None:
    for frame in range(len(video.boxes_xywh)):
        write_palette(folder / video.name / f"{frame:05d}.png", ids_of((video, number), frame=frame))


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Both videos: the car under the name that the texts misspell, the dog as the tenth object."""
    davis = tmp_path / "DAVIS"
    (davis / "ImageSets/2017").mkdir(parents=True)
    (davis / "ImageSets/2017/train.txt").write_text("classic-car\n")
    (davis / "ImageSets/2017/val.txt").write_text("dog-12\nclassic-car")
    for video, number in ((CLASSIC, 1), (DOG, 10)):
        write_frames(davis / "JPEGImages/480p" / video.name, video, "{:05d}.jpg", 0)
        write_masks(davis / "Annotations_unsupervised/480p", video, number)
    words = {"classic-car": {"1": "car"}, "dog-12": {"2": "cat", "10": "dog"}}
    write_json(davis / "davis_semantics.json", words)
    (tmp_path / "davis_text_annotations").mkdir()
    for kind in TEXTS:
        text = "déjà vu" if kind.startswith("annot2") else "étrange"
        lines = f'clasic-car 1  "{kind} {text}, and more"\ndog-12 10 "a "big" dog"\ndog-12 2 "{DOG.prompt}"\n'
        data = lines.encode("latin-1" if kind.startswith("annot2") else "utf-8")
        (tmp_path / f"davis_text_annotations/Davis17_{kind}.txt").write_bytes(data)
    return tmp_path


def read_all(root: Path, split: str) -> list[Sequence]:
    return [REFDAVIS.read(entry) for entry in REFDAVIS.find(root, split)]


def test_the_published_form(published: Path) -> None:
    assert [entry.name for entry in REFDAVIS.find(published, "train")] == ["classic-car_1"]
    cat, dog, car = read_all(published, "val")
    assert [each.name for each in (cat, dog, car)] == ["dog-12_2", "dog-12_10", "classic-car_1"]
    assert cat.expressions == (DOG.prompt,) * 4 and dog.expressions == ('a "big" dog',) * 4
    assert car.metadata["expressions"] == "0,1,2,3" and dog.metadata["expressions"] == "4,5,6,7"
    assert car.fps == 24
    assert [each.metadata["class"] for each in (cat, dog, car)] == ["cat", "dog", "car"]
    assert "has no pixel in any frame" in cat.notes[0] and dog.notes == ()
    for sequence, video in ((dog, DOG), (car, CLASSIC)):
        same = Video(sequence.name, video.boxes_xywh, "")
        assert_same(Sequence(sequence.name, sequence.frames, ("",), truth=sequence.truth), same)


def test_masks_are_handed_out(published: Path) -> None:
    """Of the first object there is no pixel."""
    nothing, dog = (REFDAVIS.masks(entry) for entry in REFDAVIS.find(published, "val")[:2])
    assert dog.names == ["00000", "00001", "00002", "00003"] and dog.size == (32, 24)
    assert not any(mask.any() for mask in nothing.masks)
    np.testing.assert_array_equal(list(dog.masks), [DOG.mask(at) for at in range(4)])


def test_the_second_annotator_s_files_are_latin_1(published: Path) -> None:
    """Read as UTF-8 they fail; read as Latin-1 the first annotator's would be garbled."""
    (car,) = read_all(published, "train")
    assert car.expressions == (
        "annot1 étrange, and more",
        "annot1_full_video étrange, and more",
        "annot2 déjà vu, and more",
        "annot2_full_video déjà vu, and more",
    )


def convert(root: Path) -> None:
    """The val set as ReferFormer converts it: four sentences an object, objects sorted as texts."""
    said = [("10", "a big dog"), ("2", DOG.prompt)]
    texts = [{"exp": text, "obj_id": number} for number, text in said for _ in TEXTS]
    expressions = {str(number): text for number, text in enumerate(texts)}
    video = {"expressions": expressions, "frames": [f"{frame:05d}" for frame in range(4)]}
    write_json(root / "meta_expressions/valid/meta_expressions.json", {"videos": {"dog-12": video}})
    write_json(root / "valid/meta.json", {"videos": {"dog-12": {"objects": {"2": {"category": "dog"}}}}})
    write_frames(root / "valid/JPEGImages/dog-12", DOG, "{:05d}.jpg", 0)
    write_masks(root / "valid/Annotations", DOG, 2)


def test_the_converted_form(tmp_path: Path) -> None:
    convert(tmp_path)
    other, dog = read_all(tmp_path, "val")
    assert (other.name, dog.name) == ("dog-12_10", "dog-12_2")
    assert dog.expressions == (DOG.prompt,) * 4 and dog.metadata["expressions"] == "4,5,6,7"
    assert dog.metadata["class"] == "dog" and "class" not in other.metadata
    assert_same(Sequence(dog.name, dog.frames, (DOG.prompt,), truth=dog.truth), DOG, "dog-12_2")


def test_the_converted_form_is_taken_where_both_are_there(published: Path) -> None:
    convert(published)
    assert {sequence.metadata["expressions"] for sequence in read_all(published, "val")} == {
        "0,1,2,3",
        "4,5,6,7",
    }
    assert len(read_all(published, "train")) == 1, "which the other split need not be"


def test_faults_are_told(published: Path) -> None:
    path = published / "davis_text_annotations/Davis17_annot1.txt"
    path.write_text('dog-12 1 "a dog"\nclassic-car one "it"\n')
    with pytest.raises(UserError, match=r"Davis17_annot1\.txt: line 2 is not <video> <object>"):
        REFDAVIS.find(published, "val")
    for kind in TEXTS:
        (published / f"davis_text_annotations/Davis17_{kind}.txt").write_text('dog-12 10 "a dog"\n\n')
    with pytest.raises(UserError, match="no sentence of classic-car"):
        REFDAVIS.find(published, "val")
    path.unlink()
    with pytest.raises(UserError, match=r"Davis17_annot1\.txt: no such file; put the four files"):
        REFDAVIS.find(published, "val")
    (published / "DAVIS/ImageSets/2017/val.txt").unlink()
    with pytest.raises(UserError, match=r"val\.txt: no such file"):
        REFDAVIS.find(published, "val")


def test_the_masks_are_watched(published: Path) -> None:
    masks = published / "DAVIS/Annotations_unsupervised/480p/classic-car"
    assert is_watched(masks, REFDAVIS, published, "train")
    convert(published)
    assert is_watched(published / "valid/Annotations/dog-12", REFDAVIS, published, "val")
