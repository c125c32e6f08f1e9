"""Ref-YouTube-VOS: videos with sentences and masks (URVOS, https://github.com/skynbe/Refer-Youtube-VOS).

Layout: `<root>/{train,valid}/JPEGImages/<video>/<frame>.jpg`, `train/Annotations/<video>/<frame>.png`
(palette, the value of a pixel is the id of an object),
`meta_expressions/{train,valid,test}/meta_expressions.json` and, if it exists, `train/meta.json` with the
classes. Masks are public for the training split only; in the others all frames are unknown.

The file of `valid` also lists the videos of `test`; they are removed with the help of the file of `test`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.terminal import counted
from data_prep.readers.masks import masks_of_id, nowhere_note, truth_of_masks, unknown
from data_prep.readers.meta_expressions import (
    entries_of,
    frames_in,
    read_json,
    read_videos,
    sequence_of,
    with_classes,
)
from data_prep.readers.reader import Entry, Reader, TrueMasks, register_reader
from data_prep.sequence import Sequence

FPS = 6.0  # every fifth frame of 30 a second
NUM_VALID = 202  # videos
FILE = "meta_expressions.json"


def find(root: Path, split: str) -> list[Entry]:
    """One entry for each target; where the objects are not public, as in `valid`, one for each sentence."""
    path = root / "meta_expressions" / split.removesuffix("_and_test") / FILE
    videos = read_videos(path, f"put the split's {FILE} there")
    # 1. The sentences. The published file of `valid` includes the test set.
    if split == "valid":
        videos = _without_test(root, path, videos)
    # 2. The frames. If a split has none of its own, they are in the folder `valid`.
    home = root / split
    if split != "train" and not (home / "JPEGImages").is_dir():
        home = root / "valid"
    # 3. The targets; only in training their objects are known, and so their masks.
    entries = entries_of(path, videos, home, "obj_id")
    if split != "train":
        return entries
    return with_masks(with_classes(entries, classes_of(home / "meta.json")), path, home / "Annotations")


def with_masks(entries: list[Entry], path: Path, annotations: Path) -> list[Entry]:
    """The entries of the file `path` with the folders of their palette masks, `annotations/<video>`.

    Raises UserError where a sentence does not refer to one object of the masks.
    """
    for entry in entries:
        # A pixel of a palette mask has one id, so a target must be a single object.
        if len(entry.facts["objects"] or ()) != 1:
            raise UserError(
                f"{path}: {entry.name}: a sentence without one obj_id; restore it from the data set"
            )
    return [replace(entry, files=(annotations / entry.folder.name,)) for entry in entries]


def _without_test(root: Path, path: Path, videos: dict[str, Any]) -> dict[str, Any]:
    """The videos that are not of the test set."""
    tests = root / "meta_expressions" / "test" / FILE
    if not tests.exists():
        # A file without the videos of the test set: nothing has to be removed.
        if len(videos) <= NUM_VALID:
            return videos
        raise UserError(
            f"{tests}: no such file, but {path} holds {counted(len(videos), 'video')}, the test set's among "
            "them; put the test set's file there, or take the split valid_and_test"
        )
    drop = read_videos(tests)
    return {video: record for video, record in videos.items() if video not in drop}


def classes_of(path: Path) -> dict[str, dict[str, str]]:
    """The class of every object of every video of a `meta.json`; empty where the file does not exist."""
    if not path.exists():
        return {}
    try:
        return {
            video: {number: known["category"] for number, known in record["objects"].items()}
            for video, record in read_json(path)["videos"].items()
        }
    except (KeyError, TypeError, AttributeError):
        raise UserError(
            f"{path}: does not hold the categories of objects by video; restore it, or remove it"
        ) from None


def read(entry: Entry) -> Sequence:
    """Read one target."""
    return read_target(entry, FPS)


def read_target(entry: Entry, fps: float) -> Sequence:
    """Read a target with the masks that `with_masks` found; without masks all frames are unknown."""
    names, frames = frames_in(entry)
    if not entry.files:
        return sequence_of(entry, frames, unknown(len(names)), fps)
    (folder,), (number,) = entry.files, entry.facts["objects"]
    truth = truth_of_masks(masks_of_id(folder, names, frames.size, int(number)))
    return sequence_of(entry, frames, truth, fps, nowhere_note(truth, folder, f"object {number}"))


def masks(entry: Entry) -> TrueMasks:
    """The masks of a target, where `with_masks` found them. Raises UserError for splits without
    public masks.
    """
    if not entry.files:
        home = entry.folder.parent.parent
        raise UserError(f"{home}: its masks are not public; take split=train, or the challenge's server")
    (folder,), (number,) = entry.files, entry.facts["objects"]
    names, frames = frames_in(entry)
    return TrueMasks(names, frames.size, masks_of_id(folder, names, frames.size, int(number)))


UNANNOTATED = ("valid", "test", "valid_and_test")
REFYTVOS = register_reader(Reader("refytvos", ("train", *UNANNOTATED), find, read, UNANNOTATED, masks))
