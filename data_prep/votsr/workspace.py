"""Reading a VOTSr workspace: the sequences and prompts to track, and one line for each that cannot
be tracked.
"""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import UserError
from data_prep.files import inside
from data_prep.sequence import Sequence
from data_prep.votsr.channels import find_frames, same_size
from data_prep.votsr.results import prompt_hash
from data_prep.votsr.textfiles import STACK, read_config, read_list, read_properties

LONGEST_NAME = 255 - len("_01234567.json")  # bytes: file systems allow names of 255
FPS = 30.0  # what the toolkit assumes where a sequence does not say


@dataclass(frozen=True)
class Problem:
    """A prompt, or a whole sequence (`prompt` is None), that cannot be tracked; `reason` names the remedy."""

    sequence: str
    prompt: str | None
    reason: str


@dataclass(frozen=True)
class Workspace:
    """A workspace: its sequences with the prompts that can be tracked, and the faults that were found.

    The `expressions` of a sequence are the prompts of its file in order, without those that have a problem.
    The unchanged line is in `metadata["prompts"]`.
    """

    root: Path
    stack: str
    sequences: tuple[Sequence, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]


def read_workspace(path: Path, check_frames: bool = True) -> Workspace:
    """Read a VOTSr workspace. A sequence or prompt with a fault becomes a problem, and the others are used.

    `check_frames` reads the header of every frame (40 microseconds each), so that a frame of another size is
    found before tracking and not hours later. Raises UserError where there is no workspace, config.yaml or
    list.txt.
    """
    # 1. Which sequences: the folder from config.yaml, and the names from its list.txt.
    config = read_config(path)
    folder = path / _sequences_folder(path, config)
    names, warnings = read_list(folder)
    # 2. Each sequence by itself, so that a fault of one does not hide the others.
    sequences: list[Sequence] = []
    problems: list[Problem] = []
    for name in names:
        # Until its prompts are known, a fault concerns the whole sequence; afterwards each of its prompts.
        known: list[str | None] = [None]
        try:
            home = _home(folder, name)
            properties, every = _read_prompts(home, name)
            known = list(dict.fromkeys(every))
            sequence, faults, notes = _read_sequence(home, name, properties, every, check_frames)
        except UserError as fault:
            problems += [Problem(name, prompt, str(fault)) for prompt in known]
            continue
        sequences += [sequence] if sequence.expressions else []
        problems += faults
        warnings += notes
    # 3. The stack, which only matters for packing.
    stack = config.get("stack")
    if not isinstance(stack, str):
        stack = STACK
        warnings.append(f"{path / 'config.yaml'}: names no stack; {STACK} is used")
    return Workspace(path, stack, tuple(sequences), tuple(problems), tuple(warnings))


def _sequences_folder(root: Path, config: dict[str, Any]) -> str:
    """The folder of sequences that config.yaml names. Raises UserError where it names none."""
    folder = config.get("sequences") or "sequences"
    if not isinstance(folder, str):
        kind = "a list" if isinstance(folder, list) else "a mapping"
        raise UserError(
            f"{root / 'config.yaml'}: sequences: is {kind}; write the name of one folder, as in "
            "sequences: sequences (that folder's list.txt names the sequences)"
        )
    return folder


def split_prompts(text: str) -> list[str]:
    """The prompts of a `prompts=` line, split at each `;`. Blanks are kept, since result files are
    named by hashes.
    """
    return text.split(";")


def _read_prompts(home: Path, name: str) -> tuple[dict[str, str], list[str]]:
    """The properties of a `sequence` file, and its prompts. Raises UserError where it has none."""
    path = home / "sequence"
    properties = read_properties(path, f"restore it, or take {name!r} off list.txt")
    every = split_prompts(properties.get("prompts", ""))
    if not any(map(str.strip, every)):
        raise UserError(f"{path}: no prompts; add a line like prompts=the red cup;the cup on the left")
    return properties, every


def _read_sequence(
    home: Path, name: str, properties: dict[str, str], every: list[str], check_frames: bool
) -> tuple[Sequence, list[Problem], list[str]]:
    """A sequence, the problems of single prompts, and warnings. Raises UserError where it cannot be read."""
    path = home / "sequence"
    try:
        paths, warnings = find_frames(home, properties)
        frames = same_size(paths, check_frames)
    except OSError as fault:
        raise UserError(f"{home}: cannot be read ({fault.strerror}); check the folder") from None
    problems = _clashes(path, name, every)
    # Prompts with a problem are left out; the others can be tracked.
    bad = {problem.prompt for problem in problems}
    prompts = tuple(prompt for prompt in every if prompt not in bad)
    fps, doubts = _frame_rate(path, properties)
    warnings += doubts + _empty_prompts(path, every) + _other_size(path, properties, frames.size)
    return Sequence(name, frames, prompts, fps, home, properties), problems, warnings


def _home(folder: Path, name: str) -> Path:
    """The folder of a sequence. Raises UserError where its name is not a plain name of a folder in
    `folder`.
    """
    listed = folder / "list.txt"
    try:
        home = inside(folder, name)
    except UserError:
        raise UserError(f"{listed}: the name {name!r} leaves its folder; name a folder beside it") from None
    if home.name != name or "%" in name:  # the toolkit inserts the number of the frame into whole paths
        raise UserError(f"{listed}: {name!r} is no plain name; rename the sequence without '/' or '%'")
    if (length := len(os.fsencode(name))) > LONGEST_NAME:
        raise UserError(
            f"{listed}: {name[:20]!r}… has {length} bytes, and result files are named after it; rename the "
            f"sequence to at most {LONGEST_NAME} bytes"
        )
    return home


def _clashes(path: Path, name: str, prompts: list[str]) -> list[Problem]:
    """A problem for each prompt that has the same hash, and so the same result file, as another one.

    Blank prompts may share a file, since all of them are written as absent.
    """
    # Eight characters of an MD5: different prompts may have the same hash, and repeated prompts always do.
    sharing = defaultdict(list)
    for prompt in filter(str.strip, prompts):
        sharing[prompt_hash(prompt)].append(prompt)
    problems = []
    for digest, group in sharing.items():
        if len(group) > 1:
            message = " and ".join(repr(prompt) for prompt in group)
            reason = f"{path}: the prompts {message} share the hash {digest} and so a result file; change one"
            problems += [Problem(name, prompt, reason) for prompt in dict.fromkeys(group)]
    return problems


def _empty_prompts(path: Path, prompts: list[str]) -> list[str]:
    if all(map(str.strip, prompts)):
        return []
    return [f"{path}: prompts= holds an empty prompt (a stray ';'); it is written as absent in every frame"]


def _frame_rate(path: Path, properties: dict[str, str]) -> tuple[float, list[str]]:
    """Frames per second, and a warning where the value of the file is not a frame rate."""
    text = properties.get("fps", str(FPS))
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if 0 < rate < float("inf"):
        return rate, []
    return FPS, [f"{path}: fps={text} is not a frame rate; {FPS:g} is used"]


def _other_size(path: Path, properties: dict[str, str], size: tuple[int, int]) -> list[str]:
    """A warning where width= and height= are not those of the frames: the toolkit scores in this size."""
    # Both are optional, but only count together.
    width, height = properties.get("width", ""), properties.get("height", "")
    if not (width and height) or [width, height] == [str(side) for side in size]:
        return []
    return [f"{path}: width={width} height={height}, but the frames are {size[0]}x{size[1]}; correct it"]
