"""`task=check`: each fault is found in a set that has it, and nothing is found in one that has none."""

import dataclasses
import errno
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from configs.app import run_command
from configs.errors import UserError
from data_prep.__main__ import main
from data_prep.check.report import SHOWN, Checked, CheckSettings, Finding, print_report, report_of
from data_prep.check.run import check_split
from data_prep.check.sequences import box_findings, frame_findings
from data_prep.config import CheckTask
from data_prep.readers.got10k import GOT10K
from data_prep.readers.tnllt import TNLLT
from data_prep.readers.vasttrack import VASTTRACK
from data_prep.sequence import Sequence, Truth
from data_prep.video.frames import ImageFrames, VideoFrames
from data_prep.video.images import ORIENTATION_TAG
from tests.dataset_miniature import CAR, SIZE, VIDEOS, write_frames
from tests.test_reader_tnllt import write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for video in VIDEOS:
        write(tmp_path / "set", video)
    return tmp_path / "set"


def found(root: Path, split: str = "all", decode: bool = False, workers: int = 1) -> list[Finding]:
    return list(check_split(TNLLT, root, split, CheckSettings(decode), workers).findings)


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


@pytest.mark.parametrize(("decode", "workers"), [(False, 1), (True, 2)])
def test_nothing_is_found_where_nothing_is_wrong(root: Path, decode: bool, workers: int) -> None:
    assert found(root, decode=decode, workers=workers) == []


def boxes(text: str) -> Callable[[Path], None]:
    """Other boxes for the car, which is flagged as shown in all frames but the third."""

    def change(car: Path) -> None:
        (car / "groundtruth.txt").write_text(text)

    return change


def text(name: str, content: str) -> Callable[[Path], None]:
    def change(car: Path) -> None:
        (car / name).write_text(content)

    return change


def no_flags(car: Path) -> None:
    (car / "absent_label.txt").unlink()
    boxes("2,3,8,6\n3,3,8,6\n4,3,0,6\n5,4,8,6\n6,4,9,7\n")(car)


def another_size(car: Path) -> None:
    for number in (2, 4):
        Image.new("RGB", (16, 12)).save(car / "imgs" / f"0000{number}.png")


def dangling(car: Path) -> None:
    (car / "imgs" / "00003.png").unlink()
    (car / "imgs" / "00003.png").symlink_to("nowhere.png")


def lost(car: Path) -> None:
    (car / "imgs" / "00004.png").rename(car / "imgs" / "00009.png")
    (car / "imgs" / "00005.png").rename(car / "imgs" / "00010.png")


def more_frames(car: Path) -> None:
    Image.fromarray(CAR.picture(5)).save(car / "imgs" / "00006.png")


def huge(car: Path) -> None:
    """A header that speaks of 30,000 x 30,000 pixels."""
    Image.new("RGB", (1, 1)).save(path := car / "imgs" / "00002.png")
    header = b"IHDR" + struct.pack(">II", 30_000, 30_000) + b"\x08\x02\0\0\0"
    data = path.read_bytes()
    path.write_bytes(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:])


def not_utf8(car: Path) -> None:
    path = os.fsencode(car / "imgs" / "00005.png")
    Path(os.fsdecode(path)).rename(os.fsdecode(path.replace(b"5.", b"5\xe9.")))


def loop(car: Path) -> None:
    (car / "imgs" / "00003.png").unlink()
    (car / "imgs" / "00003.png").symlink_to("00003.png")


def no_frames(car: Path) -> None:
    for path in (car / "imgs").iterdir():
        path.unlink()


REST = "3,3,8,6\n0,0,0,0\n5,4,8,6\n6,4,9,7\n"


@pytest.mark.parametrize(
    ("change", "kind", "count", "told"),
    [
        (boxes("1,2,3,4\n1,2,3\n"), "refused", 1, "groundtruth.txt: line 2 is not four numbers"),
        (boxes("1,2,3,4\n" * 9), "refused", 1, "5 frames for 9 boxes; restore"),
        (text("absent_label.txt", "1\n"), "refused", 1, "1 flag for 5 boxes"),
        (dangling, "frame_missing", 1, "00003.png: frame is missing; restore"),
        (text("imgs/00002.png", ""), "frame_unreadable", 1, "00002.png: frame cannot be read"),
        (another_size, "frame_size", 2, "00002.png: frame is 16x12 but the sequence is 32x24"),
        (lost, "frame_gap", 1, "00003.png: the next frame is 00009.png"),
        (
            boxes("40,3,8,6\n41,3,8,6\n0,0,0,0\n42,3,8,6\n6,4,9,7"),
            "boxes_away",
            3,
            "00001.png: the target has the box 40",
        ),
        (
            boxes("40,3,8,6\n41,3,8,6\n0,0,0,0\n5,4,8,6\n6,4,9,7"),
            "box_away",
            2,
            "00001.png: the target has the box 40",
        ),
        (
            huge,
            "frame_unreadable",
            1,
            "00002.png: frame cannot be read (Image size (900000000 pixels) exceeds",
        ),
        (not_utf8, "refused", 1, "00005\\xe9.png: the name is not UTF-8; rename it"),
        (loop, "frame_missing", 1, "00003.png: frame cannot be read (Too many levels of symbolic links)"),
        (no_frames, "refused", 1, "imgs: holds no images; unpack them there"),
        (boxes("32,3,8,6\n" + REST), "box_away", 1, "00001.png: the target has the box 32,3,8,6, which lies"),
        (boxes("2,-6,8,6\n" + REST), "box_away", 1, "outside the 32x24 image; correct"),
        (boxes("27,3,8,6\n" + REST), "box_over", 1, "27,3,8,6, which leaves the 32x24 image; correct"),
        (boxes("2,-3,8,6\n" + REST), "box_over", 1, "2,-3,8,6, which leaves"),
        (boxes("22,3,30,9\n23,4,31,10\n0,0,0,0\n24,5,32,11\n9,6,18,13"), "boxes_form", 4, "x1,y1,x2,y2, not"),
        (boxes("0.1,0.2,0.3,0.25\n" * 5), "boxes_form", 4, "seem to be shares of the image's width"),
        (boxes("nan,3,8,6\n" + REST), "box_nan", 1, "00001.png: the target is shown, but its box is nan,3,8"),
        (boxes("2,3,8,inf\n" + REST), "refused", 1, "line 1 is not four numbers ('2 3 8 inf')"),
        (boxes("2,3,8,0\n0,0,0,0\n0,0,0,0\n5,4,8,6\n6,4,9,7"), "box_empty", 2, "00001.png: the target has a"),
        (no_flags, "box_empty", 1, "00003.png: the target has a box without area, 4,3,0,6; correct"),
        (text("absent_label.txt", "0\n" * 5), "never_shown", 1, "car-1: the target is absent in every"),
        (text("language.txt", "\n"), "text_none", 1, "car-1: has no expression; add"),
        (
            text("language.txt", "0 the car\n7 it leaves\n9 gone\n"),
            "text_never",
            2,
            "expression 2 of 3 is true of none",
        ),
        (more_frames, "mended", 1, "6 frames for 5 boxes"),
    ],
)
def test_a_fault_of_a_sequence_is_found(
    root: Path, change: Callable[[Path], None], kind: str, count: int, told: str
) -> None:
    change(root / "car-1")
    finding = only(found(root))
    assert (finding.sequence, finding.kind, finding.count) == ("car-1", kind, count)
    assert told in finding.line and str(root / "car-1") in finding.line and "\n" not in finding.line


def test_a_box_may_leave_the_image_by_the_margin(root: Path) -> None:
    boxes("26,3,8,6\n" + REST)(root / "car-1")
    assert found(root) == []
    assert (
        only(list(check_split(TNLLT, root, "all", CheckSettings(margin=1.5), 1).findings)).kind == "box_over"
    )


def test_only_decoding_finds_a_truncated_jpeg(root: Path) -> None:
    path = root / "car-1" / "imgs" / "00002.png"
    noise = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    whole = path.with_suffix(".jpg")
    Image.fromarray(noise).save(whole)
    path.unlink()
    whole.write_bytes(whole.read_bytes()[:-400])
    assert found(root) == []
    finding = only(found(root, decode=True))
    assert finding.kind == "frame_unreadable" and "00002.jpg: frame cannot be read" in finding.line


def test_a_blank_expression_is_found(root: Path) -> None:
    sequence = TNLLT.read(TNLLT.find(root, "all")[0])
    blank = dataclasses.replace(sequence, expressions=("the car", " "))
    reader = dataclasses.replace(
        TNLLT, find=lambda root, split: TNLLT.find(root, split)[:1], read=lambda _: blank
    )
    finding = only(list(check_split(reader, root, "all", workers=1).findings))
    assert finding.kind == "text_empty" and "expression 2 of 2 is empty; write" in finding.line


def test_a_split_without_any_words_is_told_once(root: Path) -> None:
    for video in VIDEOS:
        (root / video.name / "language.txt").write_text("")
    finding = only(found(root))
    assert (finding.sequence, finding.kind, finding.count) == ("", "text_none", 2)


def test_frames_that_nobody_annotated_are_no_fault(tmp_path: Path) -> None:
    folder = tmp_path / "test" / "GOT-10k_Test_000001"
    write_frames(folder, CAR)
    (folder / "groundtruth.txt").write_text("2,3,8,6\n")
    (tmp_path / "test" / "list.txt").write_text(folder.name)
    findings = check_split(GOT10K, tmp_path, "test", workers=1).findings
    assert [finding.kind for finding in findings] == ["text_none"]


def test_a_shown_target_without_a_number_is_found_in_any_set() -> None:
    truth = Truth(np.full((2, 4), np.nan, np.float32), np.array([1, -1], np.int8))
    film = VideoFrames(Path("a.mp4"), SIZE, 2, 25.0)
    sequence = Sequence("a", film, ("the car",), truth=truth)
    finding = only(list(box_findings(sequence, 2.0, sparse=True)))
    assert (finding.kind, finding.count) == (
        "box_nan",
        1,
    ) and "a.mp4: frame 0, counted from 0" in finding.line


def test_a_video_file_is_told_and_decoded_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = SIZE
        for number in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(CAR.picture(number))))
        container.mux(stream.encode())
    whole = VideoFrames(path, SIZE, 3, 25.0)

    def kinds(frames: VideoFrames, decode: bool) -> list[str]:
        return [each.kind for each in frame_findings(Sequence("a", frames, ()), decode)]

    assert kinds(whole, True) == ["video_file"]
    assert kinds(dataclasses.replace(whole, count=5), False) == ["video_file"]
    assert kinds(dataclasses.replace(whole, count=5), True) == ["video_file", "frame_missing"]
    path.write_bytes(path.read_bytes()[:60])
    assert kinds(whole, True) == ["video_file", "frame_unreadable"]


def test_frames_that_are_stored_otherwise_than_the_first_are_told(tmp_path: Path) -> None:
    paths = tuple(tmp_path / f"{number}.jpg" for number in range(4))
    for path, orientation in zip(paths, (1, 1, 3, 6), strict=True):
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = orientation
        Image.new("RGB", SIZE).save(path, exif=exif)
    findings = list(frame_findings(Sequence("a", ImageFrames(paths, SIZE), ()), decode=False))
    assert {each.kind: each.line for each in findings} == {
        "frame_turned": f"{paths[2]}: EXIF orientation 3, but the first frame has 1; "
        "look whether both are upright, and save them so",
        "frame_size": f"{paths[3]}: frame is {SIZE[1]}x{SIZE[0]} but the sequence is {SIZE[0]}x{SIZE[1]}; "
        "make all frames one size",
    }


def test_the_same_boxes_and_words_are_found(root: Path) -> None:
    write(root, dataclasses.replace(CAR, name="car-2"))
    write(root, dataclasses.replace(CAR, name="car-3", prompt="another car"))
    finding = only(found(root))
    assert (finding.sequence, finding.kind) == ("car-2", "same_annotations")
    assert str(root / "car-2") in finding.line and "boxes and expressions of car-1" in finding.line


def test_one_box_makes_no_twins(root: Path) -> None:
    for name in ("one", "two"):
        write(root, dataclasses.replace(CAR, name=name, boxes_xywh=CAR.boxes_xywh[:1]))
    assert found(root) == []


def test_two_sequences_of_one_name_are_found(tmp_path: Path) -> None:
    for split, video in zip(("train", "test"), VIDEOS, strict=True):
        folder = tmp_path / split / "car" / "car-1"
        write_frames(folder / "imgs", video, "{:05d}.jpg")
        (folder / "Groundtruth.txt").write_text(video.lines())
        (folder / "nlp.txt").write_text(video.prompt)
    finding = only(list(check_split(VASTTRACK, tmp_path, "all", workers=1).findings))
    assert (finding.sequence, finding.kind, finding.count) == ("car-1", "same_name", 2)
    assert str(tmp_path / "train") in finding.line and str(tmp_path / "test") in finding.line


def test_a_name_that_is_listed_twice_is_told_and_examined_once(root: Path) -> None:
    (root / "train_split.txt").write_text("car-1\n\ndog-12\ncar-1\n")
    checked = check_split(TNLLT, root, "train", workers=1)
    finding = only(list(checked.findings))
    assert (finding.sequence, finding.kind, checked.sequences) == ("car-1", "listed_twice", 2)
    assert "car-1: is 2 times in the list of train (lines 1, 3 of names); it is used once" in finding.line


def test_several_processes_tell_the_same_in_the_same_order(root: Path) -> None:
    for number in range(6):
        write(root, dataclasses.replace(CAR, name=f"more-{number}", prompt=f"car {number}"))
        (root / f"more-{number}" / "imgs" / f"0000{1 + number % 5}.png").write_bytes(b"")
    told = found(root)
    assert len(told) == 6 and found(root, workers=2) == told


def test_a_folder_that_cannot_be_read_is_one_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (root / "train_split.txt").write_text("dog-12\n")
    with monkeypatch.context() as patch:
        real = Path.iterdir
        patch.setattr(Path, "iterdir", lambda path: refuse(path) if path.name == "car-1" else real(path))
        assert only(found(root, "train")).kind == "unlisted", "what cannot be looked into may be a sequence"
        patch.setattr(Path, "is_dir", refuse)
        with pytest.raises(UserError, match=r"set: cannot be read \(Permission denied\); correct that"):
            found(root)
    reader = dataclasses.replace(TNLLT, read=lambda entry: refuse(entry.folder))
    told = check_split(reader, root, "train", workers=1).findings
    assert [each.kind for each in told] == ["refused", "unlisted"] and "dog-12: cannot be read" in told[
        0
    ].line


def test_a_sequence_whose_name_is_not_utf8_stops_the_run(root: Path) -> None:
    (root / "car-1").rename(os.fsdecode(os.fsencode(root) + b"/caf\xe9"))
    with pytest.raises(UserError, match=r"set/caf\\xe9: the name is not UTF-8; rename it"):
        found(root)


def test_wrong_names_in_the_lists_are_found(root: Path) -> None:
    (root / "train_split.txt").write_text("car_1\n")
    (root / "test_split.txt").write_text("dog-12\n")
    (root / "plots").mkdir()  # nothing of a sequence lies in it
    named, unnamed = found(root, "train")
    assert (named.sequence, named.kind) == ("car_1", "no_data")
    assert "car_1: no such folder, though train lists it" in named.line
    assert named.line.endswith("or correct the name; did you mean car-1?")
    assert (unnamed.sequence, unnamed.kind) == ("car-1", "unlisted")
    assert "car-1: no list names it, of train, test; add" in unnamed.line
    assert [finding.kind for finding in found(root, "test")] == ["unlisted"]
    (root / "plots").rmdir()
    assert [finding.kind for finding in found(root, "all")] == ["unlisted"]


def test_a_list_that_is_missing_is_told_beside_what_is_unlisted(root: Path) -> None:
    (root / "train_split.txt").write_text("dog-12\n")
    assert "of train (not found: test); add" in only(found(root, "train")).line


def test_a_name_is_not_mistaken_for_one_that_is_listed(root: Path) -> None:
    (root / "train_split.txt").write_text("dog-12\ncar-1\ncar-2\n")
    assert only(found(root, "train")).line.endswith("unpack it there, or correct the name")


def test_a_sequence_in_two_splits_is_found(root: Path) -> None:
    (root / "train_split.txt").write_text("dog-12\ncar-1\n")
    (root / "test_split.txt").write_text("dog-12\n")
    for split in ("train", "test", "all"):
        finding = only(found(root, split))
        assert (finding.sequence, finding.kind) == ("dog-12", "two_splits")
        assert "is in both train and test; remove" in finding.line


def run(*arguments: str) -> int:
    settings = ("data=[tnllt]", "split=all", "root=set", "workers=1")
    return run_command("data_prep", main, "", (*arguments, *settings))


def test_the_command_tells_and_the_index_leaves_out(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root.parent)
    told = root.parent / "told"
    text("language.txt", "")(root / "car-1")
    assert run("task=check", "out=told") == 0, "doubtful alone"
    assert "text_none" in capsys.readouterr().out and (told / "leave_out.txt").read_text() == ""
    boxes("40,3,8,6\n34,3,8,6\n0,0,0,0\n31,4,8,6\n36,4,9,7\n")(root / "car-1")
    assert run("task=check", "out=told", "margin=7", "decode=true") == 1
    out = capsys.readouterr().out
    assert "boxes_away: car-1: " in out and "(the first of 3)" in out and "(2 sequences, 1 broken; in" in out
    assert (told / "leave_out.txt").read_text() == "car-1\n"
    report = json.loads((told / "check.json").read_text())
    assert report["counts"] == {"boxes_away": 1, "text_none": 1} and report["broken"] == ["car-1"]
    assert (report["data"], report["split"], report["root"]) == ("tnllt", "all", str(root))
    assert report["settings"] == {"decode": True, "margin": 7.0} and report["sequences"] == 2
    assert [finding["severity"] for finding in report["findings"]] == ["broken", "doubtful"]
    assert run("task=index", "leave_out=told/leave_out.txt") == 0
    out = capsys.readouterr().out
    assert "left out: car-1: named in told/leave_out.txt" in out and "(1 sequence, 1 left out; made" in out


def test_one_data_set_and_its_folder_are_needed() -> None:
    with pytest.raises(UserError, match=r"task=check: name one data set and its folder"):
        main(CheckTask(data=["tnllt"]))
    with pytest.raises(UserError, match=r"split=val: tnllt has train, test, all"):
        main(CheckTask(data=["tnllt"], root="x", split="val"))


def test_data_or_a_list_that_are_not_there_are_a_mistake(root: Path) -> None:
    with pytest.raises(UserError, match=r"none: no such folder; point root= at"):
        check_split(TNLLT, root / "none", "all")
    with pytest.raises(UserError, match=r"test_split\.txt: no such file; restore the list"):
        check_split(TNLLT, root, "test")


def test_the_table_shows_the_first_few_of_each_kind(capsys: pytest.CaptureFixture[str]) -> None:
    findings = tuple(Finding(f"[red]{number}", "boxes_away", "a line", 7) for number in range(SHOWN + 2))
    checked = Checked("tnllt", "all", Path("set"), CheckSettings(), 9, findings)
    print_report(checked)
    out = capsys.readouterr().out
    assert out.count("a line (the first of 7)") == SHOWN and "[red]0" in out
    assert "boxes_away: 2 more, all in check.json" in out
    assert report_of(checked)["counts"] == {"boxes_away": SHOWN + 2} and len(checked.broken) == SHOWN + 2
