"""SA-V: both layouts in miniature, of which every fourth frame is annotated."""

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from configs.errors import UserError
from data_prep.readers.sav import SAV
from data_prep.sequence import ABSENT, PRESENT, UNKNOWN, Sequence
from data_prep.video.frames import VideoFrames
from tests.dataset_miniature import CAR, DOG, SIZE, Video, assert_same, write_frames
from tests.index_miniature import is_watched
from tests.made_videos import write_film
from tests.mask_miniature import rle, write_json, write_palette

LONG = Video("sav_1", CAR.boxes_xywh[:1] + (None,) * 10, "")  # eleven frames, three annotated
SPARSE = [PRESENT, *[UNKNOWN] * 3, ABSENT, *[UNKNOWN] * 3, PRESENT, *[UNKNOWN] * 2]


def masklets(*videos: Video, count: int) -> list[list[Any]]:
    """Masks of frame 0, 1, … of the videos, a list a frame; empty ones are runs, not null."""
    return [[rle(video.mask(at)) for video in videos] for at in range(count)]


def write_train(root: Path, name: str, lists: list[list[Any]], frames: int, kind: str = "manual") -> Path:
    """An annotation file as it is published: numbers of the video are floats, the count stands last."""
    record = {"video_id": name, "video_frame_count": float(frames), "video_environment": "Indoor"}
    path = root / "sav_train/sav_000" / f"{name}_{kind}.json"
    write_json(path, record | {"masklet": lists, "masklet_num": len(lists[0])})
    return path


def write_video(path: Path, frames: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=24)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(frames):
            picture = np.full((SIZE[1], SIZE[0], 3), 10 * (number + 1), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def present(sequence: Sequence) -> list[int]:
    assert sequence.truth is not None
    assert np.isfinite(sequence.truth.boxes_xywh[sequence.truth.present == PRESENT]).all()
    assert np.isnan(sequence.truth.boxes_xywh[sequence.truth.present != PRESENT]).all()
    return list(sequence.truth.present.tolist())


@pytest.fixture
def train(tmp_path: Path) -> Path:
    """A car and a dog in one video, whose annotated frames alone were taken out."""
    write_train(tmp_path, "sav_1", masklets(CAR, DOG, count=4), 15)
    (tmp_path / "sav_train/sav_000/sav_1_auto.json").write_text("{}")
    shots = Video("sav_1", CAR.boxes_xywh[:4], "")
    write_frames(tmp_path / "shots", shots, "{:05d}.jpg", 0)
    folder = tmp_path / "sav_train/sav_000/sav_1"
    folder.mkdir()
    for frame in range(4):
        (tmp_path / "shots" / f"{frame:05d}.jpg").rename(folder / f"{4 * frame:05d}.jpg")
    return tmp_path


def test_frames_that_were_taken_out_keep_their_numbers(train: Path) -> None:
    entries = SAV.find(train, "train")
    assert [entry.name for entry in entries] == ["sav_1_000", "sav_1_001"]
    for entry, video in zip(entries, (CAR, DOG), strict=True):
        sequence = SAV.read(entry)
        assert (
            sequence.expressions == () and sequence.fps == 6 and sequence.metadata["environment"] == "Indoor"
        )
        prompted = Sequence(sequence.name, sequence.frames, ("",), truth=sequence.truth)
        assert_same(prompted, Video(sequence.name, video.boxes_xywh[:4], ""))


def test_the_root_may_be_the_set_itself_and_frames_lie_in_one_folder(train: Path) -> None:
    (train / "sav_train/JPEGImages_24fps").mkdir()
    (train / "sav_train/sav_000/sav_1").rename(train / "sav_train/JPEGImages_24fps/sav_1")
    assert present(SAV.read(SAV.find(train / "sav_train", "train")[0])) == [1, 1, 0, 1]


def test_null_is_not_annotated(train: Path) -> None:
    lists = masklets(CAR, DOG, count=4)
    lists[1][0] = None
    write_train(train, "sav_1", lists, 15)
    car, dog = map(SAV.read, SAV.find(train, "train"))
    assert present(car) == [PRESENT, UNKNOWN, ABSENT, PRESENT]
    assert present(dog) == [ABSENT, PRESENT, PRESENT, PRESENT]


def test_frames_numbered_anew_are_refused(train: Path) -> None:
    folder = train / "sav_train/sav_000/sav_1"
    for frame in range(1, 4):
        (folder / f"{4 * frame:05d}.jpg").rename(folder / f"{frame:05d}.jpg")
    with pytest.raises(UserError, match=r"sav_1_manual\.json: masks up to frame 12, but frames up to 3"):
        SAV.read(SAV.find(train, "train")[0])
    (folder / "00001.jpg").rename(folder / "first.jpg")
    with pytest.raises(UserError, match=r"sav_1: frames must have their numbers"):
        SAV.read(SAV.find(train, "train")[0])


def test_a_video_is_annotated_every_fourth_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = [[rle(LONG.mask(0))], [rle(LONG.mask(1))], [rle(LONG.mask(0))]]
    path = write_train(tmp_path, "sav_1", lists, 11, "auto")
    entry = SAV.find(tmp_path, "train_auto")[0]
    with pytest.raises(UserError, match=r"sav_1\.mp4: no such video, nor frames in .*sav_1"):
        SAV.read(entry)
    write_video(path.parent / "sav_1.mp4", 11)
    with monkeypatch.context() as patch:
        patch.delattr(VideoFrames, "open")  # a header that agrees with the annotation spares decoding
        sequence = SAV.read(entry)
    assert (sequence.frames.size, len(sequence.frames), sequence.fps) == (SIZE, 11, 24)
    assert [len(list(sequence.frames)), present(sequence)] == [11, SPARSE]
    write_train(tmp_path, "sav_1", lists, 12, "auto")
    with monkeypatch.context() as patch:
        patch.delattr(VideoFrames, "open")
        with pytest.raises(AttributeError):  # one that does not is not believed: the frames are counted
            SAV.read(entry)
    assert len(SAV.read(entry).frames) == 11
    write_video(path.parent / "sav_1.mp4", 8)
    with pytest.raises(UserError, match="masks up to frame 8, but frames up to 7"):
        SAV.read(entry)


def test_masks_are_of_a_phones_video_as_it_is_shown(tmp_path: Path) -> None:
    """Its header has the size as stored, of which the masks would not be."""
    path = write_train(tmp_path, "sav_1", [[rle(LONG.mask(0))]], 4)
    stored = [np.zeros((SIZE[0], SIZE[1], 3), np.uint8)] * 4
    write_film(path.parent / "sav_1.mp4", stored, shown=(270, False))
    sequence = SAV.read(SAV.find(tmp_path, "train")[0])
    assert sequence.frames.size == SIZE and present(sequence)[0] == 1
    assert {frame.shape for frame in sequence.frames} == {(SIZE[1], SIZE[0], 3)}


def test_the_count_of_objects_stands_at_the_end(tmp_path: Path) -> None:
    """And elsewhere, if someone wrote the file anew; a file without it is told."""
    path = write_train(tmp_path, "sav_2", masklets(CAR, DOG, CAR, count=1), 3)
    assert len(SAV.find(tmp_path, "train")) == 3
    write_json(path, {"masklet_num": 2} | json.loads(path.read_text()) | {"filling": "x" * 5000})
    assert len(SAV.find(tmp_path, "train")) == 3
    write_json(path, {"masklet": []})
    with pytest.raises(UserError, match=r"sav_2_manual\.json: the file has no 'masklet_num'"):
        SAV.find(tmp_path, "train")


@pytest.mark.parametrize(
    ("lists", "told"),
    [
        ([[rle(CAR.mask(0))]] * 4, "frame 0 has no object 1"),
        ([[None, rle(np.zeros((9, 9), bool))]] * 4, "object 1, frame 0: the mask is 9x9, but the frames are"),
        ({"0": []}, "has no 'masklet'"),
    ],
)
def test_a_fault_in_the_masks_is_told(train: Path, lists: Any, told: str) -> None:
    entry = SAV.find(train, "train")[1]
    write_json(train / "sav_train/sav_000/sav_1_manual.json", {"masklet": lists, "masklet_num": 2})
    with pytest.raises(UserError, match=rf"sav_1_manual\.json: .*{told}"):
        SAV.read(entry)


@pytest.fixture
def val(tmp_path: Path) -> Path:
    home = tmp_path / "sav_val"
    write_frames(home / "JPEGImages_24fps/sav_1", LONG, "{:05d}.jpg", 0)
    (home / "sav_val.txt").write_text("sav_1")
    for number, frames in ((0, (0, 4, 8)), (1, (0, 8))):
        for frame in frames:
            mask = LONG.mask(1 if frame == 4 else 0)
            path = home / "Annotations_6fps/sav_1" / f"{number:03d}" / f"{frame:05d}.png"
            if number:
                write_palette(path, mask)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    return tmp_path


@pytest.mark.parametrize("inner", [False, True])
def test_val_has_a_mask_an_object(val: Path, inner: bool) -> None:
    """Values 255 or 1; a missing file is an empty mask where another object has one."""
    entries = SAV.find(val / "sav_val" if inner else val, "val")
    assert [entry.name for entry in entries] == ["sav_1_000", "sav_1_001"]
    for entry in entries:
        sequence = SAV.read(entry)
        assert present(sequence) == SPARSE and sequence.expressions == () and sequence.fps == 24
        assert sequence.truth is not None
        assert sequence.truth.boxes_xywh[[0, 8]].tolist() == [[2, 3, 8, 6]] * 2


def test_faults_of_val_are_told(val: Path) -> None:
    entry = SAV.find(val, "val")[0]
    folder = val / "sav_val/Annotations_6fps/sav_1/000"
    write_palette(folder / "00004.png", LONG.mask(0) + 2 * CAR.mask(4))
    with pytest.raises(UserError, match=r"00004\.png: masks of several objects in one file"):
        SAV.read(entry)
    (folder / "00004.png").rename(folder / "00020.png")
    with pytest.raises(UserError, match=r"sav_1: masks of frame 00020, which is missing"):
        SAV.read(entry)
    (folder.parent.parent.parent / "sav_val.txt").write_text("sav_1\nsav_2\n")
    *_, missing = SAV.find(val, "val")
    with pytest.raises(UserError, match=r"sav_2: no such folder"):
        SAV.read(missing)
    (folder.parent.parent.parent / "sav_val.txt").write_text("../sav_1")
    with pytest.raises(UserError, match="leaves its folder"):
        SAV.find(val, "val")
    with pytest.raises(UserError, match=r"sav_test\.txt: no such file"):
        SAV.find(val, "test")
    with pytest.raises(UserError, match=r"holds no <video>_manual\.json"):
        SAV.find(val, "train")


def test_the_masks_are_watched(train: Path, val: Path) -> None:
    assert is_watched(train / "sav_train/sav_000/sav_1_manual.json", SAV, train, "train")
    assert is_watched(val / "sav_val/Annotations_6fps/sav_1/001", SAV, val, "val")
