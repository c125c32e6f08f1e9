"""A table as CSV, as LaTeX, as Markdown, and in the terminal."""

import csv
import io
import re
from collections.abc import Iterable
from math import isnan

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from configs.terminal import LONGEST, printable, shortened
from data_prep.console import make_console, one_line
from evaluation.report.tables import BEST, SECOND, Cell, Sheet, marked, marks

FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]")  # blanks are passed over, wide letters read as plain ones
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def csv_text(sheet: Sheet) -> str:
    """The table with a line of column names; what it is about comes first, as columns of their own."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [*(name for name, _ in sheet.about), *(column.key for column in sheet.columns)]
    writer.writerow(map(_field, names))
    about = [_field(words) for _, words in sheet.about]
    writer.writerows([*about, *map(_field, row)] for row in sheet.rows)
    return text.getvalue()


def _field(cell: Cell) -> str:
    """A cell's text. Words that a spreadsheet would take for a formula, as `=1+1`, get a quote in front."""
    if not isinstance(cell, str):
        return "" if isnan(cell) else repr(float(cell))
    words = printable(cell)
    return f"'{words}" if FORMULA.match(words) and not NUMBER.fullmatch(words) else words


LATEX_MARKS = {BEST: r"\textbf{{{}}}", SECOND: r"\underline{{{}}}", "": "{}"}
SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "↓": r"$\downarrow$", "–": "--",
}  # fmt: skip
LETTERS = re.compile("|".join(map(re.escape, SPECIAL)))


def latex_text(sheet: Sheet) -> str:
    r"""A `table` float, to be used with `\usepackage{booktabs}`."""
    columns = "".join("r" if sheet.numeric(i) else "l" for i in range(len(sheet.columns)))
    caption = sheet.caption + ". Best in bold, second underlined" * bool(marks(sheet))
    lines = [
        r"% needs \usepackage[T1]{fontenc} and \usepackage{booktabs}",
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{latex_escaped(caption)}.}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _latex_row([latex_escaped(column.heading) for column in sheet.columns]),
        r"\midrule",
        *(
            _latex_row([LATEX_MARKS[mark].format(latex_escaped(words)) for words, mark in row])
            for row in marked(sheet)
        ),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def latex_escaped(words: str) -> str:
    """Words in which no letter means anything to LaTeX, in one line."""
    return LETTERS.sub(lambda found: SPECIAL[found[0]], one_line(words))


def _latex_row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


MARKDOWN_MARKS = {BEST: "**{}**", SECOND: "*{}*", "": "{}"}


def markdown_text(sheet: Sheet) -> str:
    """A heading, the table, and a line on what it is about."""
    numeric = [sheet.numeric(i) for i in range(len(sheet.columns))]
    lines = [
        f"## {markdown_escaped(sheet.title)}",
        "",
        _markdown_row([markdown_escaped(column.heading) for column in sheet.columns]),
        _markdown_row(["---:" if right else "---" for right in numeric]),
    ]
    lines += [
        _markdown_row([MARKDOWN_MARKS[mark].format(markdown_escaped(words)) for words, mark in row])
        for row in marked(sheet)
    ]
    about = about_text(sheet.about) + " Best bold, second in italics." * bool(marks(sheet))
    return "\n".join([*lines, "", about]) + "\n"


def about_text(about: tuple[tuple[str, str], ...]) -> str:
    """What a table is about, in a line."""
    return " ".join(
        f"{markdown_escaped(name.capitalize())}: {markdown_escaped(words)}." for name, words in about
    )


def markdown_escaped(words: str) -> str:
    """Words in which nothing is markup, in one line."""
    return re.sub(r"([\\`*_{}\[\]<>#|~!&$])", r"\\\1", one_line(words))


def _markdown_row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


HEADING = 15  # letters of a line of a column's heading
WORDS = 40  # letters of a column of words; longer ones take several lines
DOTTED = re.compile(r"[^.]*\.+|[^.]+")
UNDERSCORED = re.compile(r"[^_]*_+|[^_]+")
CELL = 200  # letters of a cell
UNBOUNDED = 100_000
STYLES = {BEST: "bold green", SECOND: "underline", "": ""}


def print_sheet(sheet: Sheet, console: Console | None = None) -> None:
    """Print a table, its title above it and what it is about below.

    Columns that a terminal is too narrow for are left out by their priority, from the last one on, and named;
    a file takes every width.
    """
    console = console or make_console()
    print_lines([sheet.title], console, "bold")
    order = sorted(range(len(sheet.columns)), key=lambda number: (sheet.columns[number].priority, number))
    count = len(order)
    while console.is_terminal and count > 2 and _width(_table(sheet, order[:count]), console) > console.width:
        count -= 1
    table = _table(sheet, order[:count])
    if not console.is_terminal:
        console.width = max(console.width, _width(table, console))
    console.print(table)
    left_out = [sheet.columns[number].title for number in sorted(order[count:])]
    plural = "s" * (len(left_out) > 1)
    more = [f"{len(left_out)} more column{plural} in the files: {', '.join(left_out)}"] * bool(left_out)
    print_lines([*more, *(f"{name}: {words}" for name, words in sheet.about)], console)


def _width(table: Table, console: Console) -> int:
    """Letters that a table takes where nothing narrows it."""
    return console.measure(table, options=console.options.update_width(UNBOUNDED)).maximum


def _heading(words: str) -> list[str]:
    """The lines of a heading. A setting's key is broken behind dots, or else underscores, never in a word."""
    parts: list[str] = []
    for word in words.split():
        for chunk in DOTTED.findall(word):
            parts += [chunk] if len(chunk) <= HEADING else UNDERSCORED.findall(chunk)
        parts.append(" ")
    lines = [""]
    for part in parts:
        if len(lines[-1] + part.rstrip()) > HEADING and lines[-1].strip():
            lines.append("")
        lines[-1] += part
    return [line.strip() for line in lines if line.strip()]


def _table(sheet: Sheet, numbers: Iterable[int]) -> Table:
    """The columns of these numbers, in the order of the sheet."""
    kept = sorted(numbers)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number in kept:
        lines = _heading(one_line(sheet.columns[number].heading))
        if sheet.numeric(number):
            table.add_column(Text("\n".join(lines)), justify="right", no_wrap=True)
        else:
            table.add_column(Text("\n".join(lines)), max_width=WORDS, overflow="fold")
    for row in marked(sheet):
        table.add_row(
            *(Text(shortened(words, CELL), STYLES[mark]) for words, mark in (row[at] for at in kept))
        )
    return table


def print_lines(lines: Iterable[str], console: Console | None = None, style: str = "") -> None:
    """Lines that are never cut nor broken by us: a terminal wraps them, a file keeps them whole."""
    console = console or make_console()
    for line in lines:
        console.print(Text(one_line(line, LONGEST), style), soft_wrap=True)
