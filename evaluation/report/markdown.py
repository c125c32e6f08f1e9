"""A table as Markdown: the best figure bold, the second in italics."""

import re

from data_prep.one_line import one_line
from evaluation.report.sheet import BEST, SECOND, Sheet, marked, marks

FRAMES = {BEST: "**{}**", SECOND: "*{}*", "": "{}"}


def markdown_text(sheet: Sheet) -> str:
    """A heading, the table, and a line on what it is about."""
    numeric = [sheet.numeric(i) for i in range(len(sheet.columns))]
    lines = [
        f"## {escaped(sheet.title)}",
        "",
        _row([escaped(column.heading) for column in sheet.columns]),
        _row(["---:" if right else "---" for right in numeric]),
    ]
    lines += [_row([FRAMES[mark].format(escaped(words)) for words, mark in row]) for row in marked(sheet)]
    about = about_text(sheet.about) + " Best bold, second in italics." * bool(marks(sheet))
    return "\n".join([*lines, "", about]) + "\n"


def about_text(about: tuple[tuple[str, str], ...]) -> str:
    """What a table is about, in a line."""
    return " ".join(f"{escaped(name.capitalize())}: {escaped(words)}." for name, words in about)


def escaped(words: str) -> str:
    """Words in which nothing is markup, in one line."""
    return re.sub(r"([\\`*_{}\[\]<>#|~!&$])", r"\\\1", one_line(words))


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
