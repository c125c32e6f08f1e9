"""The text files of a workspace, read and written: config.yaml, list.txt, the `sequence` file, the truth."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from configs.errors import UserError
from data_prep.files import inside, read_text, write_whole
from data_prep.geometry import Size
from data_prep.votsr.regions import ABSENT, encode_empty, encode_mask

STACK = "vots2026/referral"  # the stack of the toolkit (its experiments and data) for the referral challenge
PROPERTY = re.compile(r"([A-Za-z0-9_.-]+) *= *(.*)")


def read_properties(path: Path, remedy: str) -> dict[str, str]:
    """The key=value lines of a `sequence` file as the toolkit reads them: the last line of a key counts.

    Each line is stripped, so a value loses the blanks at the end of its line. Lines without key=value are
    ignored. Raises UserError as `read_text` does.
    """
    # Not `splitlines`: a prompt may contain other characters that end a line.
    lines = read_text(path, remedy).split("\n")
    found = (PROPERTY.fullmatch(line.strip()) for line in lines)
    return {match[1]: match[2] for match in found if match}


def read_config(root: Path) -> dict[str, Any]:
    """The config.yaml of a workspace, in which every value is a text, as the toolkit reads it.

    Raises UserError where it does not exist or is not a YAML mapping.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such workspace; check its path, or make one with task=votsr_init")
    return read_yaml(
        root / "config.yaml", "name the folder of a VOTSr workspace, or make one with task=votsr_init"
    )


def read_yaml(path: Path, remedy: str) -> dict[str, Any]:
    """A YAML mapping whose values are texts, lists and mappings. Raises UserError as `read_text` does."""
    text = read_text(path, remedy)
    try:
        # Numbers stay texts, as in the toolkit: a folder may be called 007.
        mapping = yaml.load(text, Loader=yaml.BaseLoader)  # a loader that never makes Python objects
    except (yaml.YAMLError, RecursionError) as fault:  # RecursionError: lists nested a thousand deep
        reason = " ".join(str(fault).split())
        raise UserError(f"{path}: not YAML ({reason}); correct the file") from None
    if not isinstance(mapping, dict):
        raise UserError(f"{path}: not a YAML mapping; write it as key: value lines")
    return mapping


def read_list(sequences: Path) -> tuple[list[str], list[str]]:
    """The names in a list.txt, each once, and a warning for each that is repeated.

    Raises UserError where list.txt does not exist or is empty.
    """
    path = sequences / "list.txt"
    lines = read_text(path, "write the name of a sequence in each line").split("\n")
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise UserError(f"{path}: names no sequence; write the name of a sequence in each line")
    # Counted in the order of the list, which is the order of the results.
    counts = Counter(names)
    again = [name for name, count in counts.items() if count > 1]
    return list(counts), [f"{path}: {name!r} is listed more than once; it is read once" for name in again]


NOT_ANNOTATED = "0"


def write_workspace(root: Path, names: Iterable[str], stack: str = STACK) -> None:
    """Write config.yaml and sequences/list.txt of a workspace whose sequences have these names."""
    config = f"registry:\n- ./trackers.ini\nsequences: sequences\nstack: {stack}\n"
    write_whole(root / "config.yaml", config)
    write_whole(root / "sequences" / "list.txt", "".join(f"{name}\n" for name in names))


def sequence_folder(root: Path, name: str) -> Path:
    """The folder of a sequence in a workspace from `write_workspace`."""
    return inside(root / "sequences", name)


def write_sequence(folder: Path, prompts: Sequence[str], fps: float, **properties: str) -> None:
    """Write the `sequence` file of a sequence whose frames are color/%08d.jpg, unless `properties` says
    otherwise.

    Keys with a dot are given as `**{"channels.color": "color/%08d.png"}`. A prompt that could not be read
    back (with a `;`, a line end, or a blank at the beginning or end of the line) is an AssertionError.
    """
    # The keys that the toolkit writes itself.
    values = {
        "channels.color": "color/%08d.jpg",
        "format": "default",
        "fps": f"{fps:g}",
        "name": folder.name,
        "prompts": ";".join(prompts),
        **properties,
    }
    path = folder / "sequence"
    # Sorted keys, so that equal sequences give equal files.
    write_whole(path, "".join(f"{key}={values[key]}\n" for key in sorted(values)))
    assert read_properties(path, "").get("prompts", "").split(";") == list(prompts), prompts


def write_truth(
    path: Path, masks: Sequence[np.ndarray | None], annotated: Sequence[bool], size: Size
) -> None:
    """Write a truth file with one line for each frame, completely or not at all.

    A frame that is not annotated is never scored. An annotated one without a mask, or with an empty mask
    (height, width), says that the target is absent. `size` is the width and height of the frames.
    """
    pairs = zip(masks, annotated, strict=True)
    lines = [truth_line(mask, size) if known else NOT_ANNOTATED for mask, known in pairs]
    write_whole(path, "".join(f"{line}\n" for line in lines))


def truth_line(mask: np.ndarray | None, size: Size) -> str:
    """The line of an annotated frame. Without a mask, or with an empty one, the target is absent."""
    line = encode_mask(mask)
    return encode_empty(size) if line == ABSENT else line
