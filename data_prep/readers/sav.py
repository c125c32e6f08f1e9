"""SA-V: videos with masks of objects and parts, without expressions (SAM 2, https://github.com/facebookresearch/sam2).

Validation and test: `sav_val/sav_val.txt`, `JPEGImages_24fps/<video>/<frame>.jpg` and, for every fourth
frame, `Annotations_6fps/<video>/<object>/<frame>.png`. Each object has mask files of its own, since objects
may overlap. The frames between are not annotated.

Training: `<part>/<video>_manual.json` and, for most videos, `<video>_auto.json`. Its `masklet` is a list
over every fourth frame of a list over objects of RLE masks; an empty mask means absent, null not annotated.
The video is `<video>.mp4` in the same folder. Its frames may also be images in the folder `<video>`, there
or in `JPEGImages_24fps`, named after their numbers in the video (0, 1, 2, ... or 0, 4, 8, ...).

The folders `sav_train`, `sav_val` and `sav_test` are in the root, or one of them is the root.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError
from data_prep.files import inside, open_regular, reading
from data_prep.geometry import Size
from data_prep.readers.folders import folders_of, frames_of, image_names, read_names
from data_prep.readers.masks import decode_rle, nowhere_note, read_mask, truth_of_masks
from data_prep.readers.meta_expressions import REMEDY, part, read_json
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
    """One entry for each object, by name, from the files `<video>_<kind>.json` in `home` or a
    folder in it.
    """
    ending = f"_{kind}.json"
    paths = sorted([*home.glob(f"*{ending}"), *home.glob(f"*/*{ending}")], key=lambda path: path.name)
    if not paths:
        raise UserError(
            f"{home}: holds no <video>{ending}; check root=, and that the data are unpacked there"
        )
    # Extracted frames are in a common folder, or beside the files of masks.
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
    """The number of objects in a file. Only the ends of the files are read, since there are tens of
    thousands.
    """
    with reading(), open_regular(path) as file:
        # The number of objects stands at the end of the file; if it is not there, the whole file is parsed.
        # `seek(0, 2)` goes to the end and returns the size of the file.
        file.seek(max(file.seek(0, 2) - TAIL, 0))
        message = COUNT.search(file.read())
    return int(message[1]) if message else part(read_json(path), "masklet_num", int, path, "the file")


def read_train(entry: Entry) -> Sequence:
    """Read one object of one video."""
    (path,), at = entry.files, int(entry.facts["object"])
    # Each entry parses the file again: it holds all objects, but entries are read by different processes.
    record = read_json(path)
    lists = part(record, "masklet", list, path, "the file")
    numbers, frames = _frames(entry.folder, path, record)
    # The last annotated frame must exist, or the frames are numbered differently from the video.
    if STEP * (len(lists) - 1) > numbers[-1]:
        message = f"masks up to frame {STEP * (len(lists) - 1)}, but frames up to {numbers[-1]}"
        raise UserError(f"{path}: {message}; restore the frames, under their numbers in the video")
    truth = truth_of_masks(_mask(path, lists, number, at, frames.size) for number in numbers)
    # Where only every fourth frame was extracted, the frame rate is a quarter.
    rate = FPS / max(1, numbers[min(1, len(numbers) - 1)] - numbers[0])
    metadata = {name: entry.facts[name] for name in ("video", "object")}
    metadata["environment"] = str(record.get("video_environment", ""))
    notes = nowhere_note(truth, path, f"object {at}")
    return Sequence(entry.name, frames, (), rate, path.parent, metadata, None, truth, notes)


def _frames(folder: Path, path: Path, record: Any) -> tuple[list[int], Frames]:
    """The numbers of the frames in the video, and the frames: the images in `folder`, or the video itself."""
    if folder.is_dir():
        names = image_names(folder)
        try:
            return [int(Path(name).stem) for name in names], frames_of(folder, names)
        except ValueError:
            raise UserError(
                f"{folder}: frames must have their numbers in the video as names, 00000.jpg"
            ) from None
    video = path.parent / f"{folder.name}.mp4"
    if not video.is_file():
        raise UserError(f"{video}: no such video, nor frames in {folder}; {REMEDY}")
    count = record.get("video_frame_count")  # a float in the data
    frames = _video(video, count if isinstance(count, int | float) else 0)
    return list(range(len(frames))), frames


def _video(path: Path, count: float) -> VideoFrames:
    """The frames of a video. It is decoded once to count them where its header does not say `count`.

    The size is that of the first decoded frame, upright. Most videos are from phones, whose headers have the
    size as stored, while the masks belong to the upright frames.
    """
    size, message = first_frame(path)
    return VideoFrames(path, size, message, FPS) if message == count > 0 else VideoFrames.open(path)


def _mask(path: Path, lists: list[Any], number: int, at: int, size: Size) -> np.ndarray | None:
    """The mask of object `at` in frame `number` of the video; None where it is not annotated."""
    # Only frames whose number is a multiple of `STEP` are annotated.
    index, between = divmod(number, STEP)
    if between or index >= len(lists):
        return None
    try:
        mask = lists[index][at]
        return None if mask is None else decode_rle(mask, size)
    except (LookupError, TypeError):
        raise UserError(f"{path}: frame {index} has no object {at}; {REMEDY}") from None
    except ValueError as fault:
        raise UserError(f"{path}: object {at}, frame {index}: {fault}; {REMEDY}") from None


ANNOTATIONS = "Annotations_6fps"
MODES = ("P", "L", "1")  # modes of PIL with one channel


def find(root: Path, split: str) -> list[Entry]:
    """One entry for each object: in `train` those drawn by people, in `train_auto` those found by a model."""
    folder = f"sav_{split.removesuffix('_auto')}"
    # The root may be the folder of the split itself.
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
    """The folders of a video's objects. For a video without any, a name whose reading reports the
    missing folder.
    """
    # Names come from a list, so they must stay inside of the folder.
    folder = inside(annotations, video)
    return folders_of(folder) if folder.is_dir() else [folder / "000"]


def read(entry: Entry) -> Sequence:
    """Read one object of one video."""
    (folder,) = entry.files
    if folder.suffix == ".json":
        return read_train(entry)
    images = image_names(entry.folder)
    frames = frames_of(entry.folder, images)
    truth = truth_of_masks(_masks(folder, [Path(name).stem for name in images], frames.size))
    metadata = {name: entry.facts[name] for name in ("video", "object")}
    notes = nowhere_note(truth, folder, "the object")
    return Sequence(entry.name, frames, (), FPS, entry.folder, metadata, None, truth, notes)


def _masks(folder: Path, names: list[str], size: Size) -> Iterator[np.ndarray | None]:
    """One mask for each frame: empty where only other objects have a mask, None where no object has one."""
    # A frame is annotated if any object of the video has a mask in it: SA-V writes no file for an empty mask.
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
    """The mask, bool (height, width), of a file with a single object of any value."""
    values = read_mask(path, size, MODES)
    mask = values > 0
    # Several values in one file mean that it is not in the layout of SA-V.
    if (values[mask] != values.max()).any():
        raise UserError(f"{path}: masks of several objects in one file; take those of SA-V, a file an object")
    return mask


SPLITS = ("train", "train_auto", "val", "test")
SAV = register_reader(Reader("sav", SPLITS, find, read, sparse=SPLITS))
