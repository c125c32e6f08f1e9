"""SA-V's training set: run lengths of masks beside videos (see `data_prep.readers.sav`).

`<part>/<video>_manual.json` and, for most, `<video>_auto.json`: `masklet` is a list over every fourth frame
of a list over objects of RLE masks; an empty one is absent, null is not annotated. The video is
`<video>.mp4` beside them, or its frames by their numbers in it (0, 1, 2, … or 0, 4, 8, …) in the folder
`<video>`, there or in `JPEGImages_24fps` of the set.


SA-V: videos with masks of objects and parts, without words (SAM 2, https://github.com/facebookresearch/sam2).

Validation and test: `sav_val/sav_val.txt`, `JPEGImages_24fps/<video>/<frame>.jpg` and, for every fourth
frame, `Annotations_6fps/<video>/<object>/<frame>.png`, a mask an object, since they may overlap. The frames
between are not annotated. Training is read by `data_prep.readers.sav`. The folders `sav_train`,
`sav_val` and `sav_test` lie in the root, or one of them is the root.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError
from data_prep.files import inside, open_regular, reading
from data_prep.geometry import Size
from data_prep.readers.folders import folders_of, frames_of, picture_names, read_names
from data_prep.readers.masks import decode_rle, nowhere_note, read_mask, truth_of_masks
from data_prep.readers.meta_expressions import MEND, part, read_json
from data_prep.readers.reader import Entry, Reader, register_reader
from data_prep.sequence import Sequence
from data_prep.video.decoding import first_frame
from data_prep.video.frames import Frames, VideoFrames

FPS = 24.0
STEP = 4  # frames of the video from one annotated frame to the next
IMAGES = "JPEGImages_24fps"
COUNT = re.compile(rb'"masklet_num"\s*:\s*(\d+)')
TAIL = 4096  # bytes at the end of a file, where its number of objects stands


def find_train(home: Path, kind: str) -> list[Entry]:
    """An entry an object, by name: of the files `<video>_<kind>.json` in `home` or a folder of it."""
    ending = f"_{kind}.json"
    paths = sorted([*home.glob(f"*{ending}"), *home.glob(f"*/*{ending}")], key=lambda path: path.name)
    if not paths:
        raise UserError(
            f"{home}: holds no <video>{ending}; check root=, and that the data are unpacked there"
        )
    together = (home / IMAGES).is_dir()
    entries = []
    for path in paths:
        video = path.name.removesuffix(ending)
        folder = (home / IMAGES if together else path.parent) / video
        for number in range(_num_objects(path)):
            facts = {"video": video, "object": f"{number:03d}"}
            entries.append(Entry(f"{video}_{number:03d}", folder, facts, (path,)))
    return entries


def _num_objects(path: Path) -> int:
    """How many objects a file speaks of: of tens of thousands of files, the ends are read alone."""
    with reading(), open_regular(path) as file:
        file.seek(max(file.seek(0, 2) - TAIL, 0))
        told = COUNT.search(file.read())
    return int(told[1]) if told else part(read_json(path), "masklet_num", int, path, "the file")


def read_train(entry: Entry) -> Sequence:
    """Read one object of one video."""
    (path,), at = entry.files, int(entry.facts["object"])
    record = read_json(path)
    lists = part(record, "masklet", list, path, "the file")
    numbers, frames = _frames(entry.folder, path, record)
    if STEP * (len(lists) - 1) > numbers[-1]:
        told = f"masks up to frame {STEP * (len(lists) - 1)}, but frames up to {numbers[-1]}"
        raise UserError(f"{path}: {told}; restore the frames, under their numbers in the video")
    truth = truth_of_masks(_mask(path, lists, number, at, frames.size) for number in numbers)
    rate = FPS / max(1, numbers[min(1, len(numbers) - 1)] - numbers[0])
    metadata = {name: entry.facts[name] for name in ("video", "object")}
    metadata["environment"] = str(record.get("video_environment", ""))
    notes = nowhere_note(truth, path, f"object {at}")
    return Sequence(entry.name, frames, (), rate, path.parent, metadata, None, truth, notes)


def _frames(folder: Path, path: Path, record: Any) -> tuple[list[int], Frames]:
    """The frames' numbers in the video, and the frames: pictures in `folder`, else the video itself."""
    if folder.is_dir():
        names = picture_names(folder)
        try:
            return [int(Path(name).stem) for name in names], frames_of(folder, names)
        except ValueError:
            raise UserError(
                f"{folder}: frames must have their numbers in the video as names, 00000.jpg"
            ) from None
    video = path.parent / f"{folder.name}.mp4"
    if not video.is_file():
        raise UserError(f"{video}: no such video, nor frames in {folder}; {MEND}")
    count = record.get("video_frame_count")  # a float in the data
    frames = _video(video, count if isinstance(count, int | float) else 0)
    return list(range(len(frames))), frames


def _video(path: Path, count: float) -> VideoFrames:
    """A video of `count` frames by its header, or decoded once to count them where that says otherwise.

    Its size is that of its first frame, upright: most are of phones, whose headers have the stored size, and
    the masks are of the upright one.
    """
    size, told = first_frame(path)
    return VideoFrames(path, size, told, FPS) if told == count > 0 else VideoFrames.open(path)


def _mask(path: Path, lists: list[Any], number: int, at: int, size: Size) -> np.ndarray | None:
    """The mask of object `at` in frame `number` of the video; None where it is not annotated."""
    index, between = divmod(number, STEP)
    if between or index >= len(lists):
        return None
    try:
        mask = lists[index][at]
        return None if mask is None else decode_rle(mask, size)
    except (LookupError, TypeError):
        raise UserError(f"{path}: frame {index} has no object {at}; {MEND}") from None
    except ValueError as fault:
        raise UserError(f"{path}: object {at}, frame {index}: {fault}; {MEND}") from None


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
SAV = register_reader(Reader("sav", SPLITS, find, read, sparse=SPLITS))
