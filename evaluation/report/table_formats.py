"""A table as CSV, as LaTeX, as Markdown, as files of these formats, and in the terminal."""

import csv
import io
import re
from collections.abc import Iterable
from math import isnan
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from configs.terminal import LONGEST, printable, shortened
from data_prep.console import make_console, one_line
from data_prep.files import write_whole
from evaluation.report.tables import BEST, SECOND, Cell, Table, marked_cells, rank_marks

# ---- CSV ------------------------------------------------------------------------------------------

# A spreadsheet program takes a cell that begins like this for a formula. It skips blanks, and treats the
# full-width forms of the characters like the plain ones.
FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def csv_text(table: Table) -> str:
    """The table as CSV, with a line of column names.

    Numbers are written with every digit, and a missing value is an empty field. Each row begins with the
    values of `table.about`, such as the protocol, so that rows of several files can be put together.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [*(name for name, _ in table.about), *(column.key for column in table.columns)]
    writer.writerow(map(_csv_field, names))
    about = [_csv_field(value) for _, value in table.about]
    writer.writerows([*about, *map(_csv_field, row)] for row in table.rows)
    return text.getvalue()


def _csv_field(cell: Cell) -> str:
    """The text of a cell. One that a spreadsheet would take for a formula, as `=1+1`, gets
    a leading quote.
    """
    if not isinstance(cell, str):
        # `repr` is the shortest text from which the same float is read again.
        return "" if isnan(cell) else repr(float(cell))
    # A number in a text cell, such as -1 as the value of a setting, is no formula and stays as it is.
    text = printable(cell)
    return f"'{text}" if FORMULA.match(text) and not NUMBER.fullmatch(text) else text


# ---- LaTeX ----------------------------------------------------------------------------------------

LATEX_MARKS = {BEST: r"\textbf{{{}}}", SECOND: r"\underline{{{}}}", "": "{}"}
LATEX_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "↓": r"$\downarrow$", "–": "--",
}  # fmt: skip
LATEX_SPECIAL_PATTERN = re.compile("|".join(map(re.escape, LATEX_SPECIAL)))


def latex_text(table: Table) -> str:
    r"""The table as a LaTeX `table` float for the package booktabs.

    The best value of a column is bold, the second best underlined.
    """
    columns = "".join("r" if table.numeric(i) else "l" for i in range(len(table.columns)))
    caption = table.caption + ". Best in bold, second underlined" * bool(rank_marks(table))
    lines = [
        r"% needs \usepackage[T1]{fontenc} and \usepackage{booktabs}",
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{latex_escaped(caption)}.}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _latex_row([latex_escaped(column.heading) for column in table.columns]),
        r"\midrule",
        *(
            _latex_row([LATEX_MARKS[mark].format(latex_escaped(text)) for text, mark in row])
            for row in marked_cells(table)
        ),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def latex_escaped(text: str) -> str:
    """A text in one line, with every character that is special in LaTeX escaped."""
    return LATEX_SPECIAL_PATTERN.sub(lambda found: LATEX_SPECIAL[found[0]], one_line(text))


def _latex_row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


# ---- Markdown -------------------------------------------------------------------------------------

MARKDOWN_MARKS = {BEST: "**{}**", SECOND: "*{}*", "": "{}"}


def markdown_text(table: Table) -> str:
    """The table as Markdown: a heading, the rows, and a line with `table.about`.

    The best value of a column is bold, the second best in italics.
    """
    numeric = [table.numeric(i) for i in range(len(table.columns))]
    lines = [
        f"## {markdown_escaped(table.title)}",
        "",
        _markdown_row([markdown_escaped(column.heading) for column in table.columns]),
        _markdown_row(["---:" if right else "---" for right in numeric]),
    ]
    lines += [
        _markdown_row([MARKDOWN_MARKS[mark].format(markdown_escaped(text)) for text, mark in row])
        for row in marked_cells(table)
    ]
    about = about_text(table.about) + " Best bold, second in italics." * bool(rank_marks(table))
    return "\n".join([*lines, "", about]) + "\n"


def about_text(about: tuple[tuple[str, str], ...]) -> str:
    """The pairs of `Table.about` as one line of Markdown."""
    return " ".join(
        f"{markdown_escaped(name.capitalize())}: {markdown_escaped(value)}." for name, value in about
    )


def markdown_escaped(text: str) -> str:
    """A text in one line, with every character that is special in Markdown escaped."""
    return re.sub(r"([\\`*_{}\[\]<>#|~!&$])", r"\\\1", one_line(text))


def _markdown_row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


# ---- files ----------------------------------------------------------------------------------------


def write_table(out: Path, name: str, table: Table) -> list[Path]:
    """Write a table into the folder `out` in every format, as `<name>.csv`, `.tex` and `.md`.

    Returns the paths. Raises UserError where a file cannot be written.
    """
    texts = {"csv": csv_text, "tex": latex_text, "md": markdown_text}
    for kind, text in texts.items():
        write_whole(out / f"{name}.{kind}", text(table))
    return [out / f"{name}.{kind}" for kind in texts]


# ---- the terminal ---------------------------------------------------------------------------------

HEADING_WIDTH = 15  # characters in a line of a heading
TEXT_WIDTH = 40  # characters of a column of texts; longer ones are wrapped
LONGEST_CELL = 200  # characters; longer ones are cut
UNBOUNDED = 100_000
DOTTED = re.compile(r"[^.]*\.+|[^.]+")
UNDERSCORED = re.compile(r"[^_]*_+|[^_]+")
STYLES = {BEST: "bold green", SECOND: "underline", "": ""}


def print_table(table: Table, console: Console | None = None) -> None:
    """Print a table, with its title above and `table.about` below.

    In a terminal that is too narrow, columns are left out and named below the table: those with the highest
    `priority` first, and of equal ones the last. A file gets all columns.
    """
    console = console or make_console()
    print_lines([table.title], console, "bold")
    # 1. Leave out one column after the other until the rest fits.
    order = sorted(range(len(table.columns)), key=lambda number: (table.columns[number].priority, number))
    count = len(order)
    while (
        console.is_terminal
        and count > 2
        and _width(_rich_table(table, order[:count]), console) > console.width
    ):
        count -= 1
    printed = _rich_table(table, order[:count])
    # 2. In a file there is no width to fit into, but rich assumes one of 80 characters.
    if not console.is_terminal:
        console.width = max(console.width, _width(printed, console))
    console.print(printed)
    # 3. Name what was left out.
    left_out = [table.columns[number].title for number in sorted(order[count:])]
    plural = "s" * (len(left_out) > 1)
    more = [f"{len(left_out)} more column{plural} in the files: {', '.join(left_out)}"] * bool(left_out)
    print_lines([*more, *(f"{name}: {value}" for name, value in table.about)], console)


def _width(table: RichTable, console: Console) -> int:
    """The number of characters that a table is wide when nothing narrows it."""
    return console.measure(table, options=console.options.update_width(UNBOUNDED)).maximum


def _heading_lines(heading: str) -> list[str]:
    """A heading broken into lines.

    The key of a setting is broken behind dots, or where a part is still too long behind underscores, but
    never within a word.
    """
    parts: list[str] = []
    for word in heading.split():
        for chunk in DOTTED.findall(word):
            parts += [chunk] if len(chunk) <= HEADING_WIDTH else UNDERSCORED.findall(chunk)
        parts.append(" ")
    lines = [""]
    for part in parts:
        if len(lines[-1] + part.rstrip()) > HEADING_WIDTH and lines[-1].strip():
            lines.append("")
        lines[-1] += part
    return [line.strip() for line in lines if line.strip()]


def _rich_table(table: Table, numbers: Iterable[int]) -> RichTable:
    """The columns with these numbers, in the order of the table, as rich prints them."""
    kept = sorted(numbers)
    printed = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number in kept:
        lines = _heading_lines(one_line(table.columns[number].heading))
        if table.numeric(number):
            printed.add_column(Text("\n".join(lines)), justify="right", no_wrap=True)
        else:
            printed.add_column(Text("\n".join(lines)), max_width=TEXT_WIDTH, overflow="fold")
    for row in marked_cells(table):
        printed.add_row(
            *(Text(shortened(text, LONGEST_CELL), STYLES[mark]) for text, mark in (row[at] for at in kept))
        )
    return printed


def print_lines(lines: Iterable[str], console: Console | None = None, style: str = "") -> None:
    """Print lines without breaking them: a terminal wraps them itself, and a file gets whole lines."""
    console = console or make_console()
    for line in lines:
        console.print(Text(one_line(line, LONGEST), style), soft_wrap=True)
