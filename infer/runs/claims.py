"""Claims of folders: whose results a folder holds, which runs work there, and who tracks which sequence.

    claim = claim_results(folder, fingerprint, overwrite=False)
    with claim:
        with claim.sequence("ball") as is_mine: ...

After a kill, the next run that is alone in the folder removes the lock files and the
half-written `.part-*` files that were left.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from configs.errors import UserError
from data_prep.files import read_text, write_whole, writing
from infer.runs.locks import FileLock

FINGERPRINT = "fingerprint.json"  # beside results: what they follow from
CODE, OTHER_CODE = "code", "other_code"  # in it: the code of the latest run, and of results that it accepted
RUN = "run.json"  # in `out`: what is tracked there
OUTPUTS = ("overlays/*.mp4", "sheets/*.png", "contact_sheet.png", "tracks/*.json", "tracks.json")
GATE, IN_USE, SEQUENCE = ".lock-claim", ".lock-run", ".lock-sequence-"
FILE_STATE = ("bytes", "modified_ns")  # keys of a video that tell a user nothing
Identity = Mapping[str, Any]


class Claim:
    """A folder that this run works in, until the `with` block ends; other runs of it may work there too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._in_use = FileLock(folder / IN_USE)

    @property
    def warnings(self) -> list[str]:
        """What a user should know of the locks."""
        if self._in_use.is_real:
            return []
        return [f"{self.folder}: its file system has no locks; start no second run there meanwhile"]

    @contextmanager
    def sequence(self, name: str, wait: bool = False) -> Iterator[bool]:
        """Yield whether a sequence is this run's to track: False while another run tracks it.

        With `wait` it is this run's as soon as the other one is done with it.
        """
        number = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        lock = FileLock(self.folder / f"{SEQUENCE}{number}")
        is_mine = lock.acquire(wait=wait)
        try:
            yield is_mine
        finally:
            lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._in_use.release()

    def begin(self, claim: Callable[[], None], alone: bool, clash: Callable[[], str | None]) -> None:
        """Join the runs that work in the folder, or `claim` it where there are none.

        `alone`: refuse where another run works there. `clash` says how those that work there differ.
        """
        gate = FileLock(self.folder / GATE)
        gate.acquire(wait=True)  # between check and claim nobody else may check
        try:
            if self._in_use.acquire():
                try:
                    claim()
                except BaseException:
                    self._in_use.release()
                    raise
                self._in_use.share()
                return
            difference = clash()
            if alone or difference:
                told = f" ({difference})" if difference else ""
                raise UserError(f"{self.folder}: another run works there{told}; wait for its end")
            self._in_use.acquire(shared=True, wait=True)
        finally:
            gate.release()


def claim_results(folder: Path, fingerprint: Identity, overwrite: bool, accept_code: bool = False) -> Claim:
    """Make a results folder this run's own; what is left in it then is this run's and may be kept.

    With `overwrite` results that are there are removed first, so that a run that stops half-way never
    leaves some of each. With `accept_code` results whose fingerprint differs in `code` alone are kept, and
    the new fingerprint holds the earlier identities of the code as `other_code`. Raises UserError, naming
    the keys that differ, where there are results of another fingerprint (or of none) and `overwrite` is
    false, and where another run works there that
    has another fingerprint, or whose results would be overwritten.
    """
    path = folder / FINGERPRINT
    wanted = _as_read(fingerprint)

    def take() -> None:
        results = list(folder.rglob("*.txt"))
        held = read_identity(path)
        if results and not overwrite:
            wanted.update(_accepted(folder, held, wanted, accept_code))
        _remove([*_left_behind(folder, "**/"), *(results if overwrite else [])])
        write_whole(path, json.dumps(wanted, indent=2) + "\n")

    def clash() -> str | None:
        held = read_identity(path)
        return None if not _differing_keys(held or {}, wanted) else _differing(held or {}, wanted)

    claim = Claim(folder)
    claim.begin(take, overwrite, clash)
    return claim


def _accepted(folder: Path, held: Identity | None, wanted: Identity, accept_code: bool) -> Identity:
    """What the new fingerprint says of the code of results that are kept. Raises UserError for others."""
    differing = _differing_keys(held or {}, wanted)
    other_code = list((held or {}).get(OTHER_CODE, []))
    if differing == [CODE] and held and accept_code:
        return {OTHER_CODE: [*other_code, held.get(CODE)]}
    if held and not differing:
        return {OTHER_CODE: other_code} if other_code else {}
    told = _differing(held, wanted) if held else "their fingerprint.json is missing"
    mend = "take another tracker_id= or overwrite=true"
    if differing == [CODE] and held:
        mend = "take another tracker_id=, overwrite=true, or accept_code=true to keep them"
    raise UserError(f"{folder}: holds results of another run ({told}); {mend}")


def claim_out(out: Path, tracked: Identity, overwrite: bool, alone: bool = False) -> Claim:
    """Make the folder of pictures and summary this run's own.

    `tracked` says what is tracked. With `overwrite` pictures of something else are removed. Raises
    UserError where the folder is of something else and `overwrite` is false, and where another run works
    there that tracks something else, or if this one must be `alone`.
    """
    path = out / RUN
    wanted = _as_read(tracked)

    def take() -> None:
        check_out(out, wanted, overwrite)
        left = [path for where in ("", "*/") for path in _left_behind(out, where)]
        if read_identity(path) not in (None, wanted):
            left += [path for pattern in OUTPUTS for path in out.glob(pattern)]
        _remove(left)
        write_whole(path, json.dumps(wanted, indent=2, ensure_ascii=False) + "\n")

    def clash() -> str | None:
        held = read_identity(path)
        return None if held == wanted else _told(held or {}, wanted)

    claim = Claim(out)
    claim.begin(take, alone or overwrite, clash)
    return claim


def check_out(out: Path, tracked: Identity, overwrite: bool) -> None:
    """Raise UserError where `out` holds what a run over something else wrote, and `overwrite` is false."""
    held = read_identity(out / RUN)
    if held is not None and held != _as_read(tracked) and not overwrite:
        raise UserError(
            f"{out}: holds the results of another run ({_told(held, tracked)}); "
            "take another out= or overwrite=true"
        )


def _told(held: Identity, wanted: Identity) -> str:
    """What another run tracks, where it differs from what is wanted."""
    shown = {key: value for key, value in held.items() if key not in FILE_STATE and wanted.get(key) != value}
    return " ".join(f"{key}={value}" for key, value in shown.items()) or "the video has changed since"


def _as_read(identity: Identity) -> dict[str, Any]:
    """An identity as it is read again: tuples are lists."""
    return dict(json.loads(json.dumps(dict(identity))))


def read_identity(path: Path) -> dict[str, Any] | None:
    """The identity that a file holds; None where there is none that can be read."""
    try:
        return dict(json.loads(read_text(path, "")))
    except (UserError, ValueError, TypeError, RecursionError):
        return None


def _differing(held: Identity, wanted: Identity) -> str:
    return "other " + ", ".join(_differing_keys(held, wanted))


def _differing_keys(held: Identity, wanted: Identity) -> list[str]:
    keys = (held.keys() | wanted.keys()) - {OTHER_CODE}
    return sorted(key for key in keys if held.get(key) != wanted.get(key))


def _left_behind(folder: Path, where: str) -> list[Path]:
    """What killed runs left: half-written files, and lock files of sequences. Wanted where no run works."""
    return [path for name in (".part-*", f"{SEQUENCE}*") for path in folder.glob(where + name)]


def _remove(paths: list[Path]) -> None:
    for path in paths:
        with writing(path):
            path.unlink(missing_ok=True)
