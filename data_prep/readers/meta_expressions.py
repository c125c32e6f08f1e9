"""`meta_expressions.json`, the format that Ref-YouTube-VOS, Ref-DAVIS17 and MeViS share.

`{"videos": {<video>: {"frames": [<name>, ...], "expressions": {"0": {"exp": <sentence>, ...}, ...}}}}`. The
sentences that refer to the same objects become the expressions of one sequence.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from configs.errors import UserError
from data_prep.files import read_text
from data_prep.readers.folders import frames_of, image_names
from data_prep.readers.reader import Entry
from data_prep.sequence import Sequence, Truth
from data_prep.video.frames import ImageFrames

LARGEST_JSON = 1 << 30  # bytes: the largest files of data sets have hundreds of megabytes
REMEDY = "restore it from the data set"
Kind = TypeVar("Kind")


def read_json(path: Path, remedy: str = REMEDY) -> Any:
    """The content of a JSON file. Raises UserError (with `remedy`) where it is missing or damaged."""
    try:
        return json.loads(read_text(path, remedy, LARGEST_JSON))
    except RecursionError:
        raise UserError(f"{path}: JSON that is nested too deep; {remedy}") from None
    except ValueError as fault:
        raise UserError(f"{path}: not JSON ({fault}); {remedy}") from None


def part(record: Any, key: str, kind: type[Kind], path: Path, owner: str) -> Kind:
    """The value of `key` in a record of a file.

    Raises UserError, which names the `owner` of the record, where the value is missing or of another type.
    """
    # Ref-YouTube-VOS has one id as a text, MeViS a list of numbers.
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, kind):
        raise UserError(f"{path}: {owner} has no {key!r} as the data set has it; {REMEDY}")
    return value


MANY = 8  # most objects that the name of a sequence lists
Sentence = tuple[str, str]  # its number or label, and its text
Objects = (
    tuple[str, ...] | None
)  # their ids in order; empty: the target is absent throughout; None: not published


def read_videos(path: Path, remedy: str = REMEDY) -> dict[str, Any]:
    """The videos of a `meta_expressions.json`, in its order. Raises UserError where the file has
    another form.
    """
    return part(read_json(path, remedy), "videos", dict, path, "the file")


def entries_of(path: Path, videos: dict[str, Any], home: Path, key: str) -> list[Entry]:
    """An entry for each target of these videos of the file `path`, whose frames lie in `home/JPEGImages`.

    `key` is the name under which the record of a sentence holds its objects. Sentences are sorted by number:
    "2" comes before "10". Raises UserError where the file has another layout.
    """
    entries = []
    for video, record in videos.items():
        owner = f"video {video!r}"
        if isinstance(record, dict) and "objects" in record and "expressions" not in record:
            raise UserError(
                f"{path}: is the older file with sentences by object; take the one of the challenge"
            )
        frames = part(record, "frames", list, path, owner)
        if not frames:
            raise UserError(f"{path}: {owner} lists no frames; {REMEDY}")
        # 1. Group the sentences by the objects that they refer to; a sentence without published objects stays
        #    alone.
        targets: dict[Objects | str, list[Sentence]] = {}
        message: dict[str, Any] = part(record, "expressions", dict, path, owner)
        for number in sorted(message, key=lambda text: _whole(text, path, owner)):
            sentence = f"sentence {number} of {owner}"
            objects = _objects(message[number], key, path, sentence)
            text = part(message[number], "exp", str, path, sentence)
            targets.setdefault(number if objects is None else objects, []).append((number, text))
        # 2. One entry for each group.
        for target, sentences in targets.items():
            known = None if isinstance(target, str) else target
            entries.append(entry_of(home / "JPEGImages", video, known, sentences, list(map(str, frames))))
    return entries


def entry_of(
    folder: Path, video: str, objects: Objects, sentences: Iterable[Sentence], frames: list[str] | None
) -> Entry:
    """The entry of one target of a video whose frames are in `folder/<video>`.

    `frames` are the names of its frames; None: all in the folder. The entry is named after its objects, or
    after its first sentence where the objects are many or not published. Raises UserError where the name of
    the video is not a plain file name.
    """
    if video in ("", ".", "..") or Path(video).name != video or "\0" in video:
        raise UserError(
            f"{folder}: {video!r} is no plain name of a video; correct it in the data set's lists"
        )
    # Empty sentences are left out, but the name of the entry does not depend on that.
    labels, texts = zip(*sentences, strict=True)
    # Names must be unique within the video and stay short enough for a file name.
    named = "-".join(objects) if objects and len(objects) <= MANY else f"exp{labels[0]}"
    said = [(label, text.strip()) for label, text in zip(labels, texts, strict=True) if text.strip()]
    metadata = {"video": video, "expressions": ",".join(label for label, _ in said)}
    if objects is not None:
        metadata["objects"] = ",".join(objects)
    facts = {
        "frames": frames,
        "objects": objects,
        "expressions": [text for _, text in said],
        "metadata": metadata,
    }
    return Entry(f"{video}_{named}", folder / video, facts)


def _objects(record: Any, key: str, path: Path, owner: str) -> Objects:
    """The sorted ids of the objects that a sentence refers to; the file has a number, a text or a
    list of them.
    """
    value = record.get(key) if isinstance(record, dict) else None
    if value is None:
        return None
    # Sorted and without repetitions: the same objects in another order are the same target.
    numbers = {
        _whole(one, path, f"{key} of {owner}") for one in (value if isinstance(value, list) else [value])
    }
    return tuple(map(str, sorted(numbers)))


def _whole(value: Any, path: Path, owner: str) -> int:
    """A whole number, which may be written as a text. Raises UserError for anything else."""
    text = str(value)
    if not (text.isascii() and text.isdigit()):
        raise UserError(f"{path}: {owner} is {text[:40]!r}, not a number; {REMEDY}")
    return int(text)


def frames_in(entry: Entry) -> tuple[list[str], ImageFrames]:
    """Names without endings, and frames, that an entry lists; those of the whole folder where it lists none.

    Raises UserError where one is missing.
    """
    # The file lists names without endings.
    present = {Path(name).stem: name for name in image_names(entry.folder)}
    listed = entry.facts["frames"]
    names: list[str] = list(present) if listed is None else listed
    for name in names:
        if name not in present:
            raise UserError(f"{entry.folder / name}.jpg: frame is missing; {REMEDY}")
    return names, frames_of(entry.folder, [present[name] for name in names])


def sequence_of(
    entry: Entry, frames: ImageFrames, truth: Truth, fps: float = 25.0, notes: Iterable[str] = ()
) -> Sequence:
    """The sequence of an entry from `entry_of`."""
    expressions, metadata = tuple(entry.facts["expressions"]), dict(entry.facts["metadata"])
    return Sequence(entry.name, frames, expressions, fps, entry.folder, metadata, None, truth, tuple(notes))


def with_classes(entries: Iterable[Entry], classes: dict[str, dict[str, str]]) -> list[Entry]:
    """The entries with the classes of their objects as metadata; `classes` is by video and object."""
    known = []
    for entry in entries:
        of_video = classes.get(entry.folder.name, {})
        named = [str(of_video[number]) for number in entry.facts["objects"] or () if number in of_video]
        metadata = entry.facts["metadata"] | ({"class": ",".join(named)} if named else {})
        known.append(replace(entry, facts=entry.facts | {"metadata": metadata}))
    return known
