"""Whatever an archive says, nothing is written outside its folder, and what is refused is told."""

import tarfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from configs.errors import UserError
from data_prep.unpack.extract import Limits
from data_prep.unpack.members import RefusedError, check_target, parts_of
from data_prep.unpack.run import unpack
from tests.archive_miniature import Member, tar_of, tree_of, write_parts, zipped

FIRST = Member("set/first.txt", b"first")
SYM, LNK, DIR = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
SPARSE_10 = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 50)}

HOSTILE: dict[str, tuple[list[Member], str]] = {
    "climbs": ([Member("../x", b"x")], r"member '../x' climbs out"),
    "climbs inside": ([Member("set/../../x", b"x")], "climbs out"),
    "folder climbs": ([Member("set/../../x", kind=DIR)], "climbs out"),
    "absolute": ([Member("/tmp/refertrack-x", b"x")], "member '/tmp/refertrack-x' has an absolute path"),
    "root": ([Member("/", kind=DIR)], "has no name"),
    "drive": ([Member("C:/x", b"x")], "has an absolute path"),
    "backslash": ([Member("..\\x", b"x")], "has a backslash"),
    "nul": ([Member("a", b"x", pax={"path": "set/a\0b"})], "control character"),
    "newline": ([Member("a\nb", b"x")], r"member 'a\\nb' has a control character"),
    "long name": ([Member("a" * 300, b"x")], "more than 255 bytes"),
    "deep": ([Member("a/" * 100 + "b", b"x")], "deeper than 64"),
    "is the folder": ([Member("./", b"x", size=1)], "names the folder itself"),
    "link to outside": ([Member("set/l", kind=SYM, link="../../x")], "links to '../../x', outside"),
    "link to absolute": ([Member("set/l", kind=SYM, link="/etc")], "absolute path for what it links to"),
    "link to nothing": ([Member("set/l", kind=SYM, link="")], "links to ''"),
    "link by a link": (
        [Member("set/deep/up", kind=SYM, link="../.."), Member("set/out", kind=SYM, link="deep/up/../..")],
        "member 'set/out' links to",
    ),
    "link at the top": ([Member("l", kind=SYM, link="..")], "links to '..'"),
    "link as a folder": (
        [Member("set/l", kind=SYM, link="."), Member("set/l/x", b"x")],
        "member 'set/l/x' makes 'set/l' a folder, which is a link already",
    ),
    "link over a folder": (
        [Member("set/d/x", b"x"), Member("set/d", kind=SYM, link="first.txt")],
        "makes 'set/d' a link, which is a folder already",
    ),
    "file over a link": (
        [Member("set/l", kind=SYM, link="first.txt"), Member("set/l", b"other")],
        "makes 'set/l' a file, which is a link already",
    ),
    "file as a folder": ([Member("set/first.txt/x", b"x")], "which is a file already"),
    "folder over a file": ([Member("set/first.txt", kind=DIR)], "which is a file already"),
    "hard link to outside": ([Member("set/h", kind=LNK, link="../../etc/passwd")], "climbs out"),
    "hard link to absolute": ([Member("set/h", kind=LNK, link="/etc/passwd")], "absolute path"),
    "hard link to a link": (
        [Member("set/l", kind=SYM, link="first.txt"), Member("set/h", kind=LNK, link="set/l")],
        "not an earlier file",
    ),
    "hard link to later": ([Member("set/h", kind=LNK, link="set/later")], "not an earlier file"),
    "file over one of several names": (
        [Member("set/h", kind=LNK, link="set/first.txt"), Member("set/first.txt", b"other")],
        "makes 'set/first.txt' a file, which is a file of several names already",
    ),
    "hard link to itself": ([Member("set/first.txt", kind=LNK, link="set/first.txt")], "not an earlier file"),
    "device": ([Member("set/d", kind=tarfile.CHRTYPE)], "member 'set/d' is a device"),
    "block device": ([Member("set/d", kind=tarfile.BLKTYPE)], "is a device"),
    "fifo": ([Member("set/p", kind=tarfile.FIFOTYPE)], "is a device, a pipe"),
    "unknown kind": ([Member("set/u", b"x", kind=b"Z")], "unknown kind"),
    "sparse": ([Member("set/s", kind=tarfile.GNUTYPE_SPARSE)], "member 'set/s' is a sparse file"),
    "sparse by pax": ([Member("set/s", b"0\n", pax=SPARSE_10)], "member 'set/s' is a sparse file"),
    "sparse by a broken map": ([Member("set/s", b"many\n", pax=SPARSE_10)], "'set/s' is a sparse file"),
    "sparse by an old map": ([Member("set/s", b"0", pax={"GNU.sparse.map": "0,1"})], "is a sparse file"),
    "huge": ([Member("set/big", size=1 << 50)], r"member 'set/big' of \d+ bytes makes more than"),
    "negative": ([Member("set/neg", size=-512)], "member 'set/neg' has a negative size"),
    "negative by pax": ([Member("set/neg", pax={"size": "-1024"})], "'set/neg' has a negative size"),
    "negative header": ([Member("x", kind=tarfile.XHDTYPE, size=-512)], "'x' has a negative size"),
    "huge header": (
        [Member("././@PaxHeader", b"", kind=tarfile.XHDTYPE, size=1 << 40)],
        "has an extended header of",
    ),
    "huge long name": ([Member("x", kind=tarfile.GNUTYPE_LONGNAME, size=1 << 30)], "extended header of"),
    "all alike": ([Member(f"set/{n}", b"x") for n in range(40)], "is one more than 30 members"),
    "record": ([Member("unpacked.json", b"{}")], "unpacked.json: exists already"),
    "work folder": ([Member(".unpacking/state.json", b"{}")], "unpacking: exists already"),
    "headers of headers": ([Member("x", b"9 path=a\n", kind=tarfile.XHDTYPE)] * 1500, "a header is broken"),
    "no header": ([Member("set/a", b"x" * 512, size=0)], "a header is broken"),
}
LIMITS = Limits(bytes=1 << 20, members=30)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder to unpack into, with another one beside it that must stay as it is."""
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "mine.txt").write_text("mine")
    return tmp_path


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_refused_and_writes_nothing_outside(place: Path, kind: str) -> None:
    members, told = HOSTILE[kind]
    pattern = write_parts(place / "parts", zipped(tar_of(FIRST, *members)))
    before = tree_of(place)
    with pytest.raises(UserError, match=told) as caught:
        unpack(pattern, place / "out", limits=LIMITS)
    assert len(str(caught.value).splitlines()) == 1
    after = tree_of(place)
    inside = {name for name in after if name.startswith("out/.unpacking/")}
    assert {name: after[name] for name in after.keys() - inside} == before
    assert after["out/.unpacking/tree/set/first.txt"] == b"first", "what came before is kept"
    assert not Path("/tmp/refertrack-x").exists()


def test_tarfile_is_asked_too(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(member: tarfile.TarInfo, root: str) -> None:
        raise tarfile.OutsideDestinationError(member, root)

    monkeypatch.setattr(tarfile, "data_filter", refuse)
    pattern = write_parts(place / "parts", tar_of(FIRST))
    with pytest.raises(UserError, match=r"refused by tarfile \(OutsideDestinationError\)"):
        unpack(pattern, place / "out")


@pytest.mark.parametrize("name", ["set/FIRST.txt", "SET/first.txt", "Set/other.txt"])
def test_names_that_a_disk_takes_for_one_are_told(place: Path, name: str) -> None:
    (place / "out" / ".unpacking" / "TREE").mkdir(parents=True)  # as if the disk knew no capitals
    members = [FIRST, FIRST, Member(name, b"second")]
    with pytest.raises(UserError, match=r"tree/set.*: and 'S?s?.*' are the same name on this disk"):
        unpack(write_parts(place / "parts", tar_of(*members)), place / "out")


def test_an_archive_of_nothing_is_told(place: Path) -> None:
    with pytest.raises(UserError, match="it holds nothing, before its first member"):
        unpack(write_parts(place / "parts", tar_of()), place / "out")


def test_what_was_written_is_told(place: Path) -> None:
    pattern = write_parts(place / "parts", zipped(tar_of(FIRST, Member("../x", b"x"))))
    with pytest.raises(UserError, match=r"outside .*out/\.unpacking, which keeps 1 file from before it"):
        unpack(pattern, place / "out")


def test_a_bomb_is_refused(place: Path) -> None:
    pattern = write_parts(place / "parts", zipped(tar_of(FIRST, Member("set/zeros", b"\0" * (20 << 20)))))
    with pytest.raises(UserError, match="member 'set/zeros' decompresses to more than 50 times"):
        unpack(pattern, place / "out", limits=Limits(ratio=50))
    assert "set/zeros" not in tree_of(place / "out" / ".unpacking" / "tree")


def test_a_bomb_behind_the_end_is_refused(place: Path) -> None:
    pattern = write_parts(place / "parts", zipped(tar_of(FIRST) + b"\0" * (20 << 20)))
    with pytest.raises(UserError, match="decompresses to more than 50 times"):
        unpack(pattern, place / "out", limits=Limits(ratio=50))


@pytest.mark.parametrize("cut", [700, 1024, 1500])
def test_an_archive_without_its_end_is_not_taken_for_whole(place: Path, cut: int) -> None:
    """Of a plain tar archive nothing but its end mark tells that the last part is there."""
    tar = tar_of(FIRST, Member("set/second.txt", b"second"))
    pattern = write_parts(place / "parts", tar[:cut], 1)
    with pytest.raises(UserError, match="damaged, or a part is missing"):
        unpack(pattern, place / "out")


NAMES = st.lists(st.sampled_from(["a", "b", "..", ".", "", "C:", "a\\b", "…", "\0", "x" * 256]), max_size=6)


@given(NAMES.map("/".join))
@example("a/..")
def test_a_name_is_refused_or_stays_inside(name: str) -> None:
    try:
        parts = parts_of(name)
    except RefusedError:
        return
    assert ".." not in parts and "" not in parts
    assert PurePosixPath("root", *parts) == PurePosixPath("root", name), "the name says the same place"
    assert not set("\\\0") & set(name) and not name.startswith("/")


@given(st.text(max_size=12))
def test_any_text_for_a_name_is_refused_or_stays_inside(name: str) -> None:
    try:
        parts = parts_of(name)
    except RefusedError:
        return
    assert PurePosixPath("root", *parts) == PurePosixPath("root", name)


STEPS = st.lists(st.sampled_from(["..", "a", "b", "l", "m", "."]), min_size=1, max_size=6).map("/".join)
PLACES = st.lists(st.sampled_from(["a", "b", "l", "m"]), min_size=1, max_size=3).map(tuple)


@given(st.dictionaries(PLACES, STEPS, max_size=5))
def test_no_links_that_are_let_through_lead_outside_together(links: dict[tuple[str, ...], str]) -> None:
    taken: dict[tuple[str, ...], str] = {}
    for parts, target in links.items():
        try:
            check_target(parts, target)
        except RefusedError:
            continue
        if not any(parts[:depth] in taken for depth in range(1, len(parts))):
            taken[parts] = target
    for parts in taken:
        assert followed(taken, parts) is not None


def followed(links: dict[tuple[str, ...], str], parts: tuple[str, ...]) -> tuple[str, ...] | None:
    """Where a path leads as a system would follow it; None: out of the folder."""
    way, here = list(parts), []
    for _ in range(200):  # links in a circle lead nowhere
        if not way:
            return tuple(here)
        step = way.pop(0)
        if step == "..":
            if not here:
                return None
            here.pop()
        elif step != ".":
            here.append(step)
            if tuple(here) in links:
                way = links[tuple(here)].split("/") + way
                here.pop()
    return ()
