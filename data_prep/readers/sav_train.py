"""SA-V's training set: run lengths of masks beside videos (see `data_prep.readers.sav`).

`<part>/<video>_manual.json` and, for most, `<video>_auto.json`: `masklet` is a list over every fourth frame
of a list over objects of RLE masks; an empty one is absent, null is not annotated. The video is
`<video>.mp4` beside them, or its frames by their numbers in it (0, 1, 2, … or 0, 4, 8, …) in the folder
`<video>`, there or in `JPEGImages_24fps` of the set.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError
from data_prep.files import open_regular, reading
from data_prep.frames import Frames, VideoFrames
from data_prep.geometry import Size
from data_prep.readers.entry import Entry
from data_prep.readers.json_files import MEND, part, read_json
from data_prep.readers.masks import nowhere_note, truth_of_masks
from data_prep.readers.pictures import frames_of, picture_names
from data_prep.readers.rle import decode_rle
from data_prep.sequence import Sequence
from data_prep.video_file import first_frame

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
