"""From the parts of an archive to a checked folder, in one pass, by one command that may be repeated.

By the instructions of TNLLT (https://github.com/Event-AHU/Open_VLTrack) users join the parts, decompress
them, compare the MD5 and unpack them by hand, which takes three copies on the disk. Here the parts are read
once, and members are written to `<out>/.unpacking/tree` as they come. Only when the end is reached and the
MD5 is right are they moved to `<out>`, without copying. So `<out>` never holds incomplete data, and an
interrupted run leaves its files where the next one finds them:

- `state.json` says how many members are complete, and of which parts (names, sizes, times). The next run
  reads the stream again, for the checksum, but does not read or write these members if a file of the right
  size exists.
- Other existing files (all of them if a part was replaced) are compared with the stream, and only those that
  differ are written. So a damaged part costs reading again, but not writing again.
- A file gets its name when it is complete. A killed program cannot leave an incomplete file. After a power
  failure a file may be too short, which its size reveals.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.terminal import counted
from data_prep.folders import alone_in
from data_prep.unpack.extract import Extraction, Limits
from data_prep.unpack.parts import find_parts
from data_prep.unpack.state import (
    WORK,
    State,
    check_md5,
    parts_as_told,
    publish,
    read_md5,
    read_record,
    read_state,
    write_state,
)
from data_prep.unpack.stream import Joined

GIB = 1 << 30


@dataclass(frozen=True)
class Unpacked:
    """The result of unpacking: its state, the number of files that this run wrote, and notes for the user."""

    state: State
    written: int = 0
    notes: tuple[str, ...] = ()


def unpack(
    archive: str, out: Path, md5: str = "", tar_md5: str = "", limits: Limits | None = None
) -> Unpacked:
    """Unpack the parts that `archive` names into `out`.

    `md5` is that of the joined parts and `tar_md5` that of the decompressed archive: 32 digits, or a file
    that contains them. Raises UserError, one line, where parts are missing or damaged, an MD5 differs, a
    member is refused, the disk is full, or `out` contains something else of the same name.
    """
    # 1. The parts, and whether an earlier run has finished them.
    paths = find_parts(archive)
    wanted = {"md5": read_md5("md5", md5), "tar_md5": read_md5("tar_md5", tar_md5)}
    parts, work = parts_as_told(paths), out / WORK
    # The same parts again: compare the sums, and do nothing else.
    done = read_record(out).get(paths[0].name)
    if done is not None and done.parts == parts and all(os.path.lexists(out / top) for top in done.tops):
        check_md5(done, wanted, out)
        _clear_up(work, parts)
        return Unpacked(done)
    # 2. Extract, compare the MD5, and only then move everything to `out`.
    with alone_in(work, "unpacks"):
        state = _begun(work, parts)
        result = Unpacked(state)
        if not state.md5:
            result = _extracted(paths, work, out, state, limits or Limits())
        check_md5(result.state, wanted, work)
        publish(work, out, result.state)
        shutil.rmtree(work)
    return result


def _clear_up(work: Path, parts: list[list[Any]]) -> None:
    """Remove the working folder of a run that was stopped after it had moved everything."""
    state = read_state(work / "state.json")
    if state is not None and state.parts == parts:
        with alone_in(work, "unpacks"):
            shutil.rmtree(work)


def _begun(work: Path, parts: list[list[Any]]) -> State:
    """The state of an earlier run, as far as it is valid for these parts. It is saved before any
    file is written.
    """
    state = read_state(work / "state.json")
    # The folder belongs to another archive.
    if state is not None and state.parts[0][0] != parts[0][0]:
        raise UserError(
            f"{work}: contains the unfinished files of {state.parts[0][0]}; finish that first, or remove it"
        )
    # A part was replaced: nothing of the earlier run is trusted, so every file is compared.
    if state is None or not state.is_of(parts):
        state = State(parts)
    elif state.parts != parts:
        state = State(parts, state.members)
    write_state(work / "state.json", state)
    return state


def _extracted(paths: list[Path], work: Path, out: Path, state: State, limits: Limits) -> Unpacked:
    # At least as many bytes as the compressed parts are needed; how many more is unknown.
    total = sum(path.stat().st_size for path in paths)
    free, needed = shutil.disk_usage(work).free, total
    if free < needed:  # look at what an earlier run wrote only if it matters: there may be a million files
        needed -= sum(path.lstat().st_size for path in (work / "tree").rglob("*") if path.is_file())
    if free < needed:
        raise UserError(
            f"{out}: {free / GIB:.1f} GiB are free and at least {needed / GIB:.1f} needed; "
            "free space or choose another folder as out="
        )
    # The progress bar counts the bytes of the parts, whose number is known.
    extraction = Extraction(work, out, state, limits)
    with _shown(total) as message, Joined(paths, message) as joined:
        strange = extraction.run(joined)
    notes = []
    if strange:
        notes.append(f"{paths[-1]}: {counted(strange, 'byte')} after the archive's end left unread")
    if twice := extraction.tree.twice:
        notes.append(f"{paths[0]}: {counted(twice, 'name')} repeated in it; of each the last was kept")
    return Unpacked(extraction.state, extraction.written, tuple(notes))


@contextmanager
def _shown(total: int) -> Iterator[Callable[[int], object]]:
    """A progress bar on a terminal. Yields a function that is called with the number of bytes just read."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from data_prep.console import make_console

    console = make_console(stderr=True)
    columns = BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)
