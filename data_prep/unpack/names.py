"""Which names of an archive's members may be followed.

Python's own guard (`tarfile.data_filter`) mends some names and follows links that lie on the disk. Here
nothing is mended: a name that says anything but a plain place below the folder is refused.
"""

import os
import re

PartsOf = tuple[str, ...]
DRIVE = re.compile(r"[A-Za-z]:")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
DEEPEST = 64  # folders within one another
LONGEST = 255  # bytes in one name, as most file systems have it
SHOWN = 100  # letters of a name that a message holds


class RefusedError(Exception):
    """Why a member is not extracted: words that follow its name, and the name where it is known."""

    def __init__(self, reason: str, name: str = "") -> None:
        super().__init__(reason)
        self.reason, self.name = reason, name


def shown(name: str) -> str:
    """A name on one line, with what cannot be printed escaped, cut where it is long."""
    return repr(name if len(name) <= SHOWN else f"{name[:SHOWN]}…")


def parts_of(name: str) -> PartsOf:
    """The names of the folders on a member's way and its own; empty for the archive's root (`./`).

    Raises RefusedError for names that leave the folder or that some system would read so: absolute ones,
    `..`, backslashes, drives; for control characters (NUL too) and for names no file system takes.
    """
    _check_letters(name, "its name")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise RefusedError("climbs out of its folder ('..')")
    if not parts and "." not in name:
        raise RefusedError("has no name")
    _check_sizes(parts)
    return parts


def check_target(parts: PartsOf, target: str) -> None:
    """Raise RefusedError where a symbolic link at `parts` could lead out of the folder.

    `..` may only stand first: then it climbs folders that are real, since links are never used as
    folders. After a name it could climb from wherever that name, as a link, leads.
    """
    _check_letters(target, "what it links to")
    steps = [step for step in target.split("/") if step not in ("", ".")]
    climbs = next((at for at, step in enumerate(steps) if step != ".."), len(steps))
    if not target or climbs >= len(parts) or ".." in steps[climbs:]:
        raise RefusedError(f"links to {shown(target)}, outside the folder or by a way that cannot be told")
    _check_sizes(tuple(steps))


def _check_letters(name: str, what: str) -> None:
    if CONTROL.search(name):
        raise RefusedError(f"has a control character in {what}")
    if "\\" in name:
        raise RefusedError(f"has a backslash in {what}")
    if name.startswith("/") or DRIVE.match(name):
        raise RefusedError(f"has an absolute path for {what}")


def _check_sizes(parts: PartsOf) -> None:
    if len(parts) > DEEPEST:
        raise RefusedError(f"lies deeper than {DEEPEST} folders")
    try:
        longest = max((len(os.fsencode(part)) for part in parts), default=0)
    except UnicodeEncodeError:
        raise RefusedError("has a name that cannot be written in any encoding") from None
    if longest > LONGEST:
        raise RefusedError(f"has a name of more than {LONGEST} bytes")
