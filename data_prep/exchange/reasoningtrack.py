"""ReasoningTrack's records: two frames, a description of a target, and how the description should change.

A JSON list of `instruction`, `input`, `output`, `images` (https://github.com/Event-AHU/Open_VLTrack,
ReasoningTrack/Supervise fine-tuning). The output is `<think>…</think><d>yes|no</d><answer>…</answer>`: a
thought, whether the description changes, and the one to go on with. There are no boxes.


Where the pictures of ReasoningTrack's records lie: what its script `transforme_json` does, by data set.

Published paths begin with a stand-in for the folder in which each data set's samples were unpacked.


Reading ReasoningTrack's records into this project's JSON lines, and into a trainer's form.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from configs.errors import UserError, did_you_mean
from data_prep.exchange.forms import IMAGE, INFO, LLAMAFACTORY_INFO, Turn, dataset_info, line_of, row_of
from data_prep.files import inside, write_whole
from data_prep.readers.meta_expressions import read_json

IMAGES = 2
THINK, THOUGHT = "<think>", "</think>"
DECISION = re.compile(r"\s*<d>\s*(yes|no)\s*</d>\s*")
ANSWER, ANSWERED = "<answer>", "</answer>"


@dataclass(frozen=True)
class Record:
    """One record; `number` counts from 0 in its file.

    `description` is what the target was called before, `answer` what it is called from now on; `changes`
    says whether the record means them to differ. `output` is the whole text of the three.
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
    """A record of a file's row. Raises UserError, which says why, where it does not parse."""
    instruction, query, output = (_text(row, key) for key in ("instruction", "input", "output"))
    images = row.get("images")
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise UserError("its images are no list of paths")
    tags = (instruction + query + output).count(IMAGE)
    if len(images) != IMAGES or tags != IMAGES or not query.startswith(IMAGE * IMAGES):
        raise UserError(f"has {len(images)} images and {tags} {IMAGE}; {IMAGES} of each, first in its input")
    description = query.removeprefix(IMAGE * IMAGES)
    if not description.strip():
        raise UserError("its description is empty")
    thought, changes, answer = parts_of(output)
    return Record(number, tuple(images), instruction, description, thought, changes, answer, output)


def _text(row: Any, key: str) -> str:
    value = row.get(key) if isinstance(row, dict) else None
    if not isinstance(value, str):
        raise UserError(f"has no text {key!r}")
    return value


def parts_of(output: str) -> tuple[str, bool, str]:
    """Thought, decision and answer of an output. Raises UserError where they do not stand there, closed.

    Thoughts speak of the tags too, so the decision is looked for behind the thought's end.
    """
    thought, end, rest = output.strip().rpartition(THOUGHT)
    if not end or not thought.startswith(THINK):
        raise UserError(f"does not begin with a thought between {THINK} and {THOUGHT}")
    decision = DECISION.match(rest)
    if decision is None:
        raise UserError(f"has no <d>yes</d> or <d>no</d> behind {THOUGHT}")
    said = rest[decision.end() :]
    for tag, count in ((ANSWER, said.count(ANSWER)), (ANSWERED, said.count(ANSWERED))):
        if count != 1:
            raise UserError(f"has {count} {tag} behind <d>, not one")
    if not said.startswith(ANSWER) or not said.endswith(ANSWERED):
        raise UserError(f"has text outside {ANSWER} and {ANSWERED}")
    answer = said[len(ANSWER) : -len(ANSWERED)].strip()
    if not answer:
        raise UserError("its answer is empty")
    return thought.removeprefix(THINK).strip(), decision[1] == "yes", answer


def sample_of(record: Record) -> tuple[str, str]:
    """Folder of the data set and folder of the sample in a record's paths; empty where they have none."""
    parts = ("", "", *PurePosixPath(record.images[0]).parts[:-1])
    return parts[-2].strip("/"), parts[-1].strip("/")


STAND_IN = "/your_root_path/"
DATA_OF = {
    "GOT-10k_RLsamples": "got10k",
    "sampled_data_fromLaSOT": "lasot",
    "OTB_RLsamples": "otb99",
    "RLsampled_data_fromTNL2k": "tnl2k",
    "sampled_data2": "tnllt",
}
"""Data sets by the folder of their samples."""


def data_of(folder: str) -> str:
    """The name of a data set by the folder of its samples; of another folder, the folder's own."""
    return DATA_OF.get(folder, folder)


@dataclass(frozen=True)
class Roots:
    """By data set, what stands in place of the stand-in. Paths that do not begin with it stay as they are."""

    folders: Mapping[str, str]

    def path(self, image: str) -> str:
        """The path of a picture; raises UserError for one that would leave its root."""
        rest = image.removeprefix(STAND_IN)
        root = self.folders.get(data_of(rest.split("/")[0]), "")
        if rest == image or not root:
            return image
        return str(inside(Path(root), rest))

    def check(self, found: set[str]) -> None:
        """Raise UserError for a name that is neither among those `found` nor known at all."""
        for name in self.folders:
            if name not in found and name not in DATA_OF.values():
                known = sorted(found | set(DATA_OF.values()))
                raise UserError(f"root_map: no data set is named {name}{did_you_mean(name, known)}")


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
