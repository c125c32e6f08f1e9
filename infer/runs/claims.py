"""Claims of folders: which results a folder may hold, and which run tracks which sequence.

    claim = claim_results(folder, fingerprint, overwrite=False)
    with claim:
        with claim.sequence("ball") as is_mine: ...

A run claims two folders: that of its results, which belongs to one fingerprint, and `out`, which belongs to
one source (a workspace, a video, a data set). Runs with the same identity may work in a folder at once; they
share the sequences. The identity is in a file in the folder, and the locks below protect it:

| lock | held by | while |
|---|---|---|
| `.lock-claim` | one run, exclusively | it compares the identity and claims or joins the folder |
| `.lock-run` | all runs that work there, shared | they work there |
| `.lock-sequence-<hash>` | one run, exclusively | it tracks this sequence |

A run that is killed leaves lock files and half-written `.part-*` files. They are removed by the next run that
is alone in the folder.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from configs.errors import UserError
from data_prep.files import write_whole, writing
from infer.runs.fingerprint import (
    Identity,
    as_json,
    difference_to_file,
    entries_of_kept,
    read_fingerprint,
    read_identity,
)
from infer.runs.locks import FileLock

FINGERPRINT = "fingerprint.json"  # in a results folder
RUN = "run.json"  # in `out`: the source
OUTPUTS = (
    "overlays/*.mp4",
    "sheets/*.png",
    "contact_sheet.png",
    "tracks/*.json",
    "tracks.json",
    "traces/*.jsonl",
    "timelines/*.png",
)
IN_RESULTS, IN_OUT = ("**/",), ("", "*/")  # where leftovers may be
CLAIM_LOCK, RUN_LOCK, SEQUENCE_LOCK = ".lock-claim", ".lock-run", ".lock-sequence-"
# Keys of a video's identity that mean nothing to a user.
FILE_STATE = ("bytes", "modified_ns")


class Claim:
    """A folder that this run works in until the end of the `with` block, perhaps together with other runs."""

    def __init__(self, folder: Path, leftovers: Sequence[str]) -> None:
        """`leftovers` are the folders below `folder`, as beginnings of patterns, in which a process that is
        killed leaves files.
        """
        self.folder, self._leftovers = folder, leftovers
        self._run_lock = FileLock(folder / RUN_LOCK)

    @property
    def warnings(self) -> list[str]:
        """A warning if the file system has no locks."""
        if self._run_lock.is_real:
            return []
        return [f"{self.folder}: its file system has no locks; do not start a second run there meanwhile"]

    @contextmanager
    def sequence(self, name: str, wait: bool = False) -> Iterator[bool]:
        """Yield whether this run may track a sequence: False while another run is tracking it.

        With `wait` this run waits for the other one, and may always track it.
        """
        # A hash, because the name of a sequence may be longer than that of a file can be.
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        lock = FileLock(self.folder / f"{SEQUENCE_LOCK}{digest}")
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
        # The last one also removes what processes that were killed have left.
        self._run_lock.release(alone=self._remove_leftovers)

    def leftovers(self) -> list[Path]:
        """What killed processes have left behind: half-written files, and locks of sequences."""
        names = (".part-*", f"{SEQUENCE_LOCK}*")
        return [
            path for where in self._leftovers for name in names for path in self.folder.glob(where + name)
        ]

    def _remove_leftovers(self) -> None:
        for path in self.leftovers():
            with suppress(OSError):  # this run has ended, and the next one removes it or says why it cannot
                path.unlink(missing_ok=True)

    def acquire(self, claim: Callable[[], None], alone: bool, difference: Callable[[], str | None]) -> None:
        """Claim the folder with `claim` if no other run works there; else join the runs that do.

        `difference` says how the runs that work there differ from this one, None if they do not. Raises
        UserError if they differ, or if this run must be `alone`.
        """
        # Without the gate a second run could compare its identity with that in the folder before the first
        # run has written its own.
        gate = FileLock(self.folder / CLAIM_LOCK)
        gate.acquire(wait=True)
        try:
            # 1. Nobody works there: claim the folder under the exclusive lock, then let others join.
            if self._run_lock.acquire():
                try:
                    claim()
                except BaseException:
                    self._run_lock.release()
                    raise
                self._run_lock.share()
                return
            # 2. Others work there: join them if they have the same identity.
            difference_text = difference()
            if alone or difference_text:
                what = f" ({difference_text})" if difference_text else ""
                raise UserError(f"{self.folder}: another run is working there{what}; wait for its end")
            self._run_lock.acquire(shared=True, wait=True)
        finally:
            gate.release()


def claim_results(folder: Path, fingerprint: Identity, overwrite: bool, accept_code: bool = False) -> Claim:
    """Claim a results folder. What is left in it afterwards has this fingerprint, and may be kept.

    With `overwrite` existing results are removed first, so that a run that is interrupted never leaves a
    mixture. With `accept_code` results whose fingerprint differs in `code` alone are kept, and the new
    fingerprint holds the code of those results as `other_code`.

    Raises UserError, which names the differing keys, if there are results with another fingerprint or
    without one and `overwrite` is false. Raises it also if another run is working there with another
    fingerprint, or if its results would be overwritten.
    """
    path = folder / FINGERPRINT
    wanted = as_json(fingerprint)

    def claim_folder() -> None:
        # No other run works here now. Check first, then remove, then write the fingerprint. A run that is
        # killed in between leaves old results with their old fingerprint, never a mixture.
        results = list(folder.rglob("*.txt"))
        if results and not overwrite:
            wanted.update(entries_of_kept(folder, read_fingerprint(path), wanted, accept_code))
        _remove([*claimed.leftovers(), *(results if overwrite else [])])
        write_whole(path, json.dumps(wanted, indent=2) + "\n")

    claimed = Claim(folder, IN_RESULTS)
    claimed.acquire(claim_folder, overwrite, partial(difference_to_file, path, wanted))
    return claimed


def join_results(folder: Path, fingerprint: Identity) -> Claim:
    """Join the claim of a results folder, in a process that was started by the run that has claimed it.

    Raises UserError if that run has ended, or if its results have another fingerprint.
    """
    difference = partial(difference_to_file, folder / FINGERPRINT, as_json(fingerprint))
    return _join(Claim(folder, IN_RESULTS), difference)


def join_out(out: Path) -> Claim:
    """Join the claim of an `out` folder, as `join_results` does."""
    return _join(Claim(out, IN_OUT), lambda: None)


def _join(claim: Claim, difference: Callable[[], str | None]) -> Claim:
    def nobody_is_there() -> None:
        raise UserError(f"{claim.folder}: the run that started this process has ended")

    claim.acquire(nobody_is_there, alone=False, difference=difference)
    return claim


def claim_out(out: Path, source: Identity, overwrite: bool, alone: bool = False) -> Claim:
    """Claim the folder of overlays, records and summary for a source.

    With `overwrite` the overlays and records of another source are removed. Raises UserError if the folder
    belongs to another source and `overwrite` is false. Raises it also if another run works there that tracks
    another source, or if this run must be `alone`.
    """
    path = out / RUN
    wanted = as_json(source)

    def claim_folder() -> None:
        # The folder may have changed hands since the settings were checked.
        check_out(out, wanted, overwrite)
        removed = claimed.leftovers()
        if read_identity(path) not in (None, wanted):
            removed += [path for pattern in OUTPUTS for path in out.glob(pattern)]
        _remove(removed)
        write_whole(path, json.dumps(wanted, indent=2, ensure_ascii=False) + "\n")

    def difference() -> str | None:
        held = read_identity(path)
        return None if held == wanted else _source_text(held or {}, wanted)

    claimed = Claim(out, IN_OUT)
    claimed.acquire(claim_folder, alone or overwrite, difference)
    return claimed


def check_out(out: Path, source: Identity, overwrite: bool) -> None:
    """Raise UserError if `out` holds what a run over another source wrote, and `overwrite` is false."""
    held = read_identity(out / RUN)
    if held is not None and held != as_json(source) and not overwrite:
        raise UserError(
            f"{out}: holds the results of another run ({_source_text(held, source)}); "
            "take another out= or overwrite=true"
        )


def _source_text(held: Identity, wanted: Identity) -> str:
    """The source of another run, as far as it differs from this run's."""
    # A video with the same path differs in size or time only, which are not shown.
    shown = {key: value for key, value in held.items() if key not in FILE_STATE and wanted.get(key) != value}
    return " ".join(f"{key}={value}" for key, value in shown.items()) or "the video has changed since"


def _remove(paths: list[Path]) -> None:
    for path in paths:
        with writing(path):
            path.unlink(missing_ok=True)
