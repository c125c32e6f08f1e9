"""MeViS: videos with sentences about motion, which refer to several objects (https://github.com/henghuiding/MeViS).

Layout: `<root>/{train,valid_u,valid}/JPEGImages/<video>/<frame>.jpg`, `meta_expressions.json` and, except
for `valid`, `mask_dict.json`: `{"<anno_id>": [<RLE or null>, …]}`, one for each frame, null where the object
is absent. The target of a sentence is the union of its objects; a sentence without objects refers to nothing
in the video.

The second version (https://huggingface.co/datasets/FudanCVL/MeViSv2) has more sentences, some of them about
nothing in the video, in `meta_expressions_v2.json`, and for `valid` in `meta_expressions_v2_release.json`.
If these files exist, they are read instead of those of the first version.
"""

import json
import mmap
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError
from configs.terminal import counted
from data_prep.files import open_regular, reading
from data_prep.geometry import Size
from data_prep.readers.folders import first_there
from data_prep.readers.masks import decode_rle, nowhere_note, truth_of_masks, unknown
from data_prep.readers.meta_expressions import REMEDY, entries_of, frames_in, read_videos, sequence_of
from data_prep.readers.reader import Entry, Reader, TrueMasks, register_reader
from data_prep.sequence import Sequence

KEY = re.compile(rb'"(\d+)"\s*:\s*\[')  # a packed mask contains no quote
FILES = ("meta_expressions_v2.json", "meta_expressions_v2_release.json", "meta_expressions.json")
MASKS = "mask_dict.json"


def find(root: Path, split: str) -> list[Entry]:
    """One entry for each target; for `valid`, whose objects are not public, one for each sentence."""
    # The files of the second version come first.
    path = first_there(root / split, *FILES)
    videos = read_videos(path, f"put it or the split's {FILES[-1]} there (meta_valid.json has no sentences)")
    entries = entries_of(path, videos, root / split, "anno_id")
    if all(entry.facts["objects"] is None for entry in entries):
        return entries
    places = _places(root / split / MASKS)
    return [_placed(entry, places, root / split / MASKS) for entry in entries]


def _placed(entry: Entry, places: dict[str, tuple[int, int]], path: Path) -> Entry:
    """The entry with the positions of its objects' masks in the file."""
    for number in entry.facts["objects"] or ():
        if number not in places:
            raise UserError(f"{path}: has no masks of {number}, which {entry.name} refers to; {REMEDY}")
    masks = [places[number] for number in entry.facts["objects"] or ()]
    return replace(entry, facts=entry.facts | {"masks": masks}, files=(path,))


def _places(path: Path) -> dict[str, tuple[int, int]]:
    """The byte positions in the file between which the list of each object lies.

    The file has hundreds of megabytes, so only the part of a sequence is read and parsed.
    """
    try:
        with open_regular(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            # Each list is at most as long as the distance to the next key. What follows the list is ignored
            # when it is parsed.
            found = [(match[1].decode(), match.start(), match.end() - 1) for match in KEY.finditer(data)]
            stops = [start for _, start, _ in found[1:]] + [len(data)]
    except (OSError, ValueError) as fault:
        raise UserError(f"{path}: cannot be read ({fault}); {REMEDY}") from None
    return {key: (start, stop) for (key, _, start), stop in zip(found, stops, strict=True)}


def read(entry: Entry) -> Sequence:
    """Read one target. Its mask is the union of the masks of its objects."""
    names, frames = frames_in(entry)
    if entry.facts["objects"] is None:
        return sequence_of(entry, frames, unknown(len(names)))
    truth = truth_of_masks(_target_masks(entry, len(names), frames.size))
    message = entry.facts["objects"]
    notes = nowhere_note(truth, entry.files[0], f"the target of {entry.name}") if message else ()
    return sequence_of(entry, frames, truth, notes=notes)


def masks(entry: Entry) -> TrueMasks:
    """The masks of one target. Raises UserError for `valid`, whose masks are not public."""
    if entry.facts["objects"] is None:
        home = entry.folder.parent.parent
        raise UserError(f"{home}: its masks are not public; take split=valid_u, or the server")
    names, frames = frames_in(entry)
    return TrueMasks(names, frames.size, _target_masks(entry, len(names), frames.size))


def _target_masks(entry: Entry, count: int, size: Size) -> Iterator[np.ndarray]:
    """One mask for each frame: the union of the masks of the target's objects."""
    (path,) = entry.files
    # The encoded masks of all objects are kept, but decoded only one frame at a time.
    numbered = zip(entry.facts["objects"], entry.facts["masks"], strict=True)
    objects = [_masks(path, number, place, count) for number, place in numbered]
    for at in range(count):
        yield _union(path, entry, [each[at] for each in objects], size)


def _masks(path: Path, number: str, place: tuple[int, int], count: int) -> list[Any]:
    """The masks of an object, still encoded, one for each frame."""
    with reading(), open_regular(path) as file:
        file.seek(place[0])
        data = file.read(place[1] - place[0])
    try:
        # Parses the list at the start of the text, and ignores what follows.
        masks, _ = json.JSONDecoder().raw_decode(data.decode("utf-8"))
    except ValueError as fault:
        raise UserError(f"{path}: the masks of {number} are not JSON ({fault}); {REMEDY}") from None
    if len(masks) != count:
        message = f"{counted(len(masks), 'mask')} of {number} for {counted(count, 'frame')}"
        raise UserError(f"{path}: {message}; {REMEDY}")
    return list(masks)


def _union(path: Path, entry: Entry, masks: list[Any], size: Size) -> np.ndarray:
    """The union of masks, bool (height, width); null is an empty mask."""
    # Starts empty: a target without objects is absent.
    whole = np.zeros((size[1], size[0]), bool)
    try:
        for mask in masks:
            if mask is not None:
                whole |= decode_rle(mask, size)
    except ValueError as fault:
        raise UserError(f"{path}: a mask of {entry.name}: {fault}; {REMEDY}") from None
    return whole


MEVIS = register_reader(Reader("mevis", ("train", "valid_u", "valid"), find, read, ("valid",), masks))
