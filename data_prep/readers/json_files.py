"""JSON files of data sets, and the parts of them that a reader counts on."""

import json
from pathlib import Path
from typing import Any, TypeVar

from configs.errors import UserError
from data_prep.files import read_text

LARGEST_JSON = 1 << 30  # bytes: the largest files of data sets have hundreds of megabytes
MEND = "restore it from the data set"
Kind = TypeVar("Kind")


def read_json(path: Path, mend: str = MEND) -> Any:
    """What a JSON file holds. Raises UserError, which ends in `mend`, where it is missing or damaged."""
    try:
        return json.loads(read_text(path, mend, LARGEST_JSON))
    except RecursionError:
        raise UserError(f"{path}: JSON that is nested too deep; {mend}") from None
    except ValueError as fault:
        raise UserError(f"{path}: not JSON ({fault}); {mend}") from None


def part(record: Any, key: str, kind: type[Kind], path: Path, owner: str) -> Kind:
    """The value of `key` in a record of a file.

    Raises UserError, which names the record's `owner`, where it is missing or of another kind.
    """
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, kind):
        raise UserError(f"{path}: {owner} has no {key!r} as the data set has it; {MEND}")
    return value
