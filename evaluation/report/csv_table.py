"""A table as CSV: every digit, an empty field where there is no figure, the protocol in every row."""

import csv
import io
from math import isnan

from evaluation.report.sheet import Cell, Sheet


def csv_text(sheet: Sheet) -> str:
    """The table with a line of column names; what it is about comes first, as columns of their own."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*(name for name, _ in sheet.about), *(column.key for column in sheet.columns)])
    about = [words for _, words in sheet.about]
    writer.writerows([*about, *map(_field, row)] for row in sheet.rows)
    return text.getvalue()


def _field(cell: Cell) -> str:
    if isinstance(cell, str):
        return cell
    return "" if isnan(cell) else repr(float(cell))
