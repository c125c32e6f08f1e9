"""Checks of commands that ran on mutated files. Each function yields a line for every fault that it finds.

`check_exit` and `check_output` look at the exit status and the output, `check_written`, `check_json` and
`check_results` at the files, and `check_outcome` compares results.
"""

import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.fuzz.oracles import Meaning, fits
from benchmarks.fuzz.outcomes import Outcome
from benchmarks.fuzz.worker import CommandResult

# An exception that was printed without a traceback: its name at the beginning of a line.
UNCAUGHT = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt)\b(?=:|$)", re.MULTILINE)
# Control characters but tab and LF, and bidirectional embeddings, overrides and isolates.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
# Words by which a command reports a problem with its input.
TOLD = re.compile(
    r"\b(warning|note|left out|failed|broken|doubtful|missing|cannot|unfinished|not in|damaged|without)\b",
    re.I,
)
# A line that explains a nonzero exit status.
REFUSED = re.compile(r"^(error: |failed: |warning: |.*\b[1-9]\d* broken\b|not packed)", re.MULTILINE)
NUMBER = re.compile(r"\d+(?:[.:]\d+)*")
STATUSES = (0, 1, 2)
Listing = dict[str, tuple[int, int, int, str]]  # by path: mode, size, time, and the target of a link


def list_tree(root: Path) -> Listing:
    """List everything below a folder. Links are not followed."""
    found: Listing = {}
    for folder, names, others in os.walk(root):
        for name in (*names, *others):
            path = os.path.join(folder, name)  # noqa: PTH118
            state = os.lstat(path)
            # The size and time of a folder change whenever a file is written in it.
            whole = (state.st_size, state.st_mtime_ns) if not stat.S_ISDIR(state.st_mode) else (0, 0)
            link = os.readlink(path) if stat.S_ISLNK(state.st_mode) else ""  # noqa: PTH115
            found[os.path.relpath(path, root)] = (state.st_mode, *whole, link)
    return found


def check_exit(ended: CommandResult) -> Iterator[str]:
    """No timeout, no signal, no uncaught exception, a documented exit status, and an error of one line."""
    # 1. How the process ended.
    if ended.late:
        yield f"did not end within {ended.seconds:.0f} s"
    elif ended.signal:
        yield f"ended by signal {ended.signal}"
    error, output = _text(ended.stderr), _text(ended.stdout)
    # 2. Exceptions that were printed, also by a library that catches its own.
    for text in (error, output):
        if "Traceback (most recent call last)" in text:
            yield "a traceback"
        elif found := UNCAUGHT.search(text):
            yield f"an exception's name begins a line: {found[0]}"
    # 3. The exit status, and the line that explains it.
    if not ended.late and not ended.signal and ended.status not in STATUSES:
        yield f"exit status {ended.status}"
    if ended.status in (1, 2) and not REFUSED.search(f"{error}\n{output}"):
        yield f"exit status {ended.status} without a line that says why"
    yield from _one_line(error)


def _one_line(error: str) -> Iterator[str]:
    """After an error on stderr there are only further errors, notes and warnings."""
    # Progress and warnings may come before the error; nothing but further errors may follow it.
    lines = error.splitlines()
    first = next((number for number, line in enumerate(lines) if line.startswith("error: ")), len(lines))
    for line in lines[first:]:
        if line and not line.startswith(("error: ", "note: ", "warning: ")):
            yield f"an error of more than one line, the next is {line[:80]!r}"
            return


def check_output(ended: CommandResult) -> Iterator[str]:
    """The output is UTF-8 without control characters, and no line is so long that it fills a terminal."""
    for name, content in (("stdout", ended.stdout), ("stderr", ended.stderr)):
        try:
            text = content.decode()
        except UnicodeDecodeError:
            yield f"{name} is not UTF-8"
            continue
        if found := CONTROL.search(text):
            around = text[max(0, found.start() - 30) : found.end() + 30]
            yield f"{name} holds a control character: {around!r}"
        # Rounded down to multiples of 5,000, so that the message does not depend on a few characters.
        if longest := max(map(len, text.splitlines()), default=0) // 5000:
            yield f"{name} holds a line of more than {longest * 5000} letters"


def check_written(before: Listing, after: Listing, written: tuple[str, ...]) -> Iterator[str]:
    """Only paths that match the patterns `written` are new, changed or gone. No unfinished file is left."""
    for path in sorted(before.keys() | after.keys()):
        # Files are written under a temporary name and renamed when they are complete.
        if ".part-" in path and path not in before:
            yield f"left unfinished: {path!r}"
        elif before.get(path) != after.get(path) and not any(fnmatch(path, pattern) for pattern in written):
            done = "changed" if path in before and path in after else "new" if path in after else "gone"
            yield f"{done} outside of what is written: {path!r}"


def check_json(root: Path) -> Iterator[str]:
    """JSON files are standard JSON, without NaN and Infinity."""
    for path in sorted(root.rglob("*.json")):
        try:
            # Python writes and reads NaN and Infinity, which other JSON parsers refuse.
            json.loads(path.read_text(), parse_constant=_no_constant)
        except (OSError, ValueError) as fault:
            yield f"{path.relative_to(root)} is no JSON: {fault}"


def check_results(root: Path) -> Iterator[str]:
    """Result files have one valid mask for each frame, and their last line is complete."""
    for path in sorted((*root.glob("out/masks/*.txt"), *root.glob("input/*/results/new/baseline/*/*.txt"))):
        lines = path.read_bytes().split(b"\n")
        # A complete file ends with LF, so the last part is empty. An empty file is that part alone.
        if lines[-1] != b"" or len(lines) == 1 or not all(map(fits, lines[:-1])):
            yield f"{path.relative_to(root)} is no whole result"


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


@dataclass(frozen=True)
class Comparison:
    """The outcome of commands on mutated files (`found`) beside that without mutations (`plain`).

    `meaning` is the worst of the mutated files. `parts` are the parts that were mutated, None if a mutation
    may affect all of them. `is_reported` is whether the commands reported a problem.
    """

    plain: Outcome
    found: Outcome
    meaning: Meaning
    parts: frozenset[str] | None
    is_reported: bool


def check_outcome(compared: Comparison) -> Iterator[str]:
    """Results are those without the mutation, or the commands reported it. Other parts are not affected."""
    # 1. Parts that were not mutated keep their results, whatever else happens.
    for name, value in compared.plain.items():
        if compared.parts is not None and name.partition("/")[0] not in compared.parts:
            if name not in compared.found:
                yield f"{name}: a result is lost by a mutation elsewhere"
            elif compared.found[name] != value:
                yield f"{name}: another result by a mutation elsewhere"
    # 2. Mutated parts may differ if the files mean something else now, or if a problem was reported.
    #    A result under a new name, as after renaming the folder of a tracker, is the same result.
    renamed = {value for name, value in compared.found.items() if name not in compared.plain}
    differing = [
        name
        for name, value in compared.plain.items()
        if compared.found.get(name) != value and not (name not in compared.found and value in renamed)
    ]
    if compared.is_reported or compared.meaning is Meaning.OTHER or not differing:
        return
    yield f"without a word, results differ ({compared.meaning.value} meaning): {', '.join(differing[:3])}"


def is_reported(ended: CommandResult, plain: CommandResult) -> bool:
    """Whether the commands report a problem that they do not report without the mutation."""
    # A nonzero status is a report by itself: `check_exit` requires a line that explains it.
    if ended.status != 0:
        return True
    known = _tellings(plain)
    return any(line not in known for line in _tellings(ended))


def _tellings(ended: CommandResult) -> set[str]:
    # In tables, numbers differ from run to run (times, for one), so they are compared without them.
    lines = f"{_text(ended.stdout)}\n{_text(ended.stderr)}".splitlines()
    return {NUMBER.sub("#", line) if "|" in line else line for line in lines if TOLD.search(line)}


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")
