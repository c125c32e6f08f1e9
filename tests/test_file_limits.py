"""What is huge, or no file at all, is refused in one line: before it is read, and without waiting."""

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.errors import UserError
from data_prep import files
from data_prep.files import LARGEST_TEXT, read_text, write_whole
from data_prep.folders import LOCK, alone_in
from data_prep.readers import meta_expressions
from data_prep.readers.annotations import read_boxes
from data_prep.readers.masks import read_mask
from data_prep.readers.meta_expressions import read_json
from data_prep.video.images import read_image
from data_prep.votsr import results
from data_prep.votsr.regions import decode_mask
from data_prep.votsr.results import read_lines
from data_prep.votsr.textfiles import read_list, read_properties
from data_prep.votsr.workspace import read_workspace
from evaluation.layouts.tables import read_tables
from tests.votsr_miniature import make_workspace

READERS: dict[str, Callable[[Path], Any]] = {
    "text": lambda path: read_text(path, "mend it"),
    "boxes": read_boxes,
    "json": read_json,
    "image": read_image,
    "mask": lambda path: read_mask(path, (4, 3)),
    "sequence": lambda path: read_properties(path, "mend it"),
    "result of masks": read_lines,
    "result of boxes": lambda path: read_tables([str(path)], 4),
}
LIMITED = [name for name in READERS if name not in ("image", "mask")]


@pytest.mark.parametrize("name", READERS)
def test_a_pipe_a_device_or_a_folder_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    pipe, folder = tmp_path / "pipe.txt", tmp_path / "folder.txt"
    os.mkfifo(pipe)
    folder.mkdir()
    for path in (pipe, folder, Path("/dev/zero")):
        with pytest.raises(UserError) as told:
            READERS[name](path)
        assert str(told.value).startswith(str(path)) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("n" * 300, "choose a shorter name"),
        ("file/below.txt", "/file is a file where a folder is needed; move it away"),
        ("file/below/deeper.txt", "/file is a file where a folder is needed; move it away"),
        ("folder", "/folder is a folder where a file is needed; move it away"),
        ("closed/x.txt", "free space or choose another folder"),
    ],
)
def test_a_failure_to_write_names_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, remedy: str
) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    if name.startswith("closed"):
        monkeypatch.setattr(
            os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
    with pytest.raises(UserError) as told:
        write_whole(tmp_path / name, "x")
    assert str(told.value).startswith(f"{tmp_path / name}: ") and str(told.value).endswith(remedy)
    assert (tmp_path / "file").read_text() == "kept"


def test_a_folder_in_place_of_a_lock_is_named_and_not_the_folder_around_it(tmp_path: Path) -> None:
    (tmp_path / "run" / LOCK).mkdir(parents=True)
    with pytest.raises(UserError) as told, alone_in(tmp_path / "run", "trains"):
        pass
    assert f"{LOCK} is a folder where a file is needed; move it away" in str(told.value)


def png_header(path: Path, width: int, height: int) -> Path:
    """A PNG file that says a size and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b""))
    return path


@pytest.mark.parametrize("name", ["image", "mask"])
def test_an_image_of_gigapixels_is_refused_by_its_header(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"x.png: \w+ cannot be read .*2500000000 pixels"):
        READERS[name](png_header(tmp_path / "x.png", 50000, 50000))


def test_pillow_prints_no_warning_of_large_images(tmp_path: Path) -> None:
    """In a process of its own, as a command is: pytest shows all warnings."""
    path = png_header(tmp_path / "x.png", 10000, 10000)
    code = "import sys; from pathlib import Path; from data_prep.video.images import image_size as size; "
    code += "print(size(Path(sys.argv[1])))"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("(10000, 10000)\n", "")


@pytest.mark.parametrize("name", LIMITED)
def test_a_file_of_gigabytes_is_refused_before_it_is_read(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is sparse: it takes no room on the disk, and would take all memory."""
    monkeypatch.setattr(meta_expressions, "LARGEST_JSON", LARGEST_TEXT)
    path = tmp_path / "huge.txt"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UserError, match=rf"{path}.*(MiB|too many)") as told:
        READERS[name](path)
    assert "\n" not in str(told.value)


def test_a_limit_is_what_may_just_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "some.txt"
    path.write_bytes(b"a\r\nb\rc\n" + b"x" * 93)
    assert len(read_text(path, "", 100)) == 99
    with pytest.raises(UserError, match="100 bytes, more than the 0 MiB"):
        read_text(path, "", 99)
    monkeypatch.setattr(results, "LONGEST_LINE", 20)
    monkeypatch.setattr(results, "MOST_LINES", 3)
    for text, lines in (
        ("0\n" * 3, ["0"] * 3),
        ("0\r\n1\r2", ["0", "1", "2"]),
        ("", []),
        ("0\n\n", ["0", ""]),
    ):
        path.write_bytes(text.encode())
        assert read_lines(path) == lines
    for text, told in (
        (f"0\nm{'1' * 20}\n", ":2: the line is longer"),
        ("0\n" * 4, ":4: the line is one too"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=told):
            read_lines(path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000], ids=["lists", "objects"])
def test_json_that_is_nested_without_end_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deep.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"deep.json: JSON that is nested too deep|not JSON"):
        read_json(path)


@pytest.mark.parametrize("line", ["m0,0,32768,32768,0,1073741824", "m0,0,1073741824,1,5,1073741819"])
def test_a_window_far_larger_than_the_frame_is_not_unpacked(
    line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(np, "repeat", None)
    with pytest.raises(ValueError, match="is far larger than a frame of 64x48"):
        decode_mask(line, (64, 48))


def test_one_bad_sequence_does_not_stop_the_others(tmp_path: Path) -> None:
    root = make_workspace(tmp_path)
    with (root / "sequences" / "ball" / "sequence").open("ab") as file:
        file.truncate(1 << 33)
    workspace = read_workspace(root)
    assert [sequence.name for sequence in workspace.sequences] == ["kite"]
    (problem,) = workspace.problems
    assert "more than the 64 MiB" in problem.reason
    (root / "sequences" / "list.txt").unlink()
    os.mkfifo(root / "sequences" / "list.txt")
    with pytest.raises(UserError, match="a pipe or device, not a file"):
        read_list(root / "sequences")


def test_no_handle_is_left_open(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(OSError, match="a pipe or device"):
            files.open_regular(pipe)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
