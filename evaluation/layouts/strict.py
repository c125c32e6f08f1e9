"""A slow parser for one text file of numbers, which says which lines are invalid and why.

A file has one separator: a comma, a tab, or spaces. A number is anything that Python's `float` accepts, with
NaN and infinity but without underscores.
"""

import re
from dataclasses import dataclass

import numpy as np

# Not `str.splitlines`, which also splits at form feeds and at line separators of Unicode.
LINE_END = re.compile(r"\r\n|\r|\n")
SEPARATORS = {",": "commas", "\t": "tabs", " ": "blanks"}


@dataclass(frozen=True, eq=False)
class Rows:
    """The N rows of a file, float64 (width, N), NaN where a line is invalid, and those lines (from 1) with
    reasons.
    """

    values: np.ndarray
    wrong: tuple[tuple[int, str], ...] = ()


def parse_strictly(data: bytes, width: int) -> Rows:
    """Parse a file with `width` numbers on each line. Blank lines at the end are ignored."""
    # Bytes that are not UTF-8 become surrogates, so only the lines that hold them are wrong.
    text = data.decode("utf-8-sig", "surrogateescape").rstrip()
    lines = LINE_END.split(text) if text else []
    separator = _separator(lines, width)
    rows, wrong = np.full((len(lines), width), np.nan), []
    for index, line in enumerate(lines):
        numbers = _numbers(line, separator)
        if numbers is not None and len(numbers) == width:
            rows[index] = numbers
        else:
            wrong.append((index + 1, _reason(line, separator, width)))
    return Rows(rows.T, tuple(wrong))


def _separator(lines: list[str], width: int) -> str:
    """The separator of the first line that can be parsed; a comma if there is none."""
    # An invalid first line must not decide which separator the file has.
    for line in lines:
        for separator in SEPARATORS:
            numbers = _numbers(line, separator)
            if numbers is not None and len(numbers) == width:
                return separator
    return ","


def _numbers(line: str, separator: str) -> list[float] | None:
    """The numbers of a line; None where it contains anything else."""
    # Blanks may be repeated, as in aligned columns. Two commas or tabs have an empty field between them.
    parts = line.split() if separator == " " else line.split(separator)
    try:
        return None if "_" in line else [float(part) for part in parts]
    except ValueError:
        return None


def _reason(line: str, separator: str, width: int) -> str:
    """Why a line could not be parsed."""
    # `surrogateescape` maps the bytes 0x80 to 0xff to these characters.
    if any("\udc80" <= letter <= "\udcff" for letter in line):
        return "is not UTF-8 text"
    kind = {1: "number", 4: "box of four numbers"}.get(width, f"row of {width} numbers")
    fault = f"is no {kind} ({line.strip()[:40]!r})"
    for other, name in SEPARATORS.items():
        numbers = _numbers(line, other)
        if numbers is not None and len(numbers) == width:
            return f"{fault}: {name} where another line has {SEPARATORS[separator]}"
    return fault
