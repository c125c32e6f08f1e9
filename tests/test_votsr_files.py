"""Whole files and trackers.ini: nothing of anybody else changes, and nothing is left half written."""

import configparser
import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from configs.errors import UserError
from data_prep.votsr.regions import encode_mask
from data_prep.votsr.results import prompt_hash, read_result, read_written, result_path, write_result
from data_prep.votsr.textfiles import write_sequence
from data_prep.votsr.toolkit import check_tracker_id, ensure_tracker
from tests.votsr_miniature import SIZE, TRACKER

KEYS = {"label": "Mine", "protocol": "trax", "command": "dummy"}


def test_where_a_result_lies(tmp_path):
    path = result_path(tmp_path, TRACKER, "ball", "the red cup")
    assert path == tmp_path / "results" / "Mine" / "baseline" / "ball" / "ball_f74f835c.txt"
    assert prompt_hash("") == "d41d8cd9"
    with pytest.raises(UserError, match="leaves its folder"):
        result_path(tmp_path, TRACKER, "../ball", "a")


def test_a_result_has_a_line_a_frame(tmp_path):
    path = tmp_path / "r.txt"
    with pytest.raises(AssertionError, match="2 lines for 3 frames"):
        write_result(path, ["0", "0"], 3)
    write_result(path, ["0", "0"], 2)
    assert path.read_bytes() == b"0\n0\n"
    with pytest.raises(UserError, match="2 lines for 3 frames; track this prompt again"):
        read_result(path, SIZE, 3)
    with pytest.raises(UserError, match="no such result"):
        read_result(tmp_path / "other.txt", SIZE, 3)
    path.write_bytes(b"0\r\n0\r\n")
    assert read_result(path, SIZE, 2) == [None, None]


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_written_result_is_whole_to_its_last_run(tmp_path, cut):
    path = tmp_path / "r.txt"
    lines = ["0", encode_mask(np.eye(12, dtype=bool))]
    write_result(path, lines, 2)
    assert read_written(path, 2) == lines
    path.write_bytes(path.read_bytes()[: -1 - cut])
    with pytest.raises(UserError, match="track this prompt again"):
        read_written(path, 2)


def test_a_failing_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "r.txt"
    write_result(path, ["0"], 1)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"r\.txt: cannot be written \(No space left on device\); free space"):
        write_result(path, ["m0,0,2,1,0,2"], 1)
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("r.txt", "0\n")]


def test_a_limit_in_the_middle_of_a_write_leaves_nothing(tmp_path):
    """The system itself refuses after 4096 bytes."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "from data_prep.votsr.results import write_result\n"
        "write_result(Path(sys.argv[1]), ['0' * 9000], 1)\n"
    )
    assert hasattr(resource, "RLIMIT_FSIZE")
    path = tmp_path / "results" / "r.txt"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert "UserError" in done.stderr.splitlines()[-1]
    assert "cannot be written (File too large)" in done.stderr
    assert list(path.parent.iterdir()) == []


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_result(tmp_path / "results" / "r.txt", ["0"], 1)


@pytest.mark.parametrize("name", ["", "a b", "a@1", "../x", "é", "a\n", "DEFAULT", "a.b", "#a"])
def test_names_that_the_toolkit_refuses(tmp_path, name):
    with pytest.raises(UserError, match="is not a name that the toolkit accepts"):
        ensure_tracker(tmp_path / "trackers.ini", name)
    assert not (tmp_path / "trackers.ini").exists()


@pytest.mark.parametrize("name", ["a", "A-1_b", "-", "_", "9"])
def test_names_that_the_toolkit_takes(name):
    from vot.tracker import is_valid_identifier

    check_tracker_id(name)
    assert is_valid_identifier(name)


OTHERS = b"# mine \xe9\n[Other] ; note\nLabel = O%%\ncommand : python -m x\n  more\n\n\n[Empty]\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, b"[Mine]\nlabel = Mine\nprotocol = trax\ncommand = dummy\n"),
        (b"", b"[Mine]\nlabel = Mine\nprotocol = trax\ncommand = dummy\n"),
        (OTHERS, OTHERS + b"\n[Mine]\nlabel = Mine\nprotocol = trax\ncommand = dummy\n"),
        (
            b"[A]\ncommand = x",
            b"[A]\ncommand = x\n\n[Mine]\nlabel = Mine\nprotocol = trax\ncommand = dummy\n",
        ),
        (
            b"[A]\r\ncommand = x\r\n",
            b"[A]\r\ncommand = x\r\n\r\n[Mine]\r\nlabel = Mine\r\nprotocol = trax\r\ncommand = dummy\r\n",
        ),
        (
            b"[Mine]  # here\nLABEL = My own\n[Z]\na = 1\n",
            b"[Mine]  # here\nprotocol = trax\ncommand = dummy\nLABEL = My own\n[Z]\na = 1\n",
        ),
        (b"[Z]\na = 1\n[Mine]", b"[Z]\na = 1\n[Mine]\nlabel = Mine\nprotocol = trax\ncommand = dummy\n"),
    ],
)
def test_trackers_ini_is_completed_and_no_other_byte_changes(tmp_path, before, after):
    path = tmp_path / "trackers.ini"
    if before is not None:
        path.write_bytes(before)
    assert ensure_tracker(path, TRACKER)
    assert path.read_bytes() == after
    assert not ensure_tracker(path, TRACKER)
    assert path.read_bytes() == after


@pytest.mark.parametrize("label", ["50 % sure", "two\nlines", "naïve 追跡", "[x] = y ; z"])
def test_any_label_reads_back_as_the_toolkit_reads_it(tmp_path, label):
    path = tmp_path / "trackers.ini"
    ensure_tracker(path, TRACKER, label)
    parser = configparser.ConfigParser()
    parser.read(path, encoding="utf-8")
    assert dict(parser[TRACKER]) == {**KEYS, "label": " ".join(label.split())}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("label = x\n", "not an ini file"),
        ("[A]\n[A]\n", "not an ini file"),
        ("[A]\nlong = one\n  [Mine]\n[Mine]\n", "cannot be completed"),
        ("\ufeff[A]\n", "not an ini file"),
    ],
)
def test_an_ini_that_cannot_be_completed_is_left_alone(tmp_path, text, told):
    path = tmp_path / "trackers.ini"
    path.write_text(text, "utf-8")
    with pytest.raises(UserError, match=told) as caught:
        ensure_tracker(path, TRACKER)
    assert "\n" not in str(caught.value)
    assert path.read_text("utf-8") == text


@pytest.mark.parametrize("prompts", [["a;b"], ["a\nb"], [" a"], ["b", "a "]])
def test_prompts_that_would_not_come_back_are_refused(tmp_path, prompts):
    with pytest.raises(AssertionError):
        write_sequence(Path(tmp_path), prompts, 10.0)
