"""Tables in the terminal."""

import re
from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from configs.terminal import LONGEST, shortened
from data_prep.console import make_console
from data_prep.one_line import one_line
from evaluation.report.sheet import BEST, SECOND, Sheet, marked

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
