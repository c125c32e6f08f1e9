"""Parts of an archive to a checked folder, in one pass, in one command that may be run again.

TNLLT's page (https://github.com/Event-AHU/Open_VLTrack) has people join its parts, decompress them, check
their md5 and unpack them by hand, with three copies on the disk. Here the parts are read once and members
are written as they come by, into `<out>/.unpacking/tree`. Only when the end was reached and the md5 is
right are they moved to `<out>`, which takes no copying. So nothing in `<out>` ever looks whole that is
not, and what is not stays where a next run finds it:

- `state.json` says how many members are whole, of which parts (names, sizes, times). The stream is read
  again, for the checksum; of those members nothing is read or written where a file of the right size is.
- Other files that are there, all of them where a part was replaced, are compared with the stream and
  written only where they differ. So a damaged part costs one more reading, not one more writing.
- A file gets its name when it is whole. A killed program cannot leave half a file; a machine that loses
  power may leave one that is too short, which is seen.
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
    """What is there now: its record, how many files this run wrote, and what else is to be told."""

    state: State
    written: int = 0
    notes: tuple[str, ...] = ()


def unpack(
    archive: str, out: Path, md5: str = "", tar_md5: str = "", limits: Limits | None = None
) -> Unpacked:
    """Unpack the parts that `archive` names into `out`.

    `md5` is of the joined parts, `tar_md5` of the tar archive in them: digits, or a file that holds them.

    Raises UserError, one line, where parts are missing or damaged, an md5 differs, a member is refused,
    the disk is full, or `out` holds something else of the same name.
    """
    paths = find_parts(archive)
    wanted = {"md5": read_md5("md5", md5), "tar_md5": read_md5("tar_md5", tar_md5)}
    parts, work = parts_as_told(paths), out / WORK
    done = read_record(out).get(paths[0].name)
    if done is not None and done.parts == parts and all(os.path.lexists(out / top) for top in done.tops):
        check_md5(done, wanted, out)
        _clear_up(work, parts)
        return Unpacked(done)
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
    """Remove what is left where a run was stopped after the last of its moves."""
    state = read_state(work / "state.json")
    if state is not None and state.parts == parts:
        with alone_in(work, "unpacks"):
            shutil.rmtree(work)


def _begun(work: Path, parts: list[list[Any]]) -> State:
    """The state that an earlier run left, as far as it holds for these parts. Written before anything is."""
    state = read_state(work / "state.json")
    if state is not None and state.parts[0][0] != parts[0][0]:
        raise UserError(f"{work}: holds what was unpacked of {state.parts[0][0]}; end that, or remove it")
    if state is None or not state.is_of(parts):
        state = State(parts)
    elif state.parts != parts:
        state = State(parts, state.members)
    write_state(work / "state.json", state)
    return state


def _extracted(paths: list[Path], work: Path, out: Path, state: State, limits: Limits) -> Unpacked:
    total = sum(path.stat().st_size for path in paths)
    free, needed = shutil.disk_usage(work).free, total
    if free < needed:  # only then is it worth a look at what an earlier run wrote
        needed -= sum(path.lstat().st_size for path in (work / "tree").rglob("*") if path.is_file())
    if free < needed:
        raise UserError(
            f"{out}: {free / GIB:.1f} GiB are free and at least {needed / GIB:.1f} needed; "
            "free space or choose another folder as out="
        )
    extraction = Extraction(work, out, state, limits)
    with _shown(total) as told, Joined(paths, told) as joined:
        strange = extraction.run(joined)
    notes = []
    if strange:
        notes.append(f"{paths[-1]}: {counted(strange, 'byte')} after the archive's end left unread")
    if twice := extraction.tree.twice:
        notes.append(f"{paths[0]}: {counted(twice, 'name')} repeated in it; of each the last was kept")
    return Unpacked(extraction.state, extraction.written, tuple(notes))


@contextmanager
def _shown(total: int) -> Iterator[Callable[[int], object]]:
    """A bar on a terminal: bytes read of all, bytes a second, time left. Yields what is told of bytes."""
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
