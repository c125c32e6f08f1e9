"""Importing ReasoningTrack's training records (https://github.com/Event-AHU/Open_VLTrack).

The published files (ReasoningTrack, "Supervise fine-tuning") are JSON lists of rows with `instruction`,
`input`, `output` and `images`. A row shows two frames and a description of a target, and asks how the
description should change. The output is `<think>…</think><d>yes|no</d><answer>…</answer>`: a thought, whether
the description changes, and the description from then on. There are no boxes.

The paths of images begin with a placeholder for the folder that each data set's samples were unpacked in.
`Roots` replaces it by data set, as the script `transforme_json` of that project does.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from configs.errors import UserError, did_you_mean
from data_prep.contract.descriptions import parts_of
from data_prep.exchange.chat import IMAGE, Turn
from data_prep.exchange.exporter import exporter_of
from data_prep.files import inside, write_whole
from data_prep.readers.meta_expressions import read_json

IMAGES = 2


@dataclass(frozen=True)
class Record:
    """One record; `number` is its place in the file, counted from 0.

    `description` is the old description of the target, and `answer` the new one; `changes` says whether the
    record claims that they differ. `output` is the complete text of thought, decision and answer.
    """

    number: int
    images: tuple[str, ...]
    instruction: str
    description: str
    thought: str
    changes: bool
    answer: str
    output: str


def record_of(number: int, row: Any) -> Record:
    """The record in a row of a file. Raises UserError with the reason where the row cannot be parsed."""
    instruction, query, output = (_text(row, key) for key in ("instruction", "input", "output"))
    # 1. Two images, whose placeholders come first in the input, and no further placeholder anywhere.
    images = row.get("images")
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise UserError("its images are not a list of paths")
    tags = (instruction + query + output).count(IMAGE)
    if len(images) != IMAGES or tags != IMAGES or not query.startswith(IMAGE * IMAGES):
        raise UserError(f"has {len(images)} images and {tags} {IMAGE}; {IMAGES} of each, first in its input")
    # 2. The description follows the placeholders.
    description = query.removeprefix(IMAGE * IMAGES)
    if not description.strip():
        raise UserError("its description is empty")
    # 3. The three parts of the output.
    thought, changes, answer = parts_of(output)
    return Record(number, tuple(images), instruction, description, thought, changes, answer, output)


def _text(row: Any, key: str) -> str:
    value = row.get(key) if isinstance(row, dict) else None
    if not isinstance(value, str):
        raise UserError(f"has no text {key!r}")
    return value


def sample_of(record: Record) -> tuple[str, str]:
    """The last two folders in a record's paths, those of data set and sample; empty where there are none."""
    parts = ("", "", *PurePosixPath(record.images[0]).parts[:-1])
    return parts[-2].strip("/"), parts[-1].strip("/")


PLACEHOLDER = "/your_root_path/"
DATA_OF = {
    "GOT-10k_RLsamples": "got10k",
    "sampled_data_fromLaSOT": "lasot",
    "OTB_RLsamples": "otb99",
    "RLsampled_data_fromTNL2k": "tnl2k",
    "sampled_data2": "tnllt",
}
"""The name of each data set, by the folder of its samples."""


def data_of(folder: str) -> str:
    """The name of a data set by the folder of its samples; an unknown folder keeps its own name."""
    return DATA_OF.get(folder, folder)


@dataclass(frozen=True)
class Roots:
    """What replaces the placeholder in paths, by data set. Paths that do not begin with it stay unchanged."""

    folders: Mapping[str, str]

    def path(self, image: str) -> str:
        """The path of an image here. Raises UserError for a path that would leave its root."""
        # A path without the placeholder, or of a data set without a root, stays as it is.
        rest = image.removeprefix(PLACEHOLDER)
        root = self.folders.get(data_of(rest.split("/")[0]), "")
        if rest == image or not root:
            return image
        return str(inside(Path(root), rest))

    def check(self, found: set[str]) -> None:
        """Raise UserError for a data set that is neither among those `found` in a file nor known."""
        for name in self.folders:
            if name not in found and name not in DATA_OF.values():
                known = sorted(found | set(DATA_OF.values()))
                raise UserError(f"root_map: no data set is named {name}{did_you_mean(name, known)}")


RECORDS = "records.jsonl"
TRAINING = "reasoningtrack.jsonl"
LeftOut = tuple[int, str]  # number of a record, and why it is not imported


@dataclass(frozen=True)
class Imported:
    """The records of a file with the paths of their images on this machine, and what was left out.

    `missing` are the paths at which there is no image.
    """

    records: tuple[Record, ...]
    left_out: tuple[LeftOut, ...]
    missing: tuple[str, ...]


def read_records(source: Path, roots: Roots) -> Imported:
    """Read a file of records.

    A record that cannot be parsed is left out. Raises UserError where the file holds no list, or no record of
    it can be parsed.
    """
    rows = read_json(source, "give source= a file of ReasoningTrack's records")
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{source}: not a list of records; give source= a file of ReasoningTrack's records")
    records: list[Record] = []
    left_out: list[LeftOut] = []
    # A faulty record is left out with its number and reason, and the others are read.
    for number, row in enumerate(rows):
        try:
            record = record_of(number, row)
            images = tuple(roots.path(image) for image in record.images)
            records.append(dataclasses.replace(record, images=images))
        except UserError as fault:
            left_out.append((number, str(fault)))
    if not records:
        raise UserError(f"{source}: none of {len(rows)} records parses; record 0 {left_out[0][1]}")
    # A misspelt data set in root_map= would leave its paths unchanged without a message.
    roots.check({data_of(sample_of(record)[0]) for record in records})
    missing = tuple(path for record in records for path in record.images if not Path(path).is_file())
    return Imported(tuple(records), tuple(left_out), missing)


def write_records(out: Path, records: tuple[Record, ...], form: str | None = None) -> list[Path]:
    """Write records as JSON lines, and also in the format of a trainer where `form` names one.

    Returns the files. Raises UserError for a format that cannot hold records without boxes.
    """
    texts = {out / RECORDS: _lines_of(_row(record) for record in records)}
    if form is not None:
        exporter = exporter_of(form)
        row_of_turn = exporter.row_of_turn
        if row_of_turn is None:
            raise UserError(f"format={form}: ReasoningTrack's records hold no boxes; give another or none")
        # The records in the form of a trainer, with the files that the trainer needs beside them.
        texts[out / TRAINING] = _lines_of(row_of_turn(_turn(record)) for record in records)
        texts |= {out / name: text for name, text in exporter.side_files(TRAINING).items()}
    for path, text in texts.items():
        write_whole(path, text)
    return list(texts)


def _lines_of(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _row(record: Record) -> dict[str, Any]:
    folder, sample = sample_of(record)
    return {
        "number": record.number,
        "data": data_of(folder),
        "sample": sample,
        "images": list(record.images),
        "instruction": record.instruction,
        "description": record.description,
        "thought": record.thought,
        "changes": record.changes,
        "answer": record.answer,
    }


def _turn(record: Record) -> Turn:
    """A record as a turn, with its texts unchanged."""
    return Turn(record.instruction, record.output, record.images, IMAGE * IMAGES + record.description)
