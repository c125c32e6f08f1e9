"""Boxes, flags and words in text files, however their lines are written."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import UserError
from data_prep.readers.annotations import read_boxes, read_expressions, read_flags, read_timed_expressions

SIDES = st.floats(-9999, 9999, width=32) | st.just(float("nan"))
BETWEEN = st.sampled_from([",", ";", "\t", " ", ", ", ",\t"])
ENDS = st.sampled_from(["", "\n", "\r\n", "\n\n", " \n\t\n"])


@given(st.lists(st.tuples(*[SIDES] * 4, BETWEEN), min_size=1), st.sampled_from(["\n", "\r\n"]), ENDS)
def test_boxes_are_read_however_they_are_separated(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, ...]], line_end: str, end: str
) -> None:
    """Also a line at a time, with a byte order mark, and with blank lines at the end."""
    path = tmp_path_factory.getbasetemp() / "boxes.txt"
    *_, lines = zip(*((*row[:4], str(row[4]).join(map(repr, row[:4]))) for row in rows), strict=True)
    path.write_bytes(("\ufeff" + line_end.join(lines) + end).encode())
    wanted = np.array([row[:4] for row in rows], np.float32)
    assert np.array_equal(read_boxes(path), wanted, equal_nan=True)


def test_the_faulty_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "boxes.txt"
    for text, told in {
        "1,2,3,4\n1,2,3\n1,2,3,4,5": "line 2",
        "1,2,3,4\n\n1,2,3,4": "line 2",
        "1,2,inf,4": "line 1",
    }.items():
        path.write_text(text)
        with pytest.raises(UserError, match=rf"boxes\.txt: {told} is not four numbers"):
            read_boxes(path)
    path.write_text("\n")
    with pytest.raises(UserError, match="holds no boxes"):
        read_boxes(path)


def test_flags_are_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "flags.txt"
    for text in ("1\n0\n8\n", "1,0,8", "1 \r\n0 \r\n8 ", "1.0\n0.000e+00\n8"):
        path.write_text(text)
        assert read_flags(path, 8).tolist() == [1, 0, 8], text
    for text in ("1\nnan\n0", "1,inf", "1,0.5,0", "yes", "1,9,0", "0\n-1\n"):
        path.write_text(text)
        with pytest.raises(UserError, match=r"flags\.txt: contains something other than flags from 0 to 8"):
            read_flags(path, 8)
    for text, line in {"\n1\n0\n": 1, "1\n \n0": 2}.items():
        path.write_text(text)
        with pytest.raises(UserError, match=rf"flags\.txt: line {line} is blank"):
            read_flags(path, 8)
    path.write_text("1\n0\n\n \n")
    assert read_flags(path).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "prompts", "spans"),
    [
        (" the red car \n", ("the red car",), None),
        ("\ufeffa man\r\n\r\nin blue, running\r\n", ("a man in blue, running",), None),
        ("2 dogs", ("2 dogs",), None),
        (" \n", (), None),
        ("0 a car\n", ("a car",), ((0, 250),)),
        ("0 a car\n100 it turns\n\n", ("a car", "it turns"), ((0, 100), (100, 250))),
        ("5 a car\n100\tit turns", ("a car", "it turns"), ((5, 100), (100, 250))),
        ("200 late\n0 early\n100 between", ("early", "between", "late"), ((0, 100), (100, 200), (200, 250))),
        ("0 a car\n200 it\n300 gone", ("a car", "it", "gone"), ((0, 200), (200, 250), (250, 250))),
    ],
)
def test_words_of_a_video_of_250_frames(
    tmp_path: Path, text: str, prompts: tuple[str, ...], spans: tuple[tuple[int, int], ...] | None
) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(text.encode())
    assert read_expressions(path, 250) == (prompts, spans)


def test_a_line_without_its_frame_or_its_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("0 a car\n\n100\n")
    for read in (read_expressions, read_timed_expressions):
        with pytest.raises(UserError, match=r"words\.txt: line 3 is not `<frame> <text>` \('100'\)"):
            read(path, 250)
    path.write_text("the red car")
    with pytest.raises(UserError, match="line 1 is not"):
        read_timed_expressions(path, 250)
    path.write_text("")
    assert read_timed_expressions(path, 250) == ((), ())
