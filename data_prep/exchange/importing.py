"""Reading ReasoningTrack's records into this project's JSON lines, and into a trainer's form."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import UserError
from data_prep.exchange.forms import IMAGE, INFO, LLAMAFACTORY_INFO, Turn, dataset_info, line_of, row_of
from data_prep.exchange.reasoningtrack import IMAGES, Record, record_of, sample_of
from data_prep.exchange.roots import Roots, data_of
from data_prep.files import write_whole
from data_prep.readers.json_files import read_json

RECORDS = "records.jsonl"
TRAINING = "reasoningtrack.jsonl"
LeftOut = tuple[int, str]  # number of a record, and why it is not imported


@dataclass(frozen=True)
class Imported:
    """Records of a file with their pictures' paths as they are here, and what was left out.

    `missing` are paths at which no picture lies.
    """

    records: tuple[Record, ...]
    left_out: tuple[LeftOut, ...]
    missing: tuple[str, ...]


def read_records(source: Path, roots: Roots) -> Imported:
    """Read a file of records. Raises UserError where it is none, or no record of it parses."""
    rows = read_json(source, "give source= a file of ReasoningTrack's records")
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{source}: not a list of records; give source= a file of ReasoningTrack's records")
    records: list[Record] = []
    left_out: list[LeftOut] = []
    for number, row in enumerate(rows):
        try:
            record = record_of(number, row)
            images = tuple(roots.path(image) for image in record.images)
            records.append(dataclasses.replace(record, images=images))
        except UserError as fault:
            left_out.append((number, str(fault)))
    if not records:
        raise UserError(f"{source}: none of {len(rows)} records parses; record 0 {left_out[0][1]}")
    roots.check({data_of(sample_of(record)[0]) for record in records})
    missing = tuple(path for record in records for path in record.images if not Path(path).is_file())
    return Imported(tuple(records), tuple(left_out), missing)


def write_records(out: Path, records: tuple[Record, ...], form: str | None = None) -> list[Path]:
    """Write records as JSON lines, and in a trainer's form if one is named; the files."""
    texts = {out / RECORDS: "".join(line_of(_line(record)) for record in records)}
    if form is not None:
        texts[out / TRAINING] = "".join(line_of(row_of(_turn(record), form)) for record in records)
    if form in INFO:
        texts[out / LLAMAFACTORY_INFO] = dataset_info(form, TRAINING)
    for path, text in texts.items():
        write_whole(path, text)
    return list(texts)


def _line(record: Record) -> dict[str, Any]:
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
    """A record as it was, its texts unchanged."""
    return Turn(record.instruction, record.output, record.images, IMAGE * IMAGES + record.description)
