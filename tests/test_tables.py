"""Many files read at once hold the numbers that `float` reads, and a wrong line is found in its file."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import UserError
from evaluation.layouts import tables
from evaluation.layouts.tables import read_tables

NUMBERS = st.one_of(
    st.floats(width=64).map(repr),
    st.integers(-5000, 5000).map(str),
    st.tuples(st.integers(0, 4000), st.integers(0, 9999)).map(lambda part: f"{part[0]}.{part[1]}"),
    st.sampled_from(["NaN", "-nan", "Inf", "-inf", "infinity", "+3", "1e3", "1E-2", ".5", "5.", "00.10"]),
)
ROWS = st.lists(st.lists(NUMBERS, min_size=4, max_size=4), min_size=1, max_size=5)
SEPARATORS = st.sampled_from([",", "\t", " ", ", ", "   "])
ENDS = st.sampled_from(["\n", "\r\n", "\r"])
FILES = st.lists(st.tuples(ROWS, SEPARATORS, ENDS, st.booleans()), min_size=1, max_size=5)


def written(folder, texts):
    paths = []
    for number, text in enumerate(texts):
        path = folder / f"{number}.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        paths.append(str(path))
    return paths


@settings(max_examples=150, deadline=None)
@given(FILES, st.sampled_from([64, 300, 1 << 20]))
def test_values_are_those_of_float(tmp_path_factory, files, buffer):
    folder = tmp_path_factory.mktemp("files")
    texts = [
        end.join(separator.join(row) for row in rows) + end * closed for rows, separator, end, closed in files
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "BUFFER", buffer)
        read = read_tables(written(folder, texts), 4)
    plain = np.array([[float(part) for part in row] for rows, *_ in files for row in rows])
    assert read.counts.tolist() == [len(rows) for rows, *_ in files]
    assert np.array_equal(read.values.T, plain, equal_nan=True)
    assert not read.wrong
    assert not read.missing.any()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("1,2,3,4\nwords here\n1,2,3,4\n", [(2, "is no box of four numbers ('words here')")]),
        ("words\n1,2,3,4\n", [(1, "is no box of four numbers ('words')")]),
        ("1,2,3\n1,2,3,4\n1,2,3,4,5\n", [(1, "no box"), (3, "no box")]),
        ("1,2,3,4\n\n1,2,3,4\n", [(2, "('')")]),
        ("1,2,3,4\n1\t2\t3\t4\n", [(2, "tabs where another line has commas")]),
        ("1 2 3 4\n1,2,3,4\n", [(2, "commas where another line has blanks")]),
        ("1_0,2,3,4\n", [(1, "1_0")]),
        ("nan(1),2,3,4\n", [(1, "nan(1)")]),
        ('"1",2,3,4\n', [(1, "no box")]),
        ("1,2,3,4,\n", [(1, "no box")]),
        ("1,2,,4\n", [(1, "no box")]),
        ("NA,2,3,4\n", [(1, "no box")]),
        ("0x10,2,3,4\n", [(1, "no box")]),
        (b"1,2,3,4\n\xff\xfe,2,3,4\n1,2,3,4\n", [(2, "is not UTF-8 text")]),
        (b"1,2,3,4\n1,2,3,4\n\xff", [(3, "is not UTF-8 text")]),
        ("", []),
        ("\n\n", []),
    ],
)
def test_a_wrong_line_is_found_among_other_files(tmp_path, text, lines):
    paths = written(tmp_path, ["9,9,9,9\n", text, "8,8,8,8\r\n"])
    read = read_tables([paths[0], str(tmp_path / "no.txt"), paths[1], paths[2]], 4)
    assert read.missing.tolist() == [False, True, False, False]
    assert list(read.wrong) == ([2] if lines else [])
    for (line, reason), (found, told) in zip(lines, read.wrong.get(2, ()), strict=True):
        assert line == found
        assert reason in told
    assert read.values[:, 0].tolist() == [9] * 4
    assert read.values[:, -1].tolist() == [8] * 4
    assert read.counts[[0, 1, 3]].tolist() == [1, 0, 1]


def test_the_other_lines_of_a_file_that_is_not_utf8_are_read(tmp_path):
    read = read_tables(written(tmp_path, [b"1,2,3,4\n5,6,7,8\n\xff\xfe\n"]), 4)
    assert read.counts.tolist() == [3]
    assert read.values.T[:2].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_marks_and_blanks_around_numbers_are_none(tmp_path):
    paths = written(tmp_path, [b"\xef\xbb\xbf1,2,3,4\n", " 1, 2,3 ,4 \n", "  1.0e+00   2 3\t4\n", "1,2,3,4"])
    read = read_tables(paths, 4)
    assert read.values.T.tolist() == [[1, 2, 3, 4]] * 4


def test_a_folder_in_a_files_place_is_told(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(UserError, match=r"a\.txt: cannot be read"):
        read_tables([str(tmp_path / "a.txt")], 4)


def test_no_file_stays_open(tmp_path, monkeypatch):
    paths = written(tmp_path, ["1,2,3,4\n"] * 9)
    closed = []
    monkeypatch.setattr(tables, "AHEAD", 4)
    monkeypatch.setattr(
        tables, "_close", lambda each, close=tables._close: (closed.append(each[0]), close(each))
    )
    read_tables(paths, 4)
    assert closed == paths
    (tmp_path / "2.txt").unlink()
    (tmp_path / "2.txt").mkdir()
    closed.clear()
    with pytest.raises(UserError):
        read_tables(paths, 4)
    assert set(closed) == set(paths[:6])
