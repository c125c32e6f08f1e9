"""Tables in the terminal."""

import textwrap
from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from data_prep.one_line import one_line
from evaluation.report.sheet import BEST, SECOND, Sheet, marked

HEADING = 15  # letters of a line of a column's heading
STYLES = {BEST: "bold green", SECOND: "underline", "": ""}


def make_console() -> Console:
    """A console on stdout that takes texts as they are: a tracker may be called `[red]`."""
    return Console(markup=False, emoji=False, highlight=False)


def print_sheet(sheet: Sheet, console: Console | None = None) -> None:
    """Print a table, its title above it and what it is about below."""
    console = console or make_console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, column in enumerate(sheet.columns):
        numeric = sheet.numeric(number)
        heading = Text("\n".join(textwrap.wrap(one_line(column.heading), HEADING, break_on_hyphens=False)))
        justify = "right" if numeric else "left"
        table.add_column(heading, justify=justify, no_wrap=numeric, overflow="fold")  # type: ignore[arg-type]
    for row in marked(sheet):
        table.add_row(*(Text(words, STYLES[mark]) for words, mark in row))
    print_lines([sheet.title], console, "bold")
    console.print(table)
    print_lines([f"{name}: {words}" for name, words in sheet.about], console)


def print_lines(lines: Iterable[str], console: Console | None = None, style: str = "") -> None:
    """Lines that are never cut nor broken by us: a terminal wraps them, a file keeps them whole."""
    console = console or make_console()
    for line in lines:
        console.print(Text(one_line(line), style), soft_wrap=True)
