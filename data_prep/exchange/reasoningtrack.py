"""ReasoningTrack's records: two frames, a description of a target, and how the description should change.

A JSON list of `instruction`, `input`, `output`, `images` (https://github.com/Event-AHU/Open_VLTrack,
ReasoningTrack/Supervise fine-tuning). The output is `<think>…</think><d>yes|no</d><answer>…</answer>`: a
thought, whether the description changes, and the one to go on with. There are no boxes.
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from configs.errors import UserError
from data_prep.exchange.forms import IMAGE

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
