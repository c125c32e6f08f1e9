"""A table as LaTeX with booktabs: the best figure bold, the second underlined."""

import re

from data_prep.one_line import one_line
from evaluation.report.sheet import BEST, SECOND, Sheet, marked, marks

FRAMES = {BEST: r"\textbf{{{}}}", SECOND: r"\underline{{{}}}", "": "{}"}
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
        rf"\caption{{{escaped(caption)}.}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _row([escaped(column.heading) for column in sheet.columns]),
        r"\midrule",
        *(_row([FRAMES[mark].format(escaped(words)) for words, mark in row]) for row in marked(sheet)),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escaped(words: str) -> str:
    """Words in which no letter means anything to LaTeX, in one line."""
    return LETTERS.sub(lambda found: SPECIAL[found[0]], one_line(words))


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"
