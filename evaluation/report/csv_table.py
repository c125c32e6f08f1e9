"""A table as CSV: every digit, an empty field where there is no figure, the protocol in every row."""

import csv
import io
import re
from math import isnan

from configs.terminal import printable
from evaluation.report.sheet import Cell, Sheet

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
