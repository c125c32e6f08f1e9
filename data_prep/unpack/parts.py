"""The parts of an archive: which files they are, in which order, and whether one is missing.

`split` (https://www.gnu.org/software/coreutils/split) names parts by letters (`part_aa`, `part_ab`, ...;
after `part_yz` comes `part_zaaa`) or, with `-d`, by numbers (00, 01, ...; after 89 comes 9000). Other
programs number them from 0 or 1, padded or not.
"""

import re
from itertools import pairwise
from pathlib import Path
from string import ascii_lowercase as small
from string import ascii_uppercase as large
from string import digits

from configs.errors import UserError

ALONE = re.compile(
    r"part[_.-]([a-z]{2})$|part[_.-]?(\d+)$|\.(\d{3})$"
)  # a single file whose name says that it is a part
AGAIN = "get what is missing from the data set's page"


def find_parts(pattern: str) -> list[Path]:
    """The files that match a pattern (`TNLLT_part_*`) or have a plain name, in the order to join them.

    Only the last part of the path may contain `*`, `?` and `[...]`. Raises UserError where there is no file,
    one is empty or not a file, or the names are not a series without a gap.
    """
    path = Path(pattern)
    try:
        found = [path] if path.is_file() or not path.name else list(path.parent.glob(path.name))
    except (OSError, ValueError) as fault:  # names that are too long, `**`
        raise UserError(f"archive={pattern}: cannot be looked for ({fault}); correct it") from None
    if not found:
        raise UserError(f"archive={pattern}: no such file; give the parts' names, as archive='TNLLT_part_*'")
    for path in found:
        if not path.is_file() or not path.stat().st_size:
            raise UserError(f"{path}: {'is empty' if path.is_file() else 'is no file'}; {AGAIN}")
    by_name = {path.name: path for path in found}
    return [by_name[name] for name in in_order(list(by_name), pattern)]


def in_order(names: list[str], pattern: str) -> list[str]:
    """Names of parts in their order. Raises UserError where they are not a series or one is missing."""
    # A single file is a complete archive, unless its name says that it is a part.
    if len(names) == 1:
        alone = ALONE.search(names[0])
        mark = next(filter(None, alone.groups())) if alone else ""
        series = {mark: names[0]} if mark else {}
        alphabet = digits if mark.isdigit() else small
    else:
        # Several files must be a series in one alphabet: digits, small or capital letters.
        found = ((_series(names, letters), letters) for letters in (digits, small, large))
        series, alphabet = next(((one, letters) for one, letters in found if one), ({}, ""))
        if not series:
            raise UserError(
                f"archive={pattern}: matches {min(names)} and others that are not parts in a row; "
                "give a pattern that only the parts match"
            )
    marks = sorted(series, key=lambda mark: (int(mark) if alphabet == digits else 0, mark))
    if marks:
        _check_gaps(marks, series, alphabet)
    return [series[mark] for mark in marks] or names


def _series(names: list[str], alphabet: str) -> dict[str, str]:
    """Names by their mark, the only part in which they differ, if all marks consist of `alphabet`;
    else empty.
    """
    # The names share a beginning and an end; what differs between is the mark.
    common = _common_start(names)
    start = len(common.rstrip(alphabet))
    if alphabet != digits and not (start and not common[start - 1].isalnum()):
        start = max(
            start, min(len(common), min(map(len, names)) - 2)
        )  # as in `xaa`, whose prefix is not separated from the mark
    after = _common_start([name[::-1] for name in names])[::-1].lstrip(alphabet)
    marks = [name[start : len(name) - len(after)] for name in names]
    is_series = all(mark and set(mark) <= set(alphabet) for mark in marks) and len(set(marks)) == len(marks)
    return dict(zip(marks, names, strict=True)) if is_series else {}


def _common_start(names: list[str]) -> str:
    first, last = min(names), max(names)
    return first[
        : next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    ]


def _check_gaps(marks: list[str], series: dict[str, str], alphabet: str) -> None:
    first = marks[0]
    if not (int(first) in (0, 1) if alphabet == digits else set(first) == {alphabet[0]}):
        raise UserError(f"{series[first]}: is the first part found, and parts before it are missing; {AGAIN}")
    # Each mark must be a successor of the one before.
    for mark, after in pairwise(marks):
        wanted = _successors(mark, alphabet)
        if after not in wanted:
            raise UserError(
                f"{series[after]}: follows {series[mark]}, part {wanted[0]!r} is missing; {AGAIN}"
            )


def _successors(mark: str, alphabet: str) -> tuple[str, ...]:
    """The marks that may follow a mark: the next one, padded or not, and the next longer one of `split`."""
    low, high = alphabet[0], alphabet[-1]
    # Add one: the last letter that is not the highest is raised, and those behind it start again.
    kept = mark.rstrip(high)
    if not kept:
        return ("1" + "0" * len(mark) if alphabet == digits else low * (len(mark) + 1),)
    plain = kept[:-1] + alphabet[alphabet.index(kept[-1]) + 1] + low * (len(mark) - len(kept))
    nines = len(mark) // 2 - 1  # how often the last letter (z, or 9) is repeated before the mark grows
    last_of_length = nines >= 0 and mark == high * nines + alphabet[-2] + high * (nines + 1)
    return (plain, plain + low * 2) if last_of_length else (plain,)
