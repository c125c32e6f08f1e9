"""Ref-DAVIS17: DAVIS 2017 with sentences (https://arxiv.org/abs/1803.08006).

As published: `<root>/DAVIS/{JPEGImages,Annotations_unsupervised}/480p/<video>`, the lists
`DAVIS/ImageSets/2017/{train,val}.txt`, and four files of lines `<video> <object> "<sentence>"` in
`davis_text_annotations`: two annotators wrote sentences after seeing the first frame, and after the whole
video.

Converted to the layout of Ref-YouTube-VOS (https://github.com/wjn922/ReferFormer): `<root>/{train,valid}/
{JPEGImages,Annotations}/<video>` and `meta_expressions/{train,valid}/meta_expressions.json`. If this file
exists, it is read. Both layouts give the same sequences: four expressions for each object, in the order of
`TEXTS`.
"""

import re
from pathlib import Path

from configs.errors import UserError
from data_prep.files import read_bytes
from data_prep.readers.folders import read_names
from data_prep.readers.meta_expressions import (
    Sentence,
    entries_of,
    entry_of,
    read_json,
    read_videos,
    with_classes,
)
from data_prep.readers.reader import Entry, Reader, register_reader
from data_prep.readers.refytvos import FILE, classes_of, masks, read_target, with_masks
from data_prep.sequence import Sequence

FPS = 24.0
TEXTS = ("annot1", "annot1_full_video", "annot2", "annot2_full_video")
LINE = re.compile(r'(\S+)\s+0*(\d+)\s+"?(.*?)"?')
MISSPELT = {"clasic-car": "classic-car", "dog-scale": "dogs-scale", "motor-bike": "motorbike"}


def find(root: Path, split: str) -> list[Entry]:
    """One entry for each target of each video, in the order of the list or of the converted file."""
    # 1. The converted layout.
    home = root / {"train": "train", "val": "valid"}[split]
    path = root / "meta_expressions" / home.name / FILE
    if path.exists():
        entries = with_classes(
            entries_of(path, read_videos(path), home, "obj_id"), classes_of(home / "meta.json")
        )
        return with_masks(entries, path, home / "Annotations")
    # 2. The published layout.
    davis = root / "DAVIS"
    names = read_names(davis / "ImageSets" / "2017" / f"{split}.txt")
    texts = root / "davis_text_annotations"
    said = _sentences(texts)
    # Every video of the list must have sentences, or a file is incomplete.
    silent = [video for video in names if video not in said]
    if silent:
        raise UserError(f"{texts}: no sentence of {', '.join(silent)}; restore the four files")
    frames = davis / "JPEGImages" / "480p"
    entries = [
        entry_of(frames, video, (number,), _numbered(sentences, place), None)
        for video in names
        for place, (number, sentences) in enumerate(
            sorted(said[video].items(), key=lambda item: int(item[0]))
        )
    ]
    classes = davis / "davis_semantics.json"
    entries = with_classes(entries, read_json(classes) if classes.exists() else {})
    return with_masks(entries, texts, davis / "Annotations_unsupervised" / "480p")


def _numbered(sentences: list[Sentence], place: int) -> list[Sentence]:
    """The sentences of an object, with the numbers that they have in the converted file."""
    return [(str(len(TEXTS) * place + TEXTS.index(kind)), text) for kind, text in sentences]


def _sentences(folder: Path) -> dict[str, dict[str, list[Sentence]]]:
    """The sentences of every object of every video, in the order of `TEXTS`."""
    said: dict[str, dict[str, list[Sentence]]] = {}
    for kind in TEXTS:
        path = folder / f"Davis17_{kind}.txt"
        for count, line in enumerate(_lines(path), start=1):
            # The quotes around the sentence are optional.
            match = LINE.fullmatch(line.strip())
            if match is None and line.strip():
                raise UserError(f'{path}: line {count} is not <video> <object> "<sentence>"; restore it')
            if match is not None:
                video, number, text = match.groups()
                # Some names of videos are misspelt in the text files.
                objects = said.setdefault(MISSPELT.get(video, video), {})
                objects.setdefault(number, []).append((kind, text))
    return said


def _lines(path: Path) -> list[str]:
    """The lines of a text file in UTF-8, or in Latin-1 like those of the second annotator."""
    data = read_bytes(path, "put the four files of Ref-DAVIS17 there")
    try:
        return data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        return data.decode("latin-1").splitlines()


def read(entry: Entry) -> Sequence:
    """Read one target with its masks."""
    return read_target(entry, FPS)


REFDAVIS = register_reader(Reader("refdavis", ("train", "val"), find, read, masks=masks))
