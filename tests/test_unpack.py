"""`python -m data_prep task=unpack`: one command, in one pass, that may be stopped and run again."""

import bz2
import contextlib
import errno
import gzip
import lzma
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from configs.app import run_command
from configs.errors import UserError
from data_prep.__main__ import main
from data_prep.config import UnpackTask
from data_prep.folders import alone_in
from data_prep.unpack import extract, tree
from data_prep.unpack.extract import Limits
from data_prep.unpack.run import unpack
from data_prep.unpack.state import read_state
from tests.archive_miniature import WHEN, Member, md5_of, tar_of, tree_of, video_members, write_parts, zipped

MEMBERS = video_members()
TAR = tar_of(*MEMBERS)
GZ = zipped(TAR)
FILES = {member.name[2:]: member.data for member in MEMBERS if member.kind == b"0"}
WANTED = {
    **FILES,
    "TNLLT/first.txt": FILES["TNLLT/video0/language.txt"],
    "TNLLT/video0/other": "../video1/imgs",
}
ROOT = Path(__file__).parent.parent


@pytest.fixture
def parts(tmp_path: Path) -> str:
    return write_parts(tmp_path / "parts", GZ)


def unpacked(out: Path) -> dict[str, Any]:
    found = tree_of(out)
    found.pop("unpacked.json", None)
    return found


class StoppedError(Exception):
    """What a test stops a run with."""


def stop_at(monkeypatch: pytest.MonkeyPatch, member: int) -> None:
    """Let the run stop at this member, as an interruption would."""
    take, count = extract.Extraction._take, iter(range(10**6))

    def stopping(*arguments: Any) -> None:
        if next(count) == member:
            raise StoppedError
        take(*arguments)

    monkeypatch.setattr(extract.Extraction, "_take", stopping)


def stopped_run(parts: str, out: Path, member: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, member)
        with pytest.raises(StoppedError):
            unpack(parts, out)


@pytest.mark.parametrize("stream", [GZ, TAR, lzma.compress(TAR), bz2.compress(TAR)])
def test_parts_become_what_was_packed(tmp_path: Path, stream: bytes) -> None:
    parts, out = write_parts(tmp_path / "parts", stream, 5), tmp_path / "out"
    result = unpack(parts, out, md5_of(stream), md5_of(TAR).upper())
    assert unpacked(out) == WANTED and result.written == len(FILES)
    assert (out / "TNLLT" / "empty.txt").stat().st_mtime == WHEN
    assert (out / "TNLLT" / "first.txt").samefile(out / "TNLLT" / "video0" / "language.txt")
    assert not (out / ".unpacking").exists()


def test_gzip_streams_that_follow_one_another_are_one(tmp_path: Path) -> None:
    stream = gzip.compress(TAR[:5000]) + gzip.compress(TAR[5000:])
    unpack(write_parts(tmp_path / "parts", stream), tmp_path / "out", tar_md5=md5_of(TAR))
    assert unpacked(tmp_path / "out") == WANTED


def test_a_second_run_has_nothing_to_do(tmp_path: Path, parts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unpack(parts, tmp_path / "out")
    monkeypatch.setattr("data_prep.unpack.run.Extraction", None)
    assert unpack(parts, tmp_path / "out", md5_of(GZ)).written == 0
    with pytest.raises(UserError, match="the md5 of the joined parts is"):
        unpack(parts, tmp_path / "out", "0" * 32)


def test_what_was_removed_is_unpacked_again(tmp_path: Path, parts: str) -> None:
    unpack(parts, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "TNLLT")
    unpack(parts, tmp_path / "out")
    assert unpacked(tmp_path / "out") == WANTED


@pytest.mark.parametrize("member", range(0, len(MEMBERS), 2))
def test_a_stopped_run_goes_on_without_writing_again(tmp_path: Path, parts: str, member: int) -> None:
    out = tmp_path / "out"
    stopped_run(parts, out, member)
    assert list(out.iterdir()) == [out / ".unpacking"], "nothing looks whole yet"
    there = {path: path.stat() for path in (out / ".unpacking" / "tree").rglob("*") if path.is_file()}
    result = unpack(parts, out, md5_of(GZ))
    assert unpacked(out) == WANTED
    names = {path.relative_to(out / ".unpacking" / "tree"): held for path, held in there.items()}
    assert all((out / name).stat().st_ino == held.st_ino for name, held in names.items())
    written = sum(member.kind == b"0" for member in MEMBERS[:member])
    assert result.written == len(FILES) - written


def test_files_that_an_earlier_run_finished_are_not_read(
    tmp_path: Path, parts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_run(parts, tmp_path / "out", 6)
    read: list[Path] = []
    equal = tree._equal
    monkeypatch.setattr(tree, "_equal", lambda path, content: read.append(path) or equal(path, content))
    unpack(parts, tmp_path / "out")
    assert not read


def test_without_a_state_files_are_compared(tmp_path: Path, parts: str) -> None:
    out = tmp_path / "out"
    stopped_run(parts, out, 6)
    (out / ".unpacking" / "state.json").write_text("{")
    changed = out / ".unpacking" / "tree" / "TNLLT" / "video0" / "imgs" / "00001.png"
    changed.write_bytes(b"?" * changed.stat().st_size)
    result = unpack(parts, out)
    assert unpacked(out) == WANTED and result.written == len(FILES) - 3


def test_a_shortened_file_is_written_again(tmp_path: Path, parts: str) -> None:
    stopped_run(parts, tmp_path / "out", 6)
    (tmp_path / "out" / ".unpacking" / "tree" / "TNLLT" / "video0" / "imgs" / "00001.png").write_bytes(b"")
    unpack(parts, tmp_path / "out")
    assert unpacked(tmp_path / "out") == WANTED


def test_a_large_file_that_differs_late_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "CHUNK", 64)
    data = bytes(range(256)) * 4
    parts, out = (
        write_parts(tmp_path / "parts", tar_of(Member("set/x", data), Member("set/y", b"y"))),
        tmp_path / "out",
    )
    stopped_run(parts, out, 1)
    (out / ".unpacking" / "state.json").unlink()
    (out / ".unpacking" / "tree" / "set" / "x").write_bytes(data[:700] + b"?" + data[701:])
    assert unpack(parts, out).written == 2
    assert unpacked(out) == {"set/x": data, "set/y": b"y"}


def test_a_wrong_md5_leaves_nothing_that_looks_whole(tmp_path: Path, parts: str) -> None:
    out = tmp_path / "out"
    for wanted in ({"md5": "0" * 32}, {"tar_md5": "0" * 32}):
        with pytest.raises(UserError, match=r"\.unpacking: the md5 of the .* is [0-9a-f]{32}, not 0{32}"):
            unpack(parts, out, **wanted)
        assert list(out.iterdir()) == [out / ".unpacking"]
    assert unpack(parts, out, md5_of(GZ)).written == 0, "all was whole"
    assert unpacked(out) == WANTED


@pytest.mark.parametrize(("key", "of"), [("md5", TAR), ("tar_md5", GZ)])
def test_the_md5_of_the_other_stream_is_told(tmp_path: Path, parts: str, key: str, of: bytes) -> None:
    other = {"md5": "tar_md5", "tar_md5": "md5"}[key]
    with pytest.raises(UserError, match=f"give it as {other}="):
        unpack(parts, tmp_path / "out", **{key: md5_of(of)})


def test_an_md5_may_stand_in_a_file(tmp_path: Path, parts: str) -> None:
    path = tmp_path / "TNLLT.tar.gz.md5"
    path.write_text(f"{md5_of(GZ)}  TNLLT.tar.gz\n")
    unpack(parts, tmp_path / "out", str(path))
    path.write_text("nothing")
    with pytest.raises(UserError, match="holds 0 md5 sums"):
        unpack(parts, tmp_path / "out", str(path))
    with pytest.raises(UserError, match="md5=12: neither 32 digits"):
        unpack(parts, tmp_path / "out", "12")


LARGE = tar_of(*(Member(f"set/{n}", Random(n).randbytes(50_000)) for n in range(30)))


def test_a_part_that_was_damaged_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "BUFFER", 4096)
    parts, out = write_parts(tmp_path / "parts", zipped(LARGE)), tmp_path / "out"
    damaged = tmp_path / "parts" / "set_part_ab"
    good = damaged.read_bytes()
    damaged.write_bytes(good[:90_000] + b"?" * 200 + good[90_200:])
    with pytest.raises(UserError, match=r"set_part_a.: .*damaged, or a part is missing"):
        unpack(parts, out)
    held = sum(path.is_file() for path in (out / ".unpacking" / "tree").rglob("*"))
    damaged.write_bytes(good)
    result = unpack(parts, out, tar_md5=md5_of(LARGE))
    assert held > 5 and 1 <= result.written <= 6, "what a compressed stream repeats is damaged with it"


def test_a_last_part_that_came_later_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "BUFFER", 4096)
    parts, out, last = (
        write_parts(tmp_path / "parts", LARGE),
        tmp_path / "out",
        tmp_path / "parts" / "set_part_ac",
    )
    last.rename(tmp_path / "kept")
    with pytest.raises(UserError, match=r"set_part_ab: no archive, damaged, or a part is missing"):
        unpack(parts, out)
    (tmp_path / "kept").rename(last)
    assert unpack(parts, out, md5_of(LARGE)).written == 10


def test_files_of_parts_that_were_replaced_do_not_stay(tmp_path: Path) -> None:
    folder, out = tmp_path / "parts", tmp_path / "out"
    old = [
        Member("set/a", b"a"),
        Member("set/old/b", b"b"),
        Member("set/kind/x", b"x"),
        Member("set/l", b"l"),
    ]
    parts = write_parts(folder, tar_of(*old))
    with pytest.raises(UserError):
        unpack(parts, out, "0" * 32)
    new = [Member("set/a", b"A"), Member("set/kind", b"k"), Member("set/l/y", b"y")]
    unpack(write_parts(folder, tar_of(*new)), out)
    assert unpacked(out) == {"set/a": b"A", "set/kind": b"k", "set/l/y": b"y"}
    assert not (out / "set" / "old").exists()


def test_what_lies_in_the_folder_is_not_touched(tmp_path: Path, parts: str) -> None:
    mine = tmp_path / "out" / "TNLLT" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(UserError, match=r"out/TNLLT: exists already; remove it or choose another folder"):
        unpack(parts, tmp_path / "out")
    assert mine.read_text() == "mine"


def test_what_came_to_lie_there_meanwhile_is_not_touched(tmp_path: Path, parts: str) -> None:
    with pytest.raises(UserError, match=r"not 0{32}"):
        unpack(parts, tmp_path / "out", "0" * 32)
    (tmp_path / "out" / "TNLLT").mkdir()
    with pytest.raises(UserError, match=r"out/TNLLT: exists already; remove it and run again"):
        unpack(parts, tmp_path / "out")
    (tmp_path / "out" / "TNLLT").rmdir()
    unpack(parts, tmp_path / "out")
    assert unpacked(tmp_path / "out") == WANTED


def test_another_archive_does_not_mix_with_one_that_was_begun(tmp_path: Path, parts: str) -> None:
    stopped_run(parts, tmp_path / "out", 4)
    other = write_parts(tmp_path / "parts", GZ, pattern="other_{}")
    with pytest.raises(UserError, match="contains the unfinished files of set_part_aa"):
        unpack(other, tmp_path / "out")


def test_several_archives_may_go_to_one_folder(
    tmp_path: Path, parts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_parts(tmp_path / "parts", tar_of(Member("other/x", b"x")), pattern="other_{}")
    for pattern in (parts, other):
        unpack(pattern, tmp_path / "out")
    assert unpacked(tmp_path / "out") == WANTED | {"other/x": b"x"}
    monkeypatch.setattr("data_prep.unpack.run.Extraction", None)
    assert [unpack(pattern, tmp_path / "out").written for pattern in (parts, other)] == [0, 0]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, parts: str) -> None:
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=r"\.unpacking: cannot .* \(Not a directory\); .*file is a file"):
            unpack(parts, out)


def test_a_disk_without_locks_is_used_with_a_warning(
    tmp_path: Path, parts: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", no_locks)
    unpack(parts, tmp_path / "out")
    assert unpacked(tmp_path / "out") == WANTED and "see that no other run unpacks there" in caplog.text


def test_two_runs_do_not_meet(tmp_path: Path, parts: str) -> None:
    work, told = tmp_path / "out" / ".unpacking", "another run unpacks there"
    with alone_in(work, "unpacks"), pytest.raises(UserError, match=told):
        unpack(parts, tmp_path / "out")


def test_too_small_a_disk_is_found_before(
    tmp_path: Path, parts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(UserError, match=r"0\.0 GiB are free and at least 0\.0 needed"):
        unpack(parts, tmp_path / "out")
    assert not tree_of(tmp_path / "out" / ".unpacking" / "tree")


def test_a_disk_that_gets_full_is_one_line(
    tmp_path: Path, parts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = iter(range(100))
    real = tree._copy

    def full(*arguments: Any) -> None:
        if next(copies) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(tree, "_copy", full)
        patch.setattr(extract, "SAVE_EVERY_S", 1e9)
        patch.setattr(extract, "write_state", refuse)
        with pytest.raises(
            UserError, match=r"disk is full; free space and run again, it goes on: .* keeps 3 files"
        ):
            unpack(parts, tmp_path / "out")
    unpack(parts, tmp_path / "out", md5_of(GZ))
    assert unpacked(tmp_path / "out") == WANTED


def refuse(*_: Any) -> None:
    raise UserError("state.json: cannot be written")


def test_strange_bytes_behind_the_end_are_told(tmp_path: Path) -> None:
    result = unpack(write_parts(tmp_path / "parts", zipped(TAR + b"more" * 300)), tmp_path / "out")
    assert re.search(r"set_part_ac: 1200 bytes after the archive's end", result.notes[0])


@pytest.mark.parametrize("pack", [bytes, zipped])
def test_archives_that_are_no_parts_of_one_are_told(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    for number in range(2):
        (tmp_path / f"set_{number}.tar").write_bytes(pack(tar_of(Member(f"{number}/x", b"x"))))
    with pytest.raises(UserError, match=r"set_1\.tar: an archive ends here or before, and another follows"):
        unpack(str(tmp_path / "set_*.tar"), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out" / ".unpacking"]


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (b"PK\x03\x04", "a zip archive; unpack it with unzip"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"Rar!\x1a\x07", "a rar archive"),
        (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
        (b"<!DOCTYPE html>", "a web page; get the archive itself"),
    ],
)
def test_what_is_no_tar_archive_is_told(tmp_path: Path, start: bytes, told: str) -> None:
    parts = write_parts(tmp_path / "parts", start + bytes(2000), 2)
    with pytest.raises(UserError, match=f"set_part_aa: is {told}"):
        unpack(parts, tmp_path / "out")


def test_of_a_name_that_comes_twice_the_last_is_kept_and_told(tmp_path: Path) -> None:
    members = [Member("set/x", b"old"), Member("set/y"), Member("set/x", b"newer")]
    result = unpack(write_parts(tmp_path / "parts", tar_of(*members)), tmp_path / "out")
    assert unpacked(tmp_path / "out") == {"set/x": b"newer", "set/y": b""}
    assert re.search(r"set_part_aa: 1 name repeated in it; of each the last", result.notes[0])


def test_a_gap_is_found_before_anything_is_written(tmp_path: Path, parts: str) -> None:
    (tmp_path / "parts" / "set_part_ab").unlink()
    with pytest.raises(UserError, match="part 'ab' is missing"):
        unpack(parts, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_stop_while_moving_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, out = (
        write_parts(tmp_path / "parts", tar_of(Member("a/x", b"x"), Member("b/y", b"y"))),
        tmp_path / "out",
    )
    with monkeypatch.context() as patch:
        rename = Path.rename
        patch.setattr(Path, "rename", lambda path, to: rename(path, to) if path.name == "a" else stop())
        with pytest.raises(StoppedError):
            unpack(parts, out)
    monkeypatch.setattr("data_prep.unpack.run.Extraction", None)
    unpack(parts, out)
    assert unpacked(out) == {"a/x": b"x", "b/y": b"y"} and not (out / ".unpacking").exists()


def stop() -> None:
    raise StoppedError


def test_a_stop_after_moving_leaves_nothing_behind(tmp_path: Path, parts: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda path: stop())
        with pytest.raises(StoppedError):
            unpack(parts, tmp_path / "out")
    assert (tmp_path / "out" / ".unpacking").exists()
    unpack(parts, tmp_path / "out")
    assert unpacked(tmp_path / "out") == WANTED and not (tmp_path / "out" / ".unpacking").exists()


NAMES = st.sampled_from(["x", "y", "d/x"])
FILE = st.builds(Member, NAMES, st.sampled_from([b"1", b"2", b"33"]))
LINK = st.builds(lambda name, to: Member(name, kind=b"1", link=to), NAMES, NAMES)
SYMLINK = st.builds(lambda name, to: Member(name, kind=b"2", link=to), NAMES, st.sampled_from(["x", "y"]))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(FILE, FILE, LINK, SYMLINK), min_size=3, max_size=6), st.integers(1, 5))
@example([Member("x", b"1"), Member("y", kind=b"1", link="x"), Member("x", b"2"), Member("z")], 3)
def test_stopped_anywhere_it_ends_as_if_it_had_not_been(members: list[Member], at: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        parts, outs = write_parts(Path(folder, "parts"), tar_of(*members), 1), []
        patch.setattr(os, "sync", lambda: None)
        with contextlib.suppress(StoppedError, UserError):
            stopped_run(parts, Path(folder, "stopped"), min(at, len(members) - 1))
        for out in (Path(folder, "stopped"), Path(folder, "whole")):
            try:
                unpack(parts, out)
                outs.append(unpacked(out))
            except UserError as fault:
                outs.append(str(fault).partition("member")[2].partition(";")[0])
        assert outs[0] == outs[1]


SLOWLY = """
import sys, time
from pathlib import Path
from random import Random
from data_prep.unpack import extract, run, tree
extract.SAVE_EVERY_S = 0.0
class Slow:
    def __init__(self, file): self.file = file
    def read(self, size):
        time.sleep(0.02)
        return self.file.read(min(size, 500))
whole = tree.Tree.file
tree.Tree.file = lambda self, at, member, content, trusted: whole(self, at, member, Slow(content), trusted)
run.unpack(sys.argv[1], Path(sys.argv[2]))
"""


def test_a_killed_process_goes_on_to_the_same_tree(tmp_path: Path, parts: str) -> None:
    out, state = tmp_path / "out", tmp_path / "out" / ".unpacking" / "state.json"
    process = subprocess.Popen([sys.executable, "-c", SLOWLY, parts, str(out)], cwd=ROOT)
    while process.poll() is None and (read_state(state) or read_state(state)) is None:
        time.sleep(0.005)
    while process.poll() is None and read_state(state).members < 4:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (out / "TNLLT").exists()
    half = tree_of(out / ".unpacking" / "tree")
    assert all(WANTED[name] == data for name, data in half.items() if ".part-" not in name), (
        "whole or not there"
    )
    result = unpack(parts, out, md5_of(GZ))
    assert unpacked(out) == WANTED and result.written < len(FILES)


def test_the_command_says_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_parts(tmp_path, GZ)
    line = ("task=unpack", "archive=set_part_*", "out=data", f"md5={md5_of(GZ)}")
    assert run_command("data_prep", main, "", line) == 0
    told = capsys.readouterr().out
    assert f"md5 as wanted: {md5_of(GZ)} of the parts" in told and "unpacked: data (16 members" in told
    assert (tmp_path / "data" / "TNLLT" / "video0" / "language.txt").read_text() == "the cup"
    assert run_command("data_prep", main, "", (*line, "max_members=3", "out=other")) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_command_wants_an_archive() -> None:
    with pytest.raises(UserError, match="task=unpack: name the parts"):
        main(UnpackTask())


def test_limits_are_limits(tmp_path: Path, parts: str) -> None:
    with pytest.raises(UserError, match="max_gib"):
        unpack(parts, tmp_path / "out", limits=Limits(bytes=10_000))
    with pytest.raises(UserError, match="max_members"):
        unpack(parts, tmp_path / "out", limits=Limits(members=5))
    unpack(parts, tmp_path / "out")
    assert unpacked(tmp_path / "out") == WANTED


def test_there_may_be_no_limits(
    tmp_path: Path, parts: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ("task=unpack", f"archive='{parts}'", "out=out")
    assert run_command("data_prep", main, "", (*line, "max_gib=nan")) == 1
    assert capsys.readouterr().err == "error: max_gib=nan: must be a number\n"
    assert run_command("data_prep", main, "", (*line, "max_gib=inf", "max_ratio=inf")) == 0
    capsys.readouterr()
    assert unpacked(tmp_path / "out").items() >= WANTED.items()


@pytest.mark.parametrize("stream", [GZ, lzma.compress(TAR), bz2.compress(TAR), TAR])
def test_any_damaged_stream_is_one_line(tmp_path: Path, stream: bytes) -> None:
    parts = write_parts(tmp_path / "parts", stream[:1000] + b"?" * 600 + stream[1600:-40])
    with pytest.raises(UserError, match="damaged, or a part is missing") as caught:
        unpack(parts, tmp_path / "out")
    assert len(str(caught.value).splitlines()) == 1


def test_a_terminal_shows_bytes_and_the_time_left(
    tmp_path: Path, parts: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unpack(parts, tmp_path / "quiet")
    assert not capsys.readouterr().err, "elsewhere there is none"
    monkeypatch.setenv("FORCE_COLOR", "1")
    unpack(parts, tmp_path / "out")
    told = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert re.search(r"([\d.]+)/\1 KiB .*0:00:00", told)
