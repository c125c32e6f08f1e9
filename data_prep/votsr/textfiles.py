"""The text files of a workspace: config.yaml, list.txt, and the `sequence` file of key=value lines."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from configs.errors import UserError
from data_prep.files import read_text

PROPERTY = re.compile(r"([A-Za-z0-9_.-]+) *= *(.*)")


def read_properties(path: Path, mend: str) -> dict[str, str]:
    """The key=value lines of a `sequence` file as the toolkit takes them: the last of a key counts.

    A line is stripped as a whole, so a value keeps its inner blanks but not those at the end of the
    line; lines that are no key=value are passed over. Raises UserError as `read_text` does.
    """
    lines = read_text(path, mend).split("\n")
    found = (PROPERTY.fullmatch(line.strip()) for line in lines)
    return {match[1]: match[2] for match in found if match}


def read_config(root: Path) -> dict[str, Any]:
    """The config.yaml of a workspace; every value a text, as the toolkit reads it.

    Raises UserError where there is none or it is not a YAML mapping.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such workspace; check its path, or make one with task=votsr_init")
    return read_yaml(
        root / "config.yaml", "name the folder of a VOTSr workspace, or make one with task=votsr_init"
    )


def read_yaml(path: Path, mend: str) -> dict[str, Any]:
    """A YAML mapping whose values are texts, lists and mappings. Raises UserError as `read_text` does."""
    text = read_text(path, mend)
    try:
        mapping = yaml.load(text, Loader=yaml.BaseLoader)  # makes no objects
    except (yaml.YAMLError, RecursionError) as fault:  # the latter: lists in lists, a thousand deep
        reason = " ".join(str(fault).split())
        raise UserError(f"{path}: not YAML ({reason}); mend the file") from None
    if not isinstance(mapping, dict):
        raise UserError(f"{path}: not a YAML mapping; write it as key: value lines")
    return mapping


def read_list(sequences: Path) -> tuple[list[str], list[str]]:
    """The names in a list.txt, each once, and a warning for each that stands there again.

    Raises UserError where there is no list.txt or it names nothing.
    """
    path = sequences / "list.txt"
    lines = read_text(path, "write the name of a sequence in each line").split("\n")
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise UserError(f"{path}: names no sequence; write the name of a sequence in each line")
    counts = Counter(names)
    again = [name for name, count in counts.items() if count > 1]
    return list(counts), [f"{path}: {name!r} is listed more than once; it is read once" for name in again]
