"""No name and no expression controls the terminal or floods it, and none is a formula in a CSV file."""

import csv
import io
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.app import run_command
from configs.errors import UserError
from configs.terminal import (
    LONGEST,
    UNPRINTABLE,
    counted,
    echo,
    log_to_terminal,
    prepare_terminal,
    printable,
    shortened,
)
from data_prep.console import PrintableConsole, one_line
from evaluation.report.table_formats import csv_text
from evaluation.report.table_formats import print_table as print_report_table
from evaluation.report.tables import Column, Table
from infer.runs.progress import RunProgress
from infer.runs.summary import RunSummary, TrackOutcome
from infer.runs.summary_table import print_table

ROOT = Path(__file__).resolve().parent.parent

NASTY = "\x1b[2J\x1b]0;title\x07the \x9b31mred\x85 cup\r\u202e\u2066\u2029\ud800\x00"
ORDINARY = "红色的杯子, الكأس الأحمر, می‌خواهم, 👩‍👩‍👧 🏴󠁧󠁢󠁳󠁣󠁴󠁿, café — “x” \u200e1\u200f"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What `prepare_terminal` and `log_to_terminal` change for the whole process."""
    level, handlers = logging.root.level, list(logging.root.handlers)
    with warnings.catch_warnings():
        plain = warnings.formatwarning
        yield
        warnings.formatwarning = plain
    logging.root.handlers, logging.root.level = handlers, level


def is_clean(shown: str) -> bool:
    return not UNPRINTABLE.search(shown.replace("\n", ""))


def test_a_control_is_shown_by_its_number_and_ordinary_text_as_it_is() -> None:
    assert printable("a\x1b[31m\x9b\n\t\u202eb") == r"a\x1b[31m\x9b\n\t\u202eb"
    assert printable("caf\udce9") == r"caf\xe9"
    assert printable(ORDINARY) == one_line(ORDINARY) == ORDINARY


@given(st.text(), st.integers(10, 50))
def test_every_text_is_printable_and_short(text: str, longest: int) -> None:
    assert is_clean(printable(text)) and "\n" not in printable(text)
    assert is_clean(one_line(text)) and "\n" not in one_line(text)
    assert shortened(text, longest) == text or len(text) > longest
    assert len(shortened(text, longest)) <= longest + len(" … (1,000 letters) … ")


def test_the_end_of_a_long_line_stays() -> None:
    assert shortened("x" * 9000 + "; mend it").endswith("x; mend it") and "… (8,009 letters) …" in shortened(
        "x" * 9000 + "; mend it"
    )


@pytest.mark.parametrize(("number", "words"), [(0, "0 boxes"), (1, "1 box"), (2, "2 boxes")])
def test_one_is_no_plural(number: int, words: str) -> None:
    assert counted(number, "box") == words and counted(2, "track") == "2 tracks"


@pytest.mark.parametrize("error", [False, True])
def test_lines_stay_lines(capsys: pytest.CaptureFixture[str], error: bool) -> None:
    echo(f"{NASTY}\n{'y' * 19_000}\n{ORDINARY}", error=error)
    shown = capsys.readouterr()[error]
    first, second, third = shown.splitlines()
    assert is_clean(shown) and first.startswith(r"\x1b[2J\x1b]0;title\x07the \x9b31mred\x85 cup\r")
    assert len(second) < LONGEST + 50 and third == ORDINARY


def test_warnings_and_log_records_are_printable(capsys: pytest.CaptureFixture[str]) -> None:
    prepare_terminal()
    log_to_terminal(logging.INFO)
    sys.stderr.write(warnings.formatwarning(NASTY, UserWarning, "module.py", 1))  # pytest shows none itself
    try:
        raise ValueError(NASTY)
    except ValueError:
        logging.getLogger("any").exception("%s", NASTY)
    shown = capsys.readouterr().err
    assert is_clean(shown) and shown.count(r"\x1b[2J") == 3


def test_a_warning_of_ours_is_one_line_without_its_place() -> None:
    prepare_terminal()
    ours = str(ROOT / "infer" / "any.py")
    assert warnings.formatwarning("a slow server", UserWarning, ours, 3) == "warning: a slow server\n"
    for category, path in ((FutureWarning, ours), (UserWarning, "/usr/lib/any.py")):
        assert f"{path}:3: {category.__name__}: a" in warnings.formatwarning("a", category, path, 3)


def test_a_record_that_no_handler_takes_is_printable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_terminal()
    monkeypatch.setattr(logging.root, "handlers", [])
    logging.getLogger("any").warning("%s", NASTY)
    assert is_clean(capsys.readouterr().err)


def test_letters_that_the_terminal_cannot_show_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    prepare_terminal()
    echo("红 cup")
    stream.flush()
    assert written.getvalue() == rb"\u7ea2 cup" + b"\n"


@pytest.mark.parametrize("fault", [UserError(NASTY), ValueError(NASTY)])
def test_an_error_of_a_command_is_printable(
    fault: Exception, capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    import evaluation.config  # noqa: F401  # registers the command

    def main(settings: object) -> None:
        raise fault

    assert run_command("evaluation", main, "", [f"out={tmp_path}"]) == 1
    shown = capsys.readouterr().err
    assert is_clean(shown) and r"\x1b[2J" in shown
    assert isinstance(fault, ValueError) or shown.count("\n") == 1


def test_an_argument_that_is_not_utf8_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    import evaluation.config  # noqa: F401  # registers the command

    assert run_command("evaluation", lambda settings: 0, "", ["trackers=[caf\udce9]"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(r"error: trackers=[caf\xe9]: is not UTF-8 text") and error.count("\n") == 1


@pytest.mark.parametrize("terminal", [False, True])
def test_tables_and_bars_are_printable_and_short(terminal: bool) -> None:
    out = io.StringIO()
    console = PrintableConsole(
        file=out, force_terminal=terminal, no_color=True, width=120, legacy_windows=False
    )
    expression = NASTY + "very " * 4000
    outcomes = [
        TrackOutcome(NASTY, expression, 0, 3, None, 1.0, None),
        TrackOutcome(NASTY, expression, 0, 0, None, 1.0, f"{NASTY}: {expression}; mend it"),
        TrackOutcome(NASTY, None, 0, 0, None, 1.0, NASTY),
    ]
    print_table(RunSummary(outcomes, 3, 1.0, [expression]), {NASTY: NASTY}, console)
    columns = (Column("name", NASTY), Column("score", "score"))
    print_report_table(Table(NASTY, columns, ((expression, 1.0),), ((NASTY, expression),)), console)
    if not terminal:  # rich moves the cursor of a bar
        with RunProgress(3, 1, console) as progress:
            progress.sequence(NASTY, 1)
    console.print(NASTY)
    shown = out.getvalue()
    assert is_clean(shown.replace("\x1b[0m", "").replace("\x1b[1m", "").replace("\x1b[4m", ""))
    assert len(shown) < 10_000 and "; mend it" in shown


def test_no_cell_of_a_csv_is_a_formula_and_numbers_stay_numbers() -> None:
    words = [
        "=1+1",
        "@SUM(A1)",
        "+1-1",
        "-cmd",
        "  =1",
        "\t=1",
        "\r=1",
        "＝1",
        "=\x1b[31m",
        "-0.5",
        "+3",
        "a=b",
    ]
    sheet = Table(
        "t", (Column("=key", "k"), Column("x", "x")), tuple((each, -0.5) for each in words), (("@", "-x"),)
    )
    head, *rows = csv.reader(io.StringIO(csv_text(sheet)))
    assert head == ["'@", "'=key", "x"]
    assert [row[1] for row in rows] == [
        "'=1+1",
        "'@SUM(A1)",
        "'+1-1",
        "'-cmd",
        "'  =1",
        r"\t=1",
        r"\r=1",
        "'＝1",
        r"'=\x1b[31m",
        "-0.5",
        "+3",
        "a=b",
    ]
    assert all(row[0] == "'-x" and float(row[2]) == -0.5 for row in rows)


@pytest.mark.parametrize("error", [False, True])
def test_a_closed_pipe_ends_the_program_without_a_word(error: bool) -> None:
    """As in `python -m data_prep --help | head -1`, whose reader is gone after a line."""
    code = f"from configs.terminal import echo\nfor _ in range(9): echo('x', error={error})"
    reader, writer = os.pipe()
    os.close(reader)
    out, err = (subprocess.PIPE, writer) if error else (writer, subprocess.PIPE)
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=out, stderr=err) as process:
        os.close(writer)
        said = process.communicate(timeout=60)
    assert (process.returncode, "".join(filter(None, said))) == (1, "")
