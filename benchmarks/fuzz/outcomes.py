"""The outcome of commands as named values, so that two runs can be compared."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from configs.errors import UserError
from data_prep.index.store import Index

Outcome = dict[str, str]  # value by name; the name of a part stands before the first slash
SUMMED = (
    "referral_accuracy",
    "iou_when_present",
    "absent_precision",
    "absent_recall",
    "sequences",
    "written",
)


def files(root: Path, pattern: str, skip: int = 0) -> Outcome:
    """Hashes of the files below `root`, by their paths without the first `skip` folders."""
    found = [path for path in sorted(root.glob(pattern)) if path.is_file()] if root.is_dir() else []
    return {"/".join(path.relative_to(root).parts[skip:]): _sum(path.read_bytes()) for path in found}


def lines_of(root: Path, pattern: str, skip: int = 0) -> Outcome:
    """As `files`, for text files in which blanks at the ends of lines have no meaning."""
    found = [path for path in sorted(root.glob(pattern)) if path.is_file()] if root.is_dir() else []
    texts = {"/".join(path.relative_to(root).parts[skip:]): path.read_bytes() for path in found}
    return {name: _sum(*(line.strip() + b"\n" for line in text.splitlines())) for name, text in texts.items()}


def line_counts(root: Path, pattern: str) -> Outcome:
    """The number of lines of files, by their names."""
    return {path.name: str(len(path.read_text().splitlines())) for path in sorted(root.glob(pattern))}


def scores(out: Path, name: str = "scores.json") -> Outcome:
    """The scores of an evaluation by tracker, or the figures of the summary of a run."""
    path = out / name
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text())
    if name == "summary.json":
        content = {key: content.get(key) for key in SUMMED}
    # A slash after the name, which makes it the name of a part.
    return {f"{key}/": json.dumps(value, sort_keys=True) for key, value in content.items()}


def index_rows(path: Path) -> Outcome:
    """Hashes of the sequences of an index: number of frames, expressions and boxes."""
    if not path.is_file():
        return {}
    try:
        index = Index(path)
    except UserError:
        # A damaged index has no rows. Its command reports the damage.
        return {}
    return dict(_row(index, number) for number in range(len(index)))


def _row(index: Index, number: int) -> tuple[str, str]:
    sequence = index.sequence(number)
    assert sequence.truth is not None
    # The bytes of the arrays: NaN is not equal to NaN as a number.
    numbers = (sequence.truth.boxes_xywh.tobytes(), sequence.truth.present.tobytes())
    words = json.dumps([sequence.expressions, len(sequence.frames)])
    return f"{sequence.name}/", _sum(words.encode(), *numbers)


def weight_sums(folder: Path) -> Outcome:
    """Hashes of all weights of a checkpoint, as float32."""
    found: Outcome = {}
    for path in sorted(folder.glob("*.safetensors")) if folder.is_dir() else ():
        for name, tensor in load_file(path).items():
            # As float32, so that the number format of the file does not count.
            # NumPy has no bfloat16 either.
            found[name] = _sum(np.ascontiguousarray(tensor.to(torch.float32).numpy()).tobytes())
    return found


def _sum(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]
